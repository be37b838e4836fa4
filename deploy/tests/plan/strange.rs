//! Answers of a machine in strange hands: nothing in them reaches the terminal, takes for ever, or
//! shows a secret.

use std::sync::LazyLock;

use proptest::prelude::*;
use site::answer::{
    AccountChange, FileAction, FileChange, FirewallChange, PackageChange, Plan, UnitAction,
};
use site::manifest::{
    ACL_PATH, FLOWS_PATH, HEALTH_PASSWORD_PATH, MOSQUITTO_CONF_PATH, PASSWD_PATH,
};

use super::world::{World, changed, check, nothing, told};

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
