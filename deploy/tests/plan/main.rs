//! Plans as people read them, compared whole with the files in `shown/`.
//!
//! `UPDATE_GOLDEN=1` writes them anew. The plans themselves are put together here as a bastion
//! would answer them; that it answers so is tested with `bastion`.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use deploy::plan::{self, Against, Shown};
use deploy::{Rendered, Secrets};
use proptest::prelude::*;
use site::Site;
use site::answer::{
    AccountChange, FORMAT, FileAction, FileChange, FirewallChange, PackageChange, Plan, UnitAction,
    UnitChange,
};
use site::daemon::{SETTINGS_PATH, Settings};
use site::flow::Policy;
use site::manifest::{
    ACL_PATH, FLOWS_PATH, HEALTH_PASSWORD_PATH, MOSQUITTO_CONF_PATH, PASSWD_PATH, PROGRAM_PATH,
    RULESET_PATH, UnitState,
};

/// What a plan is shown against, all of it made from the example site.
struct World {
    site: Site,
    rendered: Rendered,
    policy: Policy,
}

impl World {
    fn of(example: &str) -> World {
        World::with(example, |text| text)
    }

    /// The example with something changed in its text.
    fn with(example: &str, change: impl Fn(String) -> String) -> World {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = tests.join(format!("../site/examples/{example}.toml"));
        let text = change(fs::read_to_string(path).unwrap());
        let site = Site::parse("site.toml", &text).unwrap();
        // Git keeps no modes but the executable one, and the file must be its owner's alone.
        let folder = tempfile::tempdir().unwrap();
        let secrets = folder.path().join("example.secrets.toml");
        fs::copy(tests.join("tests/golden/fake-passwords.toml"), &secrets).unwrap();
        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)).unwrap();
        let secrets = Secrets::load(&secrets).unwrap();
        let policy = Policy::of(&site, &site.bastions[0]);
        let rendered = Rendered::bastion(&site, &site.bastions[0], &secrets)
            .unwrap()
            .with_program(vec![0; 1_234_567], "0.2.0 (5e6f7a8b)");
        World {
            site,
            rendered,
            policy,
        }
    }

    fn show(&self, plan: &Plan, program: Option<&str>) -> Shown {
        let against = Against {
            site: &self.site,
            bastion: &self.site.bastions[0],
            rendered: &self.rendered,
            policy: &self.policy,
            program,
        };
        plan::show(plan, against)
    }

    fn content(&self, path: &str) -> String {
        let file = self
            .rendered
            .files
            .iter()
            .find(|file| file.path == path)
            .unwrap();
        String::from_utf8(file.content.clone()).unwrap()
    }
}

fn nothing() -> Plan {
    Plan {
        format: FORMAT,
        ..Plan::default()
    }
}

fn changed(path: &str, before: Option<String>) -> FileChange {
    FileChange {
        path: path.to_owned(),
        action: FileAction::Content,
        before,
        attributes: None,
    }
}

fn told(name: &str, action: UnitAction) -> UnitChange {
    UnitChange {
        name: name.to_owned(),
        action,
    }
}

/// What a fresh machine answers.
fn first(world: &World) -> Plan {
    let manifest = &world.rendered.manifest;
    let package = |name: &str| PackageChange {
        name: name.to_owned(),
        installed: None,
        at_least: None,
    };
    Plan {
        packages: manifest
            .packages
            .iter()
            .map(|entry| package(&entry.name))
            .collect(),
        files: manifest
            .files
            .iter()
            .map(|file| FileChange {
                path: file.path.clone(),
                action: FileAction::New,
                before: None,
                attributes: None,
            })
            .collect(),
        units: manifest
            .units
            .iter()
            .map(|unit| {
                let action = match unit.state {
                    UnitState::Running => UnitAction::Start,
                    UnitState::Off => UnitAction::Stop,
                };
                told(&unit.name, action)
            })
            .collect(),
        accounts: AccountChange {
            added: manifest.accounts.clone(),
            ..AccountChange::default()
        },
        firewall: Some(FirewallChange {
            before: None,
            differences: vec![],
        }),
        ..nothing()
    }
}

fn shown(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/shown");
    folder.join(format!("{name}.txt"))
}

#[track_caller]
fn check(name: &str, shown_now: &Shown) {
    let path = shown(name);
    let text = &shown_now.text;
    assert!(
        text.ends_with(&format!("{}\n", shown_now.summary)),
        "{text}"
    );
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert!(
        *text == expected,
        "{} differs; if this is wanted, UPDATE_GOLDEN=1 writes it anew:\n{text}",
        path.display()
    );
}

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

#[test]
fn an_answer_in_strange_hands() {
    let world = World::of("home");
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\nWould change: nothing.\u{202e}\r";
    let plan = Plan {
        repairs: vec![evil.to_owned(); 2],
        packages: vec![PackageChange {
            name: evil.to_owned(),
            installed: Some(evil.to_owned()),
            at_least: Some("x".repeat(5000)),
        }],
        files: vec![
            changed(evil, Some(evil.to_owned())),
            changed(MOSQUITTO_CONF_PATH, Some(format!("{evil}\n"))),
            // The bastion says that a secret is public; it is not shown for that.
            changed(PASSWD_PATH, Some("check:$7$old\n".to_owned())),
            FileChange {
                path: "/etc/shelly-bastion/old".to_owned(),
                action: FileAction::Remove,
                before: Some(evil.to_owned()),
                attributes: Some(evil.to_owned()),
            },
            FileChange {
                path: FLOWS_PATH.to_owned(),
                action: FileAction::Attributes,
                before: None,
                attributes: Some("root:root 0666 → root:root 0644".to_owned()),
            },
        ],
        units: vec![told(evil, UnitAction::Stop)],
        accounts: AccountChange {
            removed: vec![evil.to_owned()],
            ..AccountChange::default()
        },
        firewall: Some(FirewallChange {
            before: Some(world.policy.clone()),
            differences: vec![evil.to_owned(); 100],
        }),
        ..nothing()
    };
    let shown = world.show(&plan, Some(evil));
    assert!(shown.text.len() < 60_000, "{} bytes", shown.text.len());
    check("strange-hands", &shown);
}

#[test]
fn what_comes_in_thousands_is_counted() {
    let world = World::of("home");
    let names: Vec<String> = (0..5000).map(|number| format!("x{number}")).collect();
    let plan = Plan {
        repairs: names.clone(),
        files: names.iter().map(|name| changed(name, None)).collect(),
        units: names
            .iter()
            .map(|name| told(name, UnitAction::Stop))
            .collect(),
        accounts: AccountChange {
            removed: names,
            ..AccountChange::default()
        },
        ..nothing()
    };
    let shown = world.show(&plan, None);
    assert_eq!(
        shown.text.matches("… and 4800 more").count(),
        4,
        "{}",
        shown.text
    );
    assert!(shown.summary.contains("5000 files"), "{}", shown.summary);
}

#[test]
fn no_secret_is_shown() {
    let world = World::of("home");
    let plan = Plan {
        files: world
            .rendered
            .files
            .iter()
            .map(|file| changed(&file.path, Some("nothing\n".to_owned())))
            .collect(),
        ..nothing()
    };
    let text = world.show(&plan, None).text;
    let secret = [PASSWD_PATH, ACL_PATH, HEALTH_PASSWORD_PATH].map(|path| world.content(path));
    for line in secret.iter().flat_map(|content| content.lines()) {
        assert!(line.trim().is_empty() || !text.contains(line), "{line}");
    }
    // The twin: what everybody may read is shown.
    assert!(text.contains("+max_keepalive 600"), "{text}");
}

#[test]
fn a_file_made_to_take_for_ever_is_not_compared() {
    let world = World::of("home");
    let before: String = (0..50_000).map(|line| format!("{line}\n")).collect();
    let plan = Plan {
        files: vec![changed(MOSQUITTO_CONF_PATH, Some(before))],
        ..nothing()
    };
    assert!(world.show(&plan, None).text.contains("not compared"));
    let before: String = (0..3_000).map(|line| format!("{line}\n")).collect();
    let plan = Plan {
        files: vec![changed(MOSQUITTO_CONF_PATH, Some(before))],
        ..nothing()
    };
    let text = world.show(&plan, None).text;
    assert!(
        text.contains("more lines") && text.lines().count() < 200,
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_gets_through_to_the_terminal(words in prop::collection::vec(any::<String>(), 6)) {
        static WORLD: LazyLock<World> = LazyLock::new(|| World::of("flat"));
        let world = &*WORLD;
        let plan = Plan {
            repairs: vec![words[0].clone()],
            files: vec![changed(&words[1], None), changed(MOSQUITTO_CONF_PATH, Some(words[2].clone()))],
            units: vec![told(&words[3], UnitAction::Restart)],
            accounts: AccountChange { added: vec![words[4].clone()], ..AccountChange::default() },
            firewall: Some(FirewallChange { before: Some(world.policy.clone()), differences: vec![words[5].clone()] }),
            ..nothing()
        };
        let text = world.show(&plan, Some(&words[0])).text;
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }
}
