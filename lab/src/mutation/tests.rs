//! What counts as the same policy, and which changes are tried.

use std::collections::BTreeSet;

use site::flow::{Action, Direction, Hook, Match, Rule};

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
    let of_kind = |kind: &str| {
        let fits = |each: &&Mutation| each.change.kind() == kind;
        mutations.iter().filter(fits).count()
    };
    let chains = Hook::ALL.map(|hook| policy.rules.iter().filter(|rule| rule.hook == hook).count());
    let pairs: usize = chains.iter().map(|length| length.saturating_sub(1)).sum();
    assert_eq!(of_kind("rules missing"), policy.rules.len());
    assert_eq!(of_kind("rules swapped"), pairs);
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
fn an_order_has_the_same_rules_each_in_its_chain() {
    let policy = policy();
    let sorted = |policy: &Policy| {
        let mut rules: Vec<String> = policy
            .rules
            .iter()
            .map(|rule| format!("{rule:?}"))
            .collect();
        rules.sort_unstable();
        rules
    };
    for mutation in all(&policy) {
        if !matches!(mutation.change, Change::Without(_) | Change::Opened(_)) {
            assert_eq!(
                sorted(&mutation.policy),
                sorted(&policy),
                "{}",
                mutation.change
            );
        }
    }
}

/// What a person might insert: a rule that accepts, first in its chain.
#[test]
fn every_refusal_that_does_not_count_is_opened_once() {
    let policy = policy();
    let refusals: Vec<&Rule> = policy
        .rules
        .iter()
        .filter(|rule| rule.action != Action::Accept && !rule.matches.iter().any(same::counts))
        .collect();
    let opened: Vec<Mutation> = all(&policy)
        .into_iter()
        .filter(|each| matches!(each.change, Change::Opened(_)))
        .collect();
    assert_eq!(opened.len(), refusals.len());
    for (mutation, refusal) in opened.iter().zip(refusals) {
        assert_eq!(mutation.change, Change::Opened(refusal.name.clone()));
        let chain = |policy: &Policy| -> Vec<Rule> {
            let rules = policy.rules.iter().filter(|rule| rule.hook == refusal.hook);
            rules.cloned().collect()
        };
        let (with, without) = (chain(&mutation.policy), chain(&policy));
        let (hole, rest) = with.split_first().unwrap();
        assert_eq!(rest, without);
        assert_eq!(
            (hole.action, &hole.matches),
            (Action::Accept, &refusal.matches)
        );
    }
}

/// Each rule to the beginning, to the end, each refusal behind each later opening; what comes to
/// the same is tried once.
#[test]
fn rules_move_past_several_others() {
    let net = |text: &str| vec![Match::Destination(vec![text.parse().unwrap()])];
    let named = |name: &str, action, matches| Rule {
        name: name.to_owned(),
        ..rule(action, matches)
    };
    let policy = Policy {
        rules: vec![
            named(
                "reply",
                Action::Accept,
                vec![Match::Established(Direction::Reply)],
            ),
            named("near", Action::Drop, net("10.0.0.0/8")),
            named("far", Action::Drop, net("192.0.2.0/24")),
            named("open", Action::Accept, net("10.1.0.0/16")),
            named("rest", Action::Drop, vec![]),
        ],
    };
    let found: Vec<(String, Option<Untried>)> = all(&policy)
        .into_iter()
        .filter(|each| !matches!(each.change, Change::Without(_) | Change::Opened(_)))
        .map(|each| (each.change.to_string(), each.untried))
        .collect();
    let same = |why: &str| Some(Untried::Same(why.to_owned()));
    let known = |change: &str| Some(Untried::As(change.to_owned()));
    let apart = "no packet fits both: other ports, users, addresses or messages";
    let expected = [
        ("swapped reply near", None),
        ("swapped near far", same(apart)),
        ("swapped far open", same(apart)),
        ("swapped open rest", None),
        ("moved far ahead of reply", None),
        ("moved open ahead of reply", None),
        ("moved rest ahead of reply", None),
        ("moved reply behind open", None),
        ("moved near behind open", known("moved open ahead of reply")),
    ];
    let expected: Vec<(String, Option<Untried>)> = expected
        .into_iter()
        .map(|(change, untried)| (change.to_owned(), untried))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn over_loopback_nobody_comes_from_outside() {
    let outside = |text: &str| {
        let matches = vec![Match::SourceOutside(vec![text.parse().unwrap()])];
        rule(Action::Drop, matches)
    };
    let inside = rule(Action::Accept, vec![Match::Loopback]);
    assert!(same::why(&inside, &outside("127.0.0.0/8")).is_some());
    assert!(same::why(&outside("::/96"), &inside).is_some());
    assert_eq!(same::why(&inside, &outside("10.0.0.0/8")), None);
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

#[test]
fn a_rule_that_a_scenario_shows_has_no_excuse() {
    let excuse = |rule: &str| Change::Without(rule.to_owned()).excuse();
    assert_eq!(excuse("refuse-lan-v4"), None);
    assert_eq!(excuse("no-such-rule"), None);
}
