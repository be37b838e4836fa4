//! What is in force before the whole policy is, and when it does not load: the bastion can be
//! reached by its admins and keeps its address, and nothing else.
//!
//! The rules are those of the whole policy, so they are said once; only what serves others than
//! admins is left out. None of them names a user or asks for a next hop: what the machine lacks
//! cannot keep them from loading.

use super::{Match, Policy, Rule, SSH_PORT};

/// Beginnings of the names of the rules that stay. Echoes are not needed to get in.
const KEPT: [&str; 9] = [
    "loopback-",
    "f9-",
    "f7-",
    "f8-neighbours-",
    "f8-groups-",
    "f8-errors-",
    "f3-",
    "refuse-rest-",
    "refuse-forward",
];

impl Policy {
    /// The part of this policy that is loaded before the network, on its own.
    #[must_use]
    pub fn early(&self) -> Policy {
        let kept = self
            .rules
            .iter()
            .filter(|rule| KEPT.iter().any(|begin| rule.name.starts_with(begin)));
        Policy {
            rules: kept.cloned().map(for_ssh_alone).collect(),
        }
    }
}

/// Connections that were let in go on as far as they are SSH.
fn for_ssh_alone(mut rule: Rule) -> Rule {
    for condition in &mut rule.matches {
        match condition {
            Match::TcpTo(ports) | Match::TcpFrom(ports) => ports.retain(|port| *port == SSH_PORT),
            _ => {}
        }
    }
    rule
}
