//! What comes to the bastion: who is let in, and the answers to what the bastion asked for.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Action, CONSOLE_SET_V4, CONSOLE_SET_V6, Direction, Family, Hook, Limit, MQTT_PORT, Match, Rule,
    Rules, SSH_PORT, hosts, only, words,
};
use crate::description::{Bastion, Site};
use crate::network::refused;

/// New connections from one source. Several hundred meters behind one address of a carrier come
/// back within a moment after it was away, and try again.
const PER_SOURCE: Limit = Limit {
    per_second: 10,
    burst: 400,
};
/// New connections from everybody together: what the broker bears, and what bounds the sources
/// that a full set does not notice.
const IN_TOTAL: Limit = Limit {
    per_second: 100,
    burst: 2000,
};
/// Echo requests from everybody together.
const ECHOES: Limit = Limit {
    per_second: 5,
    burst: 10,
};

pub(super) fn rules(site: &Site, bastion: &Bastion) -> Vec<Rule> {
    let mut rules = Rules::of(Hook::Input);
    rules.accept(
        "F0",
        "loopback-in",
        "the bastion's own programs hear each other over loopback",
        vec![Match::Loopback],
    );
    rules.accept(
        "F9",
        "f9-connections",
        "a connection that was let in goes on",
        vec![
            Match::Established(Direction::Original),
            Match::TcpTo(vec![SSH_PORT, MQTT_PORT]),
        ],
    );
    answers(&mut rules, site);
    network(&mut rules, bastion);
    inside(&mut rules, site);
    internet(&mut rules, site, bastion);
    rules.add(
        "R",
        "refuse-rest-in",
        Action::Drop,
        "whatever else comes in is refused without an answer",
        vec![],
    );
    rules.rules
}

/// Answers to the names, the time and the packages that the bastion asks for.
fn answers(rules: &mut Rules, site: &Site) {
    let outbound = &site.outbound;
    let answer = || Match::Established(Direction::Reply);
    rules.each(
        "F4",
        "f4-answers",
        Action::Accept,
        "the named resolvers answer",
        |family| {
            let resolvers = hosts(family, &outbound.resolvers)?;
            Some(vec![
                answer(),
                Match::TcpOrUdpFrom(53),
                Match::Source(resolvers),
            ])
        },
    );
    let named = outbound.time_addresses();
    let anybody = outbound.asks_time_by_name();
    rules.each(
        "F5",
        "f5-answers",
        Action::Accept,
        "time servers answer",
        |family| {
            let from = match family {
                Family::V4 if anybody => Match::Family(family),
                _ => Match::Source(hosts(family, &named)?),
            };
            Some(vec![answer(), Match::UdpFrom(vec![123]), from])
        },
    );
    if outbound.updates {
        rules.accept(
            "F6",
            "f6-answers-v4",
            "package mirrors answer",
            vec![
                answer(),
                Match::Family(Family::V4),
                Match::TcpFrom(vec![80, 443]),
            ],
        );
    }
}

/// What a machine on a network cannot do without.
fn network(rules: &mut Rules, bastion: &Bastion) {
    if let Some(server) = bastion.dhcp {
        // Not every answer belongs to a tracked connection: what was asked by broadcast is
        // answered from another address than it was sent to.
        rules.accept(
            "F7",
            "f7-dhcp-in-v4",
            "the named DHCP server answers, also where no connection is tracked",
            vec![
                Match::UdpFrom(vec![67]),
                Match::UdpTo(vec![68]),
                Match::Source(vec![IpAddr::V4(server).into()]),
            ],
        );
    }
    rules.accept(
        "F8",
        "f8-neighbours-in",
        "neighbours on the segment find the bastion's IPv6 address",
        vec![Match::NeighbourDiscovery(words(&[
            "nd-neighbor-solicit",
            "nd-neighbor-advert",
            "nd-router-advert",
        ]))],
    );
    rules.accept(
        "F8",
        "f8-groups-in",
        "a router asks which multicast groups are heard, so that neighbours go on being found",
        vec![Match::ListenerDiscovery(words(&["mld-listener-query"]))],
    );
    rules.each(
        "F8",
        "f8-errors",
        Action::Accept,
        "routers on the way report what does not get through, path MTU among it",
        |family| {
            Some(match family {
                Family::V4 => vec![
                    Match::Related,
                    Match::Icmp(words(&[
                        "destination-unreachable",
                        "time-exceeded",
                        "parameter-problem",
                    ])),
                ],
                Family::V6 => vec![
                    Match::Related,
                    Match::Icmpv6(words(&[
                        "destination-unreachable",
                        "packet-too-big",
                        "time-exceeded",
                        "parameter-problem",
                    ])),
                ],
            })
        },
    );
    rules.each(
        "F8",
        "f8-echo-in",
        Action::Accept,
        "whoever asks for an echo gets one, a few in a second",
        |family| Some(vec![echo(family, "echo-request"), Match::Within(ECHOES)]),
    );
}

/// A message of ICMP by the name that both families share.
pub(super) fn echo(family: Family, name: &str) -> Match {
    match family {
        Family::V4 => Match::Icmp(words(&[name])),
        Family::V6 => Match::Icmpv6(words(&[name])),
    }
}

/// Who comes from the LAN, ahead of every limit.
fn inside(rules: &mut Rules, site: &Site) {
    rules.each(
        "F3",
        "f3-admin",
        Action::Accept,
        "admins reach SSH, ahead of every limit",
        |family| {
            let admins = hosts(family, &site.lan.admins)?;
            Some(vec![
                Match::New,
                Match::TcpTo(vec![SSH_PORT]),
                Match::Source(admins),
            ])
        },
    );
    rules.each(
        "F3",
        "f3-console",
        Action::Accept,
        "the LAN reaches SSH for minutes, when somebody at the bastion itself has asked for it",
        |family| {
            let lan = only(family, &site.lan.networks);
            let set = match family {
                Family::V4 => CONSOLE_SET_V4,
                Family::V6 => CONSOLE_SET_V6,
            };
            (!lan.is_empty()).then(|| {
                vec![
                    Match::New,
                    Match::TcpTo(vec![SSH_PORT]),
                    Match::Source(lan),
                    Match::SourceInSet {
                        set: set.to_owned(),
                        family,
                    },
                ]
            })
        },
    );
    rules.each(
        "F2",
        "f2-readers",
        Action::Accept,
        "readers in the LAN reach the broker",
        |family| {
            let readers = hosts(family, &site.lan.readers)?;
            Some(vec![
                Match::New,
                Match::TcpTo(vec![MQTT_PORT]),
                Match::Source(readers),
            ])
        },
    );
}

/// Meters and strangers. The limit for all stands behind that for each source, and ahead of the
/// router that masquerades: all meters come from its one address.
fn internet(rules: &mut Rules, site: &Site, bastion: &Bastion) {
    let begins = || vec![Match::New, Match::TcpTo(vec![MQTT_PORT])];
    let outside = |family: Family| {
        let serves = bastion
            .addresses
            .iter()
            .any(|address| family.holds(*address));
        let local = [
            site.lan.networks.as_slice(),
            &bastion.networks,
            &refused(family),
        ];
        serves.then(|| only(family, &local.concat()))
    };
    let from_outside = |local: Vec<IpNet>| {
        let mut matches = begins();
        matches.push(Match::TcpFromAtLeast(1024));
        matches.push(Match::SourceOutside(local));
        matches
    };
    rules.each(
        "F1",
        "f1-limit-source",
        Action::Drop,
        "one source begins no more than so many connections to the broker",
        |family| {
            let mut matches = from_outside(outside(family)?);
            matches.push(Match::SourceBeyond {
                set: format!("f1_sources_{}", family.suffix()),
                family,
                limit: PER_SOURCE,
            });
            Some(matches)
        },
    );
    let mut all = begins();
    all.push(Match::Beyond(IN_TOTAL));
    rules.add(
        "F1",
        "f1-limit-total",
        Action::Drop,
        "all sources together begin no more than so many connections to the broker",
        all,
    );
    rules.each(
        "F1",
        "f1-router",
        Action::Accept,
        "connections that the router masquerades reach the broker",
        |family| {
            let mut matches = begins();
            matches.push(Match::Source(hosts(family, &bastion.masquerades_as)?));
            Some(matches)
        },
    );
    rules.each(
        "F1",
        "f1-meters",
        Action::Accept,
        "meters on the Internet reach the broker; the LAN, private and on-link addresses do not",
        |family| outside(family).map(from_outside),
    );
}
