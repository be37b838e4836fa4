//! The rules before the network, on their own and beside the whole policy.

use std::fs;

use bastion::firewall;
use serde_json::{Value, json};

use crate::namespace::{DONE, golden_early, has, host, inside, is_inside, nft, ruleset};
use crate::segment::{ADMIN, At, BASTION, HOME_SERVER, INTERNET, OTHER, READER, ROUTER, Segment};

const PROGRAMS: [&str; 3] = ["python3", "ip", "nsenter"];
const ALONE: &str = "early::inside_alone_they_let_admins_in_and_nobody_else";
const STAYS: &str = "early::inside_a_policy_that_does_not_load_leaves_them_in_force";

#[test]
fn alone_they_let_admins_in_and_nobody_else() {
    if has(ALONE, &PROGRAMS) {
        inside(ALONE);
    }
}

#[test]
fn a_policy_that_does_not_load_leaves_them_in_force() {
    if has(STAYS, &PROGRAMS) {
        inside(STAYS);
    }
}

fn load_early() {
    let path = golden_early("home");
    nft(&["-j", "-f", path.to_str().unwrap()]);
}

/// Who sends what to whom, and whether the early rules let it through.
const ATTEMPTS: [(At, &str, (&str, u16), (&str, u16), bool); 11] = [
    (At::Far, "tcp", (ADMIN, 0), (BASTION, 22), true),
    (At::Far, "tcp", (OTHER, 0), (BASTION, 22), false),
    (At::Far, "tcp", (INTERNET, 0), (BASTION, 22), false),
    (At::Far, "tcp", (READER, 0), (BASTION, 1883), false),
    (At::Far, "tcp", (INTERNET, 40000), (BASTION, 1883), false),
    (At::Far, "udp", (ROUTER, 67), (BASTION, 68), true),
    (At::Far, "udp", (OTHER, 67), (BASTION, 68), false),
    (At::Bastion, "udp", (BASTION, 68), (ROUTER, 67), true),
    (At::Bastion, "udp", (BASTION, 0), (ROUTER, 53), false),
    (At::Bastion, "tcp", (BASTION, 0), (HOME_SERVER, 80), false),
    (At::Bastion, "tcp", (BASTION, 0), (INTERNET, 443), false),
];

/// Judged at both ends.
fn check(segment: &Segment, in_force: bool) {
    for (at, protocol, from, to, lets) in ATTEMPTS {
        let other = if at == At::Far { At::Bastion } else { At::Far };
        let receiver = segment.receive(other, protocol, to.0, to.1);
        let said = segment.send(at, protocol, from, to);
        let heard = receiver.heard();
        let what = format!("{protocol} {from:?} to {to:?}, rules in force: {in_force}");
        if lets || !in_force {
            assert_eq!(
                (said.as_str(), heard),
                ("through", vec![from.0.to_owned()]),
                "{what}"
            );
        } else {
            assert_eq!(heard, Vec::<String>::new(), "{what}");
            // Datagrams are gone when they are sent, and nobody is told what a stranger's met.
            assert!(
                said != "through" || (protocol, at) == ("udp", At::Far),
                "{what}: {said}"
            );
        }
    }
}

#[test]
#[ignore = "the inner half of alone_they_let_admins_in_and_nobody_else"]
fn inside_alone_they_let_admins_in_and_nobody_else() {
    if !is_inside() {
        return;
    }
    let segment = Segment::new();
    check(&segment, false);
    load_early();
    check(&segment, true);
    println!("{DONE}");
}

fn rules() -> String {
    nft(&["--stateless", "list", "ruleset"])
}

/// Each fault is one that nft finds at another time: while it reads, and when the kernel answers.
#[test]
#[ignore = "the inner half of a_policy_that_does_not_load_leaves_them_in_force"]
fn inside_a_policy_that_does_not_load_leaves_them_in_force() {
    if !is_inside() {
        return;
    }
    let segment = Segment::new();
    load_early();
    let early = rules();
    let whole = ruleset("home");
    for condition in [
        json!({"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": "nobody-at-all"}}),
        json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
                         "right": "@nowhere"}}),
        json!({"jump": {"target": "nowhere"}}),
    ] {
        let mut broken = whole.clone();
        let commands = broken
            .get_mut("nftables")
            .and_then(Value::as_array_mut)
            .unwrap();
        commands.push(
            json!({"add": {"rule": {"family": "inet", "table": "shelly_bastion",
                                              "chain": "output", "expr": [condition]}}}),
        );
        firewall::load(&host(), &broken).unwrap_err();
        assert_eq!(rules(), early);
    }
    let reader = || {
        let receiver = segment.receive(At::Bastion, "tcp", BASTION, 1883);
        let said = segment.send(At::Far, "tcp", (READER, 0), (BASTION, 1883));
        (said, receiver.heard().len())
    };
    assert_eq!(reader(), ("silent".to_owned(), 0));
    // What is written down before a change brings them back, alone.
    let saved = firewall::restorable(&host()).unwrap().unwrap();
    firewall::load(&host(), &whole).unwrap();
    assert!(!rules().contains("shelly_bastion_early"), "{}", rules());
    assert_eq!(reader(), ("through".to_owned(), 1));
    assert_eq!(
        firewall::differences(&host(), &whole).unwrap(),
        Vec::<String>::new()
    );
    firewall::load(&host(), &saved).unwrap();
    assert_eq!(rules(), early);
    // Beside the whole policy they would refuse what that lets in, so that is found.
    firewall::load(&host(), &whole).unwrap();
    load_early();
    assert_eq!(reader(), ("silent".to_owned(), 0));
    let found = firewall::differences(&host(), &whole).unwrap().join("; ");
    assert!(
        found.contains("shelly_bastion_early is loaded beside it"),
        "{found}"
    );
    // The unit's own command looks first.
    nft(&["delete", "table", "inet", "shelly_bastion_early"]);
    let unit = golden_early("home");
    let unit = unit
        .parent()
        .unwrap()
        .join("../systemd/system/shelly-bastion-early.service");
    let unit = fs::read_to_string(unit).unwrap();
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/bin/sh -c '"));
    let path = golden_early("home");
    let command = command.unwrap().trim_end_matches('\'');
    let command = command.replace("/etc/shelly-bastion/early.nft.json", path.to_str().unwrap());
    let run = || {
        let mut shell = segment.command(At::Bastion, "sh");
        assert!(
            shell.args(["-c", &command]).status().unwrap().success(),
            "{command}"
        );
    };
    run();
    assert_eq!(reader(), ("through".to_owned(), 1));
    firewall::unload(&host()).unwrap();
    assert_eq!(rules(), "");
    run();
    assert_eq!(rules(), early);
    println!("{DONE}");
}
