//! The rules themselves: what a site lets in, and what it refuses a bastion.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Action, Direction, Hook, MQTT_PORT, Match, Rule, SSH_PORT};
use crate::description::{Bastion, Site};
use crate::network::{refused_v4, refused_v6};

/// What comes to the bastion.
pub(super) fn incoming(site: &Site, bastion: &Bastion) -> Vec<Rule> {
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
        (!sources.is_empty())
            .then(|| vec![Match::New, Match::TcpTo(vec![port]), Match::Source(sources)])
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
                    Match::New,
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

/// What would go through it.
pub(super) fn forwarded() -> Rule {
    rule(
        "refuse-forward",
        "R",
        Hook::Forward,
        Action::Drop,
        vec![],
        "the bastion forwards nothing from one network to another",
    )
}

/// What leaves the bastion.
pub(super) fn outgoing(site: &Site, bastion: &Bastion) -> Vec<Rule> {
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
