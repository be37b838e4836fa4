//! The rules of a chain in another order: neighbours swapped, each rule moved to the beginning and
//! to the end, each refusal moved behind each later opening.
//!
//! Two orders give every packet the same fate when one comes out of the other by swapping neighbours
//! that may be swapped. So an order is known by the pairs that stand the other way round and must
//! not: without any it is the policy itself, and two orders with the same ones are one.

use std::collections::BTreeSet;

use site::flow::{Action, Hook, Policy, Rule};

use super::{Change, Mutation, Untried, same};

/// One rule that leaves its place in a chain for another, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    from: usize,
    to: usize,
}

pub(super) fn all(policy: &Policy) -> Vec<Mutation> {
    let mut mutations = Vec::new();
    for hook in Hook::ALL {
        let chain: Vec<&Rule> = policy
            .rules
            .iter()
            .filter(|rule| rule.hook == hook)
            .collect();
        let mut tried: Vec<(BTreeSet<(&str, &str)>, String)> = Vec::new();
        for each in moves(&chain) {
            let Some(mut mutation) = moved(policy, hook, &chain, each) else {
                continue;
            };
            if mutation.untried.is_none() {
                let turned = turned(&chain, each);
                match tried.iter().find(|(other, _)| *other == turned) {
                    Some((_, other)) => mutation.untried = Some(Untried::As(other.clone())),
                    None => tried.push((turned, mutation.change.to_string())),
                }
            }
            mutations.push(mutation);
        }
    }
    mutations
}

/// Swaps of neighbours first; nothing twice.
fn moves(chain: &[&Rule]) -> Vec<Move> {
    let swaps = (1..chain.len()).map(|n| Move { from: n - 1, to: n });
    // Behind a rule that fits everything a rule is as good as missing, and that is tried anyway.
    let last = chain.len().saturating_sub(1);
    let end = match chain.last() {
        Some(rule) if rule.matches.is_empty() => last.saturating_sub(1),
        _ => last,
    };
    let to_the_beginning = (0..chain.len()).map(|n| Move { from: n, to: 0 });
    let to_the_end = (0..end).map(|n| Move { from: n, to: end });
    let behind_openings = chain.iter().enumerate().flat_map(|(from, rule)| {
        let later = chain.iter().enumerate().skip(from + 1);
        let openings = later.filter(|(_, other)| other.action == Action::Accept);
        let refuses = rule.action != Action::Accept;
        openings
            .filter(move |_| refuses)
            .map(move |(to, _)| Move { from, to })
    });
    let mut all: Vec<Move> = swaps.collect();
    for each in to_the_beginning.chain(to_the_end).chain(behind_openings) {
        let is_a_swap = each.from.abs_diff(each.to) <= 1;
        if !is_a_swap && !all.contains(&each) {
            all.push(each);
        }
    }
    all
}

/// The pairs that change places, as they stood.
fn pairs<'a>(chain: &[&'a Rule], Move { from, to }: Move) -> Vec<(&'a Rule, &'a Rule)> {
    let Some(moved) = chain.get(from) else {
        return vec![];
    };
    let passed = chain.iter().enumerate();
    if to < from {
        let passed = passed.filter(|(n, _)| (to..from).contains(n));
        passed.map(|(_, other)| (*other, *moved)).collect()
    } else {
        let passed = passed.filter(|(n, _)| (from + 1..=to).contains(n));
        passed.map(|(_, other)| (*moved, *other)).collect()
    }
}

/// Of these the ones whose order can matter, by name.
fn turned<'a>(chain: &[&'a Rule], each: Move) -> BTreeSet<(&'a str, &'a str)> {
    pairs(chain, each)
        .into_iter()
        .filter(|(first, second)| same::why(first, second).is_none())
        .map(|(first, second)| (first.name.as_str(), second.name.as_str()))
        .collect()
}

/// Why no packet can tell: for each pair that changes places the reason, each once.
fn why_the_same(chain: &[&Rule], each: Move) -> String {
    let reasons: BTreeSet<String> = pairs(chain, each)
        .into_iter()
        .filter_map(|(first, second)| same::why(first, second))
        .collect();
    let apart: Vec<&str> = reasons
        .iter()
        .filter_map(|reason| reason.strip_prefix(same::APART))
        .collect();
    let apart = (!apart.is_empty()).then(|| format!("{}{}", same::APART, apart.join("; ")));
    let others = reasons
        .iter()
        .filter(|reason| !reason.starts_with(same::APART));
    others.cloned().chain(apart).collect::<Vec<_>>().join("; ")
}

fn moved(policy: &Policy, hook: Hook, chain: &[&Rule], each: Move) -> Option<Mutation> {
    let Move { from, to } = each;
    let (rule, target) = (chain.get(from)?, chain.get(to)?);
    let name = |rule: &Rule| rule.name.clone();
    let change = if to == from + 1 {
        Change::Swapped(name(rule), name(target))
    } else if to > from {
        Change::Behind(name(rule), name(target))
    } else {
        Change::Ahead(name(rule), name(target))
    };
    let mut order: Vec<Rule> = chain.iter().map(|rule| (*rule).clone()).collect();
    let taken = order.remove(from);
    order.insert(to, taken);
    let mut order = order.into_iter();
    let mut policy = policy.clone();
    for place in policy.rules.iter_mut().filter(|rule| rule.hook == hook) {
        *place = order.next()?;
    }
    let mut touched = vec![name(rule)];
    for (first, second) in turned(chain, each) {
        for name in [first, second] {
            if !touched.iter().any(|known| known == name) {
                touched.push(name.to_owned());
            }
        }
    }
    let untried = (touched.len() == 1).then(|| Untried::Same(why_the_same(chain, each)));
    Some(Mutation {
        change,
        policy,
        touched,
        untried,
    })
}
