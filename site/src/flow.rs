//! The policy: which flows are allowed, which are refused, and in what order.
//!
//! One list of [`Rule`]s per bastion feeds everything: `deploy` renders the firewall from it,
//! the bastion compares what is loaded with it, the lab probes it, and `docs/security.md` names
//! each of its lines. How a match is spelled for a firewall is left to `deploy`.
//!
//! The order of the outgoing rules matters: replies first, then what every network needs,
//! then the refusals, and only behind them what may be let out one day. So an opening added
//! later can never open the LAN.

mod rules;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::description::{Bastion, Site};

/// The port on which the broker meets the outside.
pub const MQTT_PORT: u16 = 1883;
/// The port of the broker's second listener, on loopback only.
pub const MQTT_LOOPBACK_PORT: u16 = 1884;
/// The port of the admin's SSH.
pub const SSH_PORT: u16 = 22;

/// Which packets a rule sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Packets to the bastion.
    Input,
    /// Packets through the bastion, from one network to another.
    Forward,
    /// Packets from the bastion.
    Output,
}

impl Hook {
    /// All hooks, in the order in which they are shown.
    pub const ALL: [Hook; 3] = [Hook::Input, Hook::Forward, Hook::Output];

    /// The name of the hook and of its chain.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
        }
    }
}

/// What happens to a packet that a rule fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It passes.
    Accept,
    /// It vanishes: strangers learn nothing.
    Drop,
    /// It is refused with an answer: programs on the bastion need not wait.
    Reject,
}

/// The halves of a tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// As the connection began.
    Original,
    /// Back to who began it.
    Reply,
}

/// One condition. A rule fits when all of its conditions do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// The packet stays on the machine.
    Loopback,
    /// It begins a connection.
    New,
    /// It belongs to an established connection, in this direction.
    Established(Direction),
    /// Not a bare SYN. A spoofed SYN can turn a connection's direction round; an answer
    /// that really is one never carries SYN without ACK.
    NotBareSyn,
    /// TCP to one of these ports.
    TcpTo(Vec<u16>),
    /// TCP from one of these ports.
    TcpFrom(Vec<u16>),
    /// TCP from this port or a higher one.
    TcpFromAtLeast(u16),
    /// From one of these networks, all of one family, without overlap.
    Source(Vec<IpNet>),
    /// From none of these networks, all of one family, without overlap. Fits that family only.
    SourceOutside(Vec<IpNet>),
    /// To one of these networks, all of one family, without overlap.
    Destination(Vec<IpNet>),
    /// Handed to a next hop other than this one. Fits the address's family only.
    NextHopOtherThan(IpAddr),
    /// IPv6 neighbour discovery, by the names nftables gives the types; hop limit 255,
    /// so that it cannot come from behind a router.
    NeighbourDiscovery(Vec<String>),
}

/// One line of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Unique name: the comment in the firewall, the word for `--without-rule`.
    pub name: String,
    /// Number of the flow in `docs/security.md`, or `R` for a refusal.
    pub flow: String,
    /// The sentence that the rule makes true.
    pub says: String,
    /// Which packets it sees.
    pub hook: Hook,
    /// All must fit.
    pub matches: Vec<Match>,
    /// What happens then.
    pub action: Action,
}

/// The whole policy of one bastion, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Evaluated from the top, hook by hook; the first rule that fits decides.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// The policy that follows from a site for one of its bastions.
    #[must_use]
    pub fn of(site: &Site, bastion: &Bastion) -> Policy {
        let mut rules = rules::incoming(site, bastion);
        rules.push(rules::forwarded());
        rules.extend(rules::outgoing(site, bastion));
        Policy { rules }
    }

    /// The same policy with one rule taken out, or `None` when there is no rule of that name.
    #[must_use]
    pub fn without(&self, name: &str) -> Option<Policy> {
        let rules: Vec<Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.name != name)
            .cloned()
            .collect();
        (rules.len() < self.rules.len()).then_some(Policy { rules })
    }

    /// Whether a hook refuses what none of its other rules fits: its last rule fits everything
    /// and does not accept.
    #[must_use]
    pub fn refuses_by_default(&self, hook: Hook) -> bool {
        let last = self.rules.iter().rfind(|rule| rule.hook == hook);
        last.is_some_and(|rule| rule.matches.is_empty() && rule.action != Action::Accept)
    }
}
