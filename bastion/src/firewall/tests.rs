//! Comparing what is loaded with what was rendered; the kernel's part is in `tests/nftables/`.

use serde_json::{Value, json};

use super::compare::{ChainState, chains, compare, compare_sets, flags, hooked};
use super::tables::{
    EGRESS, Transaction, WHOLE, device_in_words, mark, references, rendered_hooks, restoring,
};
use super::users;
use site::manifest::RENDERED_MARK;

fn chain(name: &str, policy: &str, rules: &[(&str, &str)]) -> ChainState {
    let rules = rules.iter();
    ChainState {
        name: name.to_owned(),
        hooked: vec![json!("filter"), json!(name), json!(0), json!(policy)],
        rules: rules
            .map(|(name, expression)| ((*name).to_owned(), json!([expression])))
            .collect(),
    }
}

fn expected() -> Vec<ChainState> {
    vec![
        chain("input", "drop", &[("a", "1"), ("b", "2")]),
        chain("output", "drop", &[("c", "3")]),
    ]
}

#[track_caller]
fn check(input: &[(&str, &str)], says: &[&str]) {
    let loaded = [
        chain("input", "drop", input),
        chain("output", "drop", &[("c", "3")]),
    ];
    assert_eq!(compare(&expected(), &loaded), says);
}

#[test]
fn equal_is_equal() {
    assert_eq!(compare(&expected(), &expected()), Vec::<String>::new());
    let mut turned = expected();
    turned.reverse();
    assert_eq!(compare(&expected(), &turned), Vec::<String>::new());
}

#[test]
fn each_difference_of_rules_has_its_words() {
    check(&[("a", "1")], &["rule b is missing from chain input"]);
    check(&[("a", "1"), ("b", "9")], &["rule b was changed"]);
    check(
        &[("a", "1"), ("", "accept"), ("b", "2")],
        &["rule without a name in chain input is not ours"],
    );
    check(
        &[("a", "1"), ("b", "2"), ("c", "3")],
        &["rule c in chain input is not ours"],
    );
    check(
        &[("b", "2"), ("a", "1")],
        &["the rules of chain input stand in another order"],
    );
    check(
        &[("a", "1"), ("b", "2"), ("a", "1")],
        &["rule a is there 2 times"],
    );
    // A changed rule hidden behind the right one is found as well.
    check(
        &[("a", "9"), ("a", "1"), ("b", "2")],
        &["rule a is there 2 times"],
    );
    check(
        &[],
        &[
            "rule a is missing from chain input",
            "rule b is missing from chain input",
        ],
    );
}

#[test]
fn each_difference_of_chains_has_its_words() {
    let open = [
        chain("input", "accept", &[("a", "1"), ("b", "2")]),
        chain("output", "drop", &[("c", "3")]),
    ];
    assert_eq!(
        compare(&expected(), &open),
        [r#"chain input is "filter" "input" 0 "accept", expected "filter" "input" 0 "drop""#]
    );
    let foreign = [expected(), vec![chain("more", "accept", &[])]].concat();
    assert_eq!(compare(&expected(), &foreign), ["chain more is not ours"]);
    assert_eq!(
        compare(&expected(), &[]),
        ["chain input is missing", "chain output is missing"]
    );
}

/// A chain as nft lists it, with what changes by itself.
fn listing(handle: u32, packets: u64) -> Value {
    json!({"nftables": [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "shelly_bastion", "handle": handle}},
        {"chain": {"family": "inet", "table": "shelly_bastion", "name": "input", "handle": handle,
                   "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
        {"rule": {"family": "inet", "table": "shelly_bastion", "chain": "input", "handle": handle,
                  "comment": "a", "expr": [{"counter": {"packets": packets, "bytes": packets}},
                                           {"accept": null}]}},
    ]})
}

#[test]
fn handles_and_counters_make_no_difference() {
    assert_eq!(chains(&listing(1, 0)), chains(&listing(7, 4711)));
    let [chain] = &chains(&listing(1, 0))[..] else {
        panic!("one chain was listed")
    };
    assert_eq!(chain.name, "input");
    assert_eq!(
        chain.hooked,
        [json!("filter"), json!("input"), json!(0), json!("drop")]
    );
    assert_eq!(
        chain.rules,
        [("a".to_owned(), json!([{"counter": null}, {"accept": null}]))]
    );
}

#[test]
fn a_sleeping_table_is_found() {
    assert_eq!(flags(&listing(1, 0)), None);
    let sleeping =
        json!({"nftables": [{"table": {"name": "shelly_bastion", "flags": ["dormant"]}}]});
    assert_eq!(
        flags(&sleeping).unwrap(),
        r#"table shelly_bastion carries the flags ["dormant"]"#
    );
}

fn rendered() -> Value {
    json!({"nftables": [
        {"add": {"table": {"family": "inet", "name": "shelly_bastion"}}},
        {"delete": {"table": {"family": "inet", "name": "shelly_bastion"}}},
        {"add": {"chain": {"family": "inet", "table": "shelly_bastion", "name": "input",
                           "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}},
        {"add": {"rule": {"family": "inet", "table": "shelly_bastion", "chain": "input",
                          "comment": "a", "expr": [{"accept": null}]}}},
    ]})
}

/// The reference is loaded into a kernel that is at work: it must never see a packet.
#[test]
fn the_reference_has_no_hook_and_another_name() {
    let reference = references(&rendered(), &[WHOLE], RENDERED_MARK).unwrap();
    let text = reference.to_string();
    assert!(!text.contains("\"shelly_bastion\""), "{text}");
    for key in ["\"hook\"", "\"policy\"", "\"prio\"", "\"type\""] {
        assert!(!text.contains(key), "{text}");
    }
    assert_eq!(text.matches("shelly_bastion_reference").count(), 5);
    let hooks = rendered_hooks(&rendered(), WHOLE, "input");
    assert_eq!(
        hooks,
        hooked(&json!({"type": "filter", "hook": "input", "prio": 0, "policy": "drop"}))
    );
}

#[test]
fn commands_for_anything_else_are_refused() {
    for (command, says) in [
        (json!({"flush": {"ruleset": null}}), "does not know"),
        (
            json!({"add": {"table": {"family": "inet", "name": "other"}}}),
            "another table",
        ),
        (
            json!({"add": {"rule": {"family": "inet", "chain": "input"}}}),
            "another table",
        ),
        (json!("flush"), "does not know"),
        (json!({}), "does not know"),
    ] {
        let error = references(&json!({"nftables": [command]}), &[WHOLE], 1)
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{command}: {error}");
    }
    for ruleset in [json!({}), json!([]), json!({"nftables": {}})] {
        let error = references(&ruleset, &[WHOLE], 1).unwrap_err().to_string();
        assert!(error.contains("nftables"), "{error}");
    }
}

#[test]
fn users_are_found_wherever_a_rule_names_them() {
    let by = |right: Value| {
        json!({"add": {"rule": {"expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": right}}]}}})
    };
    let ruleset = json!({"nftables": [
        by(json!("_apt")),
        by(json!({"set": ["systemd-timesync", 0]})),
        by(json!(0)),
        {"add": {"rule": {"expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}]}}},
    ]});
    let found: Vec<String> = users(&ruleset).into_iter().collect();
    assert_eq!(found, ["_apt", "systemd-timesync"]);
}

/// What brings a table back names chains and sets before the rules that need them, and nothing
/// that was learnt or counted by a handle.
#[test]
fn a_listing_becomes_commands_in_their_order() {
    let mut listing = listing(7, 4711);
    let objects = listing
        .get_mut("nftables")
        .and_then(Value::as_array_mut)
        .unwrap();
    objects.push(json!({"set": {"name": "s", "handle": 3, "flags": ["timeout"], "elem": ["::1"]}}));
    let commands = restoring(&listing, Some("eth0"));
    let kinds: Vec<String> = commands
        .iter()
        .map(|command| {
            let (verb, object) = command.as_object().unwrap().iter().next().unwrap();
            format!(
                "{verb} {}",
                object.as_object().unwrap().keys().next().unwrap()
            )
        })
        .collect();
    assert_eq!(kinds, ["add set", "add chain", "add rule"]);
    let text = json!(commands).to_string();
    assert_eq!(text.matches(r#""dev":"eth0""#).count(), 1, "{text}");
    assert!(!text.contains("handle") && !text.contains("::1"), "{text}");
}

fn with_set(set: &Value) -> Value {
    json!({"nftables": [{"set": set}]})
}

#[test]
fn each_difference_of_sets_has_its_words() {
    let set = json!({"name": "s", "table": "t", "handle": 1, "type": "ipv4_addr", "elem": ["a"]});
    let same = json!({"name": "s", "table": "u", "handle": 2, "type": "ipv4_addr", "elem": ["a"]});
    let other = json!({"name": "s", "type": "ipv4_addr", "elem": ["b"]});
    let learns = json!({"name": "s", "type": "ipv4_addr", "flags": ["timeout"], "elem": ["b"]});
    let learnt = json!({"name": "s", "type": "ipv4_addr", "flags": ["timeout"]});
    let none = json!({"nftables": []});
    let found = |a: &Value, b: &Value| compare_sets(a, b).join("; ");
    assert_eq!(found(&with_set(&set), &with_set(&same)), "");
    assert_eq!(found(&with_set(&learns), &with_set(&learnt)), "");
    assert_eq!(
        found(&with_set(&set), &with_set(&other)),
        "set s was changed"
    );
    assert_eq!(
        found(&with_set(&set), &with_set(&learnt)),
        "set s was changed"
    );
    assert_eq!(found(&with_set(&set), &none), "set s is missing");
    assert_eq!(found(&none, &with_set(&set)), "set s is not ours");
}

/// The two halves of the mark: the policy puts it, the device's table asks for it.
fn marked() -> Value {
    let mut marked = rendered();
    let list = marked.get_mut("nftables").and_then(Value::as_array_mut);
    list.unwrap().extend([
        json!({"add": {"rule": {"family": "inet", "table": "shelly_bastion", "chain": "input",
                       "expr": [{"mangle": {"key": {"meta": {"key": "mark"}},
                                            "value": RENDERED_MARK}}]}}}),
        json!({"add": {"chain": {"family": "netdev", "table": "shelly_bastion_egress",
                       "name": "egress", "hook": "egress", "dev": "eth0"}}}),
        json!({"add": {"rule": {"family": "netdev", "table": "shelly_bastion_egress",
                       "chain": "egress",
                       "expr": [{"match": {"op": "==", "left": {"meta": {"key": "mark"}},
                                           "right": RENDERED_MARK}}]}}}),
    ]);
    marked
}

#[test]
fn both_halves_get_the_mark_that_was_drawn() {
    let transaction = Transaction {
        mark: 4711,
        with_egress: true,
        egress_is_there: false,
    };
    let text = transaction.of(&marked()).unwrap().to_string();
    assert_eq!(text.matches("4711").count(), 2, "{text}");
    assert!(!text.contains(&RENDERED_MARK.to_string()), "{text}");
    let reference = references(&marked(), &[EGRESS], 4711).unwrap().to_string();
    assert_eq!(reference.matches("4711").count(), 1, "{reference}");
    assert!(!reference.contains("eth0"), "{reference}");
    let listing = json!({"nftables": [{"rule": {"expr": [
        {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 4711}}]}}]});
    assert_eq!(mark(&listing), Some(4711));
    assert_eq!(mark(&json!({"nftables": [{"rule": {"expr": []}}]})), None);
}

/// Where there is no device, nor a table of one, a kernel may not even know the word.
#[test]
fn the_table_of_the_device_is_left_out_and_taken_away() {
    let text = |egress_is_there: bool| {
        let transaction = Transaction {
            mark: 4711,
            with_egress: false,
            egress_is_there,
        };
        transaction.of(&marked()).unwrap().to_string()
    };
    assert!(!text(false).contains("netdev"), "{}", text(false));
    assert_eq!(text(true).matches("netdev").count(), 2, "{}", text(true));
}

#[test]
fn the_device_is_read_in_either_spelling() {
    for (words, expected) in [
        (
            "type filter hook egress device \"eth0\" priority filter;",
            Some("eth0"),
        ),
        (
            "type filter hook egress devices = { eth0 } priority 0;",
            Some("eth0"),
        ),
        (
            "type filter hook egress devices = { \"eth0\" } priority 0;",
            Some("eth0"),
        ),
        ("chain egress {", None),
    ] {
        assert_eq!(device_in_words(words), expected, "{words}");
    }
}
