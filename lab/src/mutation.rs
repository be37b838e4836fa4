//! Policies that are wrong in one place: a rule is missing, one that opens is added, two neighbours
//! have changed places, or a rule has moved past several others.
//!
//! Some changes cannot be told from the policy itself, since no packet has another fate. Those are
//! computed (`same`). Which rules move where is said in `order`; loading and judging is left to the
//! scenarios.

mod order;
mod same;

use site::flow::{Action, Policy, Rule};

use crate::proof;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This rule is missing.
    Without(String),
    /// One is added, ahead of all others of its chain: it lets through what this rule refuses.
    Opened(String),
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
    /// The rules that are missing, are opened or have changed places, and can be told by it; the one
    /// that was moved first.
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
            Change::Opened(rule) => write!(f, "opened {rule}"),
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
            Change::Opened(_) => "rules added",
            Change::Swapped(..) => "rules swapped",
            Change::Ahead(..) | Change::Behind(..) => "rules moved",
        }
    }

    /// Why no scenario notices: what the page says of a rule that only tests show. A rule that is
    /// added and another order have no excuse.
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

/// Every rule missing once, every refusal opened once, then rules in another order.
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
    let opened = policy.rules.iter().filter_map(|rule| opened(policy, rule));
    missing.chain(opened).chain(order::all(policy)).collect()
}

/// A rule as somebody inserts it by hand. What refuses beyond a number counts packets and closes no
/// door.
fn opened(policy: &Policy, refusal: &Rule) -> Option<Mutation> {
    if refusal.action == Action::Accept || refusal.matches.iter().any(same::counts) {
        return None;
    }
    let mut policy = policy.clone();
    let first = policy
        .rules
        .iter()
        .position(|rule| rule.hook == refusal.hook)?;
    let hole = Rule {
        name: "hole".to_owned(),
        action: Action::Accept,
        ..refusal.clone()
    };
    policy.rules.insert(first, hole);
    Some(Mutation {
        change: Change::Opened(refusal.name.clone()),
        policy,
        touched: vec![refusal.name.clone()],
        untried: None,
    })
}

#[cfg(test)]
mod tests;
