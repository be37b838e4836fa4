//! Changes that people make, and what somebody changed by hand.

use site::answer::{AccountChange, FirewallChange, Plan, UnitAction};
use site::daemon::{SETTINGS_PATH, Settings};
use site::manifest::{
    ACL_PATH, FLOWS_PATH, HEALTH_PASSWORD_PATH, MOSQUITTO_CONF_PATH, PASSWD_PATH, PROGRAM_PATH,
    RULESET_PATH,
};

use super::world::{World, changed, check, first, nothing, told};

#[test]
fn first_deploy() {
    let world = World::of("home");
    check("first", &world.show(&first(&world), None));
}

#[test]
fn first_deploy_on_a_flat_network() {
    let world = World::of("flat");
    check("first-flat", &world.show(&first(&world), None));
}

#[test]
fn second_deploy() {
    let world = World::of("home");
    let shown = world.show(&nothing(), Some("0.2.0 (5e6f7a8b)"));
    assert_eq!(shown.summary, "Nothing would change.");
    check("second", &shown);
}

fn without_the_last_meter(world: &World) -> String {
    let mut settings: Settings = serde_json::from_str(&world.content(SETTINGS_PATH)).unwrap();
    settings.meters.pop().unwrap();
    serde_json::to_string_pretty(&settings).unwrap() + "\n"
}

#[test]
fn one_more_meter() {
    let world = World::of("home");
    let plan = Plan {
        files: vec![
            changed(PASSWD_PATH, None),
            changed(ACL_PATH, None),
            changed(SETTINGS_PATH, Some(without_the_last_meter(&world))),
        ],
        units: vec![
            told("mosquitto.service", UnitAction::Reload),
            told("shelly-bastion-daemon.service", UnitAction::Restart),
        ],
        accounts: AccountChange {
            added: vec!["shellypro3em-aabbccddee04".to_owned()],
            ..AccountChange::default()
        },
        ..nothing()
    };
    check("one-more-meter", &world.show(&plan, None));
}

#[test]
fn one_setting() {
    let world = World::of("home");
    let before = world
        .content(MOSQUITTO_CONF_PATH)
        .replace("max_keepalive 600", "max_keepalive 120");
    let plan = Plan {
        files: vec![changed(MOSQUITTO_CONF_PATH, Some(before))],
        units: vec![told("mosquitto.service", UnitAction::Restart)],
        ..nothing()
    };
    check("one-setting", &world.show(&plan, None));
}

#[test]
fn the_program_alone() {
    let world = World::of("home");
    let plan = Plan {
        files: vec![changed(PROGRAM_PATH, None)],
        units: ["daemon", "ticker"]
            .map(|name| {
                told(
                    &format!("shelly-bastion-{name}.service"),
                    UnitAction::Restart,
                )
            })
            .into(),
        ..nothing()
    };
    check("program", &world.show(&plan, Some("0.1.0 (1a2b3c4d)")));
}

#[test]
fn new_passwords() {
    let world = World::of("home");
    let names = vec![
        "shellyem-D3B45C".to_owned(),
        "collector".to_owned(),
        "health".to_owned(),
    ];
    let plan = Plan {
        files: vec![
            changed(HEALTH_PASSWORD_PATH, None),
            changed(PASSWD_PATH, None),
        ],
        units: vec![told("mosquitto.service", UnitAction::Reload)],
        accounts: AccountChange {
            password: names,
            ..AccountChange::default()
        },
        ..nothing()
    };
    check("new-passwords", &world.show(&plan, None));
}

#[test]
fn another_admin() {
    let before = World::of("home").policy;
    let world = World::with("home", |text| {
        text.replace("\"192.168.1.10\"", "\"192.168.1.11\"")
    });
    let plan = Plan {
        files: vec![
            changed(RULESET_PATH, Some("{}".to_owned())),
            changed(FLOWS_PATH, Some("{}".to_owned())),
        ],
        firewall: Some(FirewallChange {
            before: Some(before),
            differences: vec!["…".to_owned()],
        }),
        ..nothing()
    };
    check("another-admin", &world.show(&plan, None));
}

/// Somebody took refusals out on the bastion: what they opened is told.
#[test]
fn rules_that_were_missing() {
    let world = World::of("home");
    let mut before = world.policy.clone();
    for name in [
        "refuse-lan-v4",
        "refuse-private-v4",
        "refuse-rest-out",
        "refuse-forward",
    ] {
        before = before.without(name).unwrap();
    }
    let plan = Plan {
        files: vec![changed(FLOWS_PATH, Some("{}".to_owned()))],
        firewall: Some(FirewallChange {
            before: Some(before),
            differences: vec![],
        }),
        ..nothing()
    };
    check("rules-missing", &world.show(&plan, None));
}

/// What is loaded differs, and what was written down is what is rendered.
#[test]
fn a_firewall_that_somebody_changed_by_hand() {
    let world = World::of("home");
    let differences = vec!["missing: rule f1-meters-v4 in chain input".to_owned()];
    let before = Some(world.policy.clone());
    let plan = Plan {
        firewall: Some(FirewallChange {
            before,
            differences,
        }),
        ..nothing()
    };
    check("changed-by-hand", &world.show(&plan, None));
}

#[test]
fn without_updates() {
    let before = World::of("home").policy;
    let world = World::with("home", |text| {
        text.replace("updates = true", "updates = false")
    });
    let plan = Plan {
        files: vec![changed(FLOWS_PATH, Some("{}".to_owned()))],
        firewall: Some(FirewallChange {
            before: Some(before),
            differences: vec![],
        }),
        ..nothing()
    };
    check("without-updates", &world.show(&plan, None));
}
