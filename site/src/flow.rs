//! The policy: which flows are allowed, which are refused, and in what order.
//!
//! One list of [`Rule`]s per bastion feeds everything: `deploy` renders the firewall from it,
//! the bastion compares what is loaded with it, the lab probes it, and `docs/security.md` names
//! each of its lines. How a match is spelled for a firewall is left to `deploy`.
//!
//! The order of the outgoing rules matters: replies first, then what every network needs,
//! then the refusals, and only behind them what may be let out one day. So an opening added
//! later can never open the LAN.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::description::{Bastion, Site};
use crate::network::{refused_v4, refused_v6};

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

/// The family of a rule that comes once for IPv4 and once for IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(self, networks: &[IpNet]) -> Vec<IpNet> {
        let fits = |network: &&IpNet| {
            matches!(
                (self, network),
                (Family::V4, IpNet::V4(_)) | (Family::V6, IpNet::V6(_))
            )
        };
        IpNet::aggregate(&networks.iter().filter(fits).copied().collect())
    }

    fn refused(self) -> Vec<IpNet> {
        match self {
            Family::V4 => refused_v4()
                .into_iter()
                .map(|range| IpNet::V4(range.network))
                .collect(),
            Family::V6 => refused_v6()
                .into_iter()
                .map(|range| IpNet::V6(range.network))
                .collect(),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Family::V4 => "v4",
            Family::V6 => "v6",
        }
    }
}

fn hosts(addresses: &[IpAddr]) -> Vec<IpNet> {
    addresses
        .iter()
        .map(|address| IpNet::from(*address))
        .collect()
}

fn rule(
    name: &str,
    flow: &str,
    hook: Hook,
    action: Action,
    matches: Vec<Match>,
    says: &str,
) -> Rule {
    Rule {
        name: name.to_owned(),
        flow: flow.to_owned(),
        says: says.to_owned(),
        hook,
        matches,
        action,
    }
}

impl Policy {
    /// The policy that follows from a site for one of its bastions.
    #[must_use]
    pub fn of(site: &Site, bastion: &Bastion) -> Policy {
        let mut rules = incoming(site, bastion);
        rules.push(rule(
            "refuse-forward",
            "R",
            Hook::Forward,
            Action::Drop,
            vec![],
            "the bastion forwards nothing from one network to another",
        ));
        rules.extend(outgoing(site, bastion));
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

fn incoming(site: &Site, bastion: &Bastion) -> Vec<Rule> {
    let served = vec![SSH_PORT, MQTT_PORT];
    let mut rules = vec![
        rule(
            "loopback-in",
            "F0",
            Hook::Input,
            Action::Accept,
            vec![Match::Loopback],
            "the bastion's own programs hear each other over loopback",
        ),
        rule(
            "f9-connections",
            "F9",
            Hook::Input,
            Action::Accept,
            vec![
                Match::Established(Direction::Original),
                Match::TcpTo(served),
            ],
            "a connection that was let in goes on",
        ),
        rule(
            "f8-neighbours-in",
            "F8",
            Hook::Input,
            Action::Accept,
            vec![discovery(&[
                "nd-neighbor-solicit",
                "nd-neighbor-advert",
                "nd-router-advert",
            ])],
            "neighbours on the segment find the bastion's IPv6 address",
        ),
    ];
    let mut each =
        |name: &str, flow: &str, says: &str, matches: &dyn Fn(Family) -> Option<Vec<Match>>| {
            for family in [Family::V4, Family::V6] {
                if let Some(matches) = matches(family) {
                    let name = format!("{name}-{}", family.suffix());
                    rules.push(rule(
                        &name,
                        flow,
                        Hook::Input,
                        Action::Accept,
                        matches,
                        says,
                    ));
                }
            }
        };
    let from = |addresses: &[IpAddr], port: u16, family: Family| {
        let sources = family.of(&hosts(addresses));
        (!sources.is_empty()).then(|| vec![Match::TcpTo(vec![port]), Match::Source(sources)])
    };
    each(
        "f3-admin",
        "F3",
        "admins reach SSH, ahead of every limit",
        &|family| from(&site.lan.admins, SSH_PORT, family),
    );
    each(
        "f2-readers",
        "F2",
        "readers in the LAN reach the broker",
        &|family| from(&site.lan.readers, MQTT_PORT, family),
    );
    each(
        "f1-router",
        "F1",
        "connections that the router masquerades reach the broker",
        &|family| from(&bastion.masquerades_as, MQTT_PORT, family),
    );
    each(
        "f1-meters",
        "F1",
        "meters on the Internet reach the broker; the LAN, private and on-link addresses do not",
        &|family| {
            let serves = bastion
                .addresses
                .iter()
                .any(|address| address.is_ipv4() == (family == Family::V4));
            let local = [
                site.lan.networks.as_slice(),
                &bastion.networks,
                &family.refused(),
            ]
            .concat();
            serves.then(|| {
                vec![
                    Match::TcpTo(vec![MQTT_PORT]),
                    Match::TcpFromAtLeast(1024),
                    Match::SourceOutside(family.of(&local)),
                ]
            })
        },
    );
    rules.push(rule(
        "refuse-rest-in",
        "R",
        Hook::Input,
        Action::Drop,
        vec![],
        "whatever else comes in is refused without an answer",
    ));
    rules
}

fn outgoing(site: &Site, bastion: &Bastion) -> Vec<Rule> {
    let mut rules = vec![
        rule(
            "loopback-out",
            "F0",
            Hook::Output,
            Action::Accept,
            vec![Match::Loopback],
            "the bastion's own programs speak to each other over loopback",
        ),
        rule(
            "f9-replies",
            "F9",
            Hook::Output,
            Action::Accept,
            vec![
                Match::Established(Direction::Reply),
                Match::TcpFrom(vec![SSH_PORT, MQTT_PORT]),
                Match::NotBareSyn,
            ],
            "who was let in is answered, and nobody else is spoken to",
        ),
        rule(
            "f8-neighbours-out",
            "F8",
            Hook::Output,
            Action::Accept,
            vec![discovery(&[
                "nd-neighbor-solicit",
                "nd-neighbor-advert",
                "nd-router-solicit",
            ])],
            "the bastion finds the router and its neighbours over IPv6",
        ),
    ];
    let mut refuse = |name: String, says: &str, matches: Vec<Match>| {
        rules.push(rule(
            &name,
            "R",
            Hook::Output,
            Action::Reject,
            matches,
            says,
        ));
    };
    for family in [Family::V4, Family::V6] {
        let suffix = family.suffix();
        let mut to = |name: &str, says: &str, networks: Vec<IpNet>| {
            if !networks.is_empty() {
                refuse(
                    format!("{name}-{suffix}"),
                    says,
                    vec![Match::Destination(networks)],
                );
            }
        };
        to(
            "refuse-lan",
            "the LAN's networks are out of reach",
            family.of(&site.lan.networks),
        );
        to(
            "refuse-segment",
            "hosts on the bastion's own segment, the router among them, are out of reach",
            family.of(&bastion.networks),
        );
        to(
            "refuse-private",
            "private, shared, link-local, multicast and transition addresses are out of reach",
            family.of(&family.refused()),
        );
        let gateway = bastion
            .gateways
            .iter()
            .find(|gateway| gateway.is_ipv4() == (family == Family::V4));
        if let Some(gateway) = gateway {
            refuse(
                format!("refuse-next-hop-{suffix}"),
                "whatever is not handed to the router is out of reach",
                vec![Match::NextHopOtherThan(*gateway)],
            );
        }
    }
    // Time, updates and the like will stand here, behind every refusal.
    rules.push(rule(
        "refuse-rest-out",
        "R",
        Hook::Output,
        Action::Reject,
        vec![],
        "the bastion starts no connection to anybody",
    ));
    rules
}

fn discovery(types: &[&str]) -> Match {
    Match::NeighbourDiscovery(types.iter().map(|name| (*name).to_owned()).collect())
}
