//! What counts as the same policy, and which changes are tried.

use std::collections::BTreeSet;

use site::flow::{Action, Direction, Match, Rule};

use super::*;

/// A site that has every rule, the router's among them.
fn policy() -> Policy {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../site/tests/good/everything.toml"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let site = site::Site::parse("everything.toml", &text).unwrap();
    Policy::of(&site, site.bastions.first().unwrap())
}

fn rule(action: Action, matches: Vec<Match>) -> Rule {
    Rule {
        name: "a-rule".to_owned(),
        flow: "F".to_owned(),
        says: String::new(),
        hook: Hook::Input,
        matches,
        action,
    }
}

#[test]
fn every_rule_is_missing_once_and_every_two_neighbours_are_swapped_once() {
    let policy = policy();
    let mutations = all(&policy);
    let rules = policy.rules.len();
    let chains = Hook::ALL.map(|hook| policy.rules.iter().filter(|rule| rule.hook == hook).count());
    let pairs: usize = chains.iter().map(|length| length.saturating_sub(1)).sum();
    assert_eq!(mutations.len(), rules + pairs);
    let names: BTreeSet<String> = mutations
        .iter()
        .map(|each| each.change.to_string())
        .collect();
    assert_eq!(names.len(), mutations.len(), "each is another");
    for mutation in &mutations {
        assert_ne!(mutation.policy, policy, "{}", mutation.change);
    }
}

#[test]
fn what_is_named_with_a_reason_is_a_pair_of_neighbours_that_is_not_the_same() {
    let mutations = all(&policy());
    for (first, second, reason) in UNNOTICED {
        let change = Change::Swapped(first.to_owned(), second.to_owned());
        let found = mutations.iter().find(|each| each.change == change);
        let found = found.unwrap_or_else(|| panic!("{change}: no such neighbours"));
        assert_eq!(found.same, None, "{change} needs no reason");
        assert!(!reason.is_empty());
    }
}

#[test]
fn a_refusal_and_an_opening_that_share_packets_are_not_the_same() {
    let v4 = |text: &str| vec![text.parse().unwrap()];
    let near = Match::Destination(v4("10.0.0.0/8"));
    let nearer = Match::Destination(v4("10.1.0.0/16"));
    let far = Match::Destination(v4("192.0.2.0/24"));
    let accept = |condition: &Match| rule(Action::Accept, vec![condition.clone()]);
    let drop = |condition: &Match| rule(Action::Drop, vec![condition.clone()]);
    assert_eq!(same::why(&accept(&near), &drop(&nearer)), None);
    assert!(same::why(&accept(&nearer), &accept(&near)).is_some());
    assert!(same::why(&accept(&far), &drop(&near)).is_some());
    assert!(same::why(&accept(&Match::New), &drop(&Match::Related)).is_some());
    let back = Match::Established(Direction::Reply);
    assert_eq!(same::why(&accept(&back), &drop(&near)), None);
    // A last rule fits everything.
    assert_eq!(same::why(&accept(&near), &rule(Action::Drop, vec![])), None);
}

#[test]
fn what_counts_packets_is_not_the_same_as_its_neighbour() {
    let limit = site::flow::Limit {
        per_second: 1,
        burst: 1,
    };
    let counts = rule(Action::Drop, vec![Match::Beyond(limit)]);
    let other = rule(Action::Drop, vec![Match::New]);
    assert_eq!(same::why(&counts, &other), None);
}

/// The page names rules by name, so a rule that is new has a line before it has an excuse.
#[test]
fn a_rule_that_no_scenario_shows_is_excused_by_the_page_only() {
    let excuse = |rule: &str| Change::Without(rule.to_owned()).excuse();
    assert!(excuse("f8-groups-in").is_some());
    assert_eq!(excuse("refuse-lan-v4"), None);
    assert_eq!(excuse("no-such-rule"), None);
}
