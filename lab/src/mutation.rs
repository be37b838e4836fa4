//! Policies that are wrong in one place: a rule is missing, or two neighbours have changed places.
//!
//! Some changes cannot be told from the policy itself, since no packet has another fate. Those are
//! computed (`same`), or named here with the reason. Loading and judging is left to the scenarios.

mod same;

use site::flow::{Hook, Policy};

use crate::proof;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This rule is missing.
    Without(String),
    /// These rules stand in the other order.
    Swapped(String, String),
}

/// A policy that is wrong in one place.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// What is wrong.
    pub change: Change,
    /// The whole policy.
    pub policy: Policy,
    /// Why no packet can have another fate, when none can.
    pub same: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Without(rule) => write!(f, "without {rule}"),
            Change::Swapped(first, second) => write!(f, "swapped {first} {second}"),
        }
    }
}

/// Changes of places that the lab's packets do not tell, each with the reason.
const UNNOTICED: [(&str, &str, &str); 1] = [(
    "f6-ends-v4",
    "refuse-rest-out",
    "as if f6-ends-v4 were missing, which the page says only unit tests show",
)];

impl Change {
    /// The rules that are touched.
    #[must_use]
    pub fn rules(&self) -> Vec<&str> {
        match self {
            Change::Without(rule) => vec![rule],
            Change::Swapped(first, second) => vec![first, second],
        }
    }

    /// Why no scenario notices: what the page or this module says.
    #[must_use]
    pub fn excuse(&self) -> Option<String> {
        match self {
            Change::Without(rule) => {
                let line = proof::of_rule(rule)?;
                let excused = line.scenarios.is_empty();
                excused.then(|| format!("shown elsewhere: {}", line.proof.replace('`', "")))
            }
            Change::Swapped(first, second) => UNNOTICED
                .iter()
                .find(|(one, other, _)| one == first && other == second)
                .map(|(.., reason)| (*reason).to_owned()),
        }
    }
}

/// Every rule missing once, then every two neighbours in a chain in the other order.
#[must_use]
pub fn all(policy: &Policy) -> Vec<Mutation> {
    let missing = policy.rules.iter().filter_map(|rule| {
        Some(Mutation {
            change: Change::Without(rule.name.clone()),
            policy: policy.without(&rule.name)?,
            same: None,
        })
    });
    let swapped = Hook::ALL.into_iter().flat_map(|hook| swaps(policy, hook));
    missing.chain(swapped).collect()
}

fn swaps(policy: &Policy, hook: Hook) -> Vec<Mutation> {
    let chain = policy.rules.iter().enumerate();
    let chain: Vec<_> = chain.filter(|(_, rule)| rule.hook == hook).collect();
    let neighbours = chain.iter().zip(chain.iter().skip(1));
    let swap = |((at, first), (then, second)): (&(usize, &_), &(usize, &_))| {
        let (first, second): (&site::flow::Rule, &site::flow::Rule) = (first, second);
        let mut policy = policy.clone();
        policy.rules.swap(*at, *then);
        Mutation {
            change: Change::Swapped(first.name.clone(), second.name.clone()),
            policy,
            same: same::why(first, second),
        }
    };
    neighbours.map(swap).collect()
}

#[cfg(test)]
mod tests;
