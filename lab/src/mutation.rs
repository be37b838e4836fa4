//! Policies that are wrong in one place: a rule is missing, two neighbours have changed places, or
//! a rule has moved past several others.
//!
//! Some changes cannot be told from the policy itself, since no packet has another fate. Those are
//! computed (`same`). Which rules move where is said in `order`; loading and judging is left to the
//! scenarios.

mod order;
mod same;

use site::flow::Policy;

use crate::proof;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This rule is missing.
    Without(String),
    /// These neighbours stand in the other order.
    Swapped(String, String),
    /// The first stands right ahead of the second, which it stood behind.
    Ahead(String, String),
    /// The first stands right behind the second, which it stood ahead of.
    Behind(String, String),
}

/// A policy that is wrong in one place.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// What is wrong.
    pub change: Change,
    /// The whole policy.
    pub policy: Policy,
    /// The rules that are missing or have changed places, and can be told by it; the one that was
    /// moved first.
    pub touched: Vec<String>,
    /// Why it need not be tried.
    pub untried: Option<Untried>,
}

/// Why a change need not be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untried {
    /// No packet can have another fate, for this reason.
    Same(String),
    /// This change, which is tried, gives every packet the same fate.
    As(String),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Without(rule) => write!(f, "without {rule}"),
            Change::Swapped(first, second) => write!(f, "swapped {first} {second}"),
            Change::Ahead(rule, other) => write!(f, "moved {rule} ahead of {other}"),
            Change::Behind(rule, other) => write!(f, "moved {rule} behind {other}"),
        }
    }
}

impl Change {
    /// What is wrong, without the rules' names.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Change::Without(_) => "rules missing",
            Change::Swapped(..) => "rules swapped",
            Change::Ahead(..) | Change::Behind(..) => "rules moved",
        }
    }

    /// Why no scenario notices: what the page says of a rule that only tests show. Another order has
    /// no excuse.
    #[must_use]
    pub fn excuse(&self) -> Option<String> {
        let Change::Without(rule) = self else {
            return None;
        };
        let line = proof::of_rule(rule)?;
        let excused = line.scenarios.is_empty();
        excused.then(|| format!("shown elsewhere: {}", line.proof.replace('`', "")))
    }
}

/// Every rule missing once, then rules in another order.
#[must_use]
pub fn all(policy: &Policy) -> Vec<Mutation> {
    let missing = policy.rules.iter().filter_map(|rule| {
        Some(Mutation {
            change: Change::Without(rule.name.clone()),
            policy: policy.without(&rule.name)?,
            touched: vec![rule.name.clone()],
            untried: None,
        })
    });
    missing.chain(order::all(policy)).collect()
}

#[cfg(test)]
mod tests;
