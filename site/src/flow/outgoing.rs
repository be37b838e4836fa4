//! What leaves the bastion: answers, what the network needs, the hosts named for one purpose,
//! the refusals, and behind them what is let out to the world.

use std::net::IpAddr;

use super::incoming::echo;
use super::{
    APT_USER, Action, Direction, Family, Hook, MQTT_PORT, Match, RESOLVER_USER, Rule, Rules,
    SSH_PORT, TIME_USER, hosts, only, words,
};
use crate::description::{Bastion, Outbound, Site};
use crate::network::refused;

pub(super) fn rules(site: &Site, bastion: &Bastion) -> Vec<Rule> {
    let mut rules = Rules::of(Hook::Output);
    rules.accept(
        "F0",
        "loopback-out",
        "the bastion's own programs speak to each other over loopback",
        vec![Match::Loopback],
    );
    rules.accept(
        "F9",
        "f9-replies",
        "who was let in is answered, and nobody else is spoken to",
        vec![
            Match::Established(Direction::Reply),
            Match::TcpFrom(vec![SSH_PORT, MQTT_PORT]),
            Match::NotBareSyn,
        ],
    );
    network(&mut rules, bastion);
    named(&mut rules, &site.outbound);
    refusals(&mut rules, site, bastion);
    world(&mut rules, &site.outbound);
    rules.add(
        "R",
        "refuse-rest-out",
        Action::Reject,
        "the bastion starts no connection to anybody else",
        vec![],
    );
    rules.rules
}

/// What a machine on a network cannot do without.
fn network(rules: &mut Rules, bastion: &Bastion) {
    if let Some(server) = bastion.dhcp {
        // By broadcast at first, and to the server itself when the lease is renewed. Only root
        // and the network's own services can use source port 68.
        rules.accept(
            "F7",
            "f7-dhcp-out-v4",
            "the bastion asks the named DHCP server for its address, and renews it",
            vec![
                Match::UdpFrom(vec![68]),
                Match::UdpTo(vec![67]),
                Match::Destination(vec![
                    IpAddr::from([255; 4]).into(),
                    IpAddr::V4(server).into(),
                ]),
            ],
        );
    }
    rules.accept(
        "F8",
        "f8-neighbours-out",
        "the bastion finds the router and its neighbours over IPv6",
        vec![Match::NeighbourDiscovery(words(&[
            "nd-neighbor-solicit",
            "nd-neighbor-advert",
            "nd-router-solicit",
        ]))],
    );
    rules.accept(
        "F8",
        "f8-groups-out",
        "the bastion says which multicast groups it hears, so that neighbours go on finding it",
        vec![Match::ListenerDiscovery(words(&[
            "mld-listener-report",
            "mld-listener-done",
            "mld2-listener-report",
        ]))],
    );
    rules.each(
        "F8",
        "f8-echo-out",
        Action::Accept,
        "echoes are answered, and never asked for",
        |family| {
            Some(vec![
                Match::Established(Direction::Reply),
                echo(family, "echo-reply"),
            ])
        },
    );
}

/// The hosts that the site file names for one purpose each, wherever they stand: the one place
/// ahead of the refusals where something may be asked.
fn named(rules: &mut Rules, outbound: &Outbound) {
    let users = askers(outbound);
    rules.each(
        "F4",
        "f4-names",
        Action::Accept,
        "apt, the time service and root ask the named resolvers, and nobody else asks anybody",
        |family| {
            let resolvers = hosts(family, &outbound.resolvers)?;
            Some(vec![
                Match::TcpOrUdpTo(53),
                Match::Destination(resolvers),
                Match::User(words(&users)),
            ])
        },
    );
    let servers = outbound.time_addresses();
    rules.each(
        "F5",
        "f5-time-server",
        Action::Accept,
        "the time service asks the time servers that are named by address",
        |family| {
            let servers = hosts(family, &servers)?;
            Some(vec![
                Match::UdpTo(vec![123]),
                Match::Destination(servers),
                Match::User(words(&[TIME_USER])),
            ])
        },
    );
}

/// Who may ask for names. Only users that the machine surely has: one that is absent keeps the
/// whole policy from loading.
fn askers(outbound: &Outbound) -> Vec<&'static str> {
    let mut users = vec!["root"];
    if outbound.updates {
        users.push(APT_USER);
    }
    if !outbound.time_servers.is_empty() {
        users.push(TIME_USER);
    }
    if outbound.resolved {
        users.push(RESOLVER_USER);
    }
    users
}

fn refusals(rules: &mut Rules, site: &Site, bastion: &Bastion) {
    for family in Family::ALL {
        let suffix = family.suffix();
        let mut refuse = |name: &str, says: &str, matches: Vec<Match>| {
            let name = format!("{name}-{suffix}");
            rules.add("R", &name, Action::Reject, says, matches);
        };
        let lists = [
            (
                "refuse-lan",
                "the LAN's networks are out of reach",
                only(family, &site.lan.networks),
            ),
            (
                "refuse-segment",
                "hosts on the bastion's own segment, the router among them, are out of reach",
                only(family, &bastion.networks),
            ),
            (
                "refuse-private",
                "private, shared, link-local, multicast and transition addresses are out of reach",
                refused(family),
            ),
            (
                "refuse-public",
                "the site's own public addresses, which lead back inside, are out of reach",
                hosts(family, &site.public_addresses()).unwrap_or_default(),
            ),
        ];
        for (name, says, networks) in lists {
            if !networks.is_empty() {
                refuse(
                    name,
                    says,
                    vec![Match::Destination(only(family, &networks))],
                );
            }
        }
        let gateway = bastion
            .gateways
            .iter()
            .find(|gateway| family.holds(**gateway));
        if let Some(gateway) = gateway {
            refuse(
                "refuse-next-hop",
                "whatever is not handed to the router is out of reach",
                vec![Match::NextHopOtherThan(*gateway)],
            );
        }
    }
}

/// What is let out to the world, behind every refusal. IPv4 only: behind an IPv6 router the
/// LAN's next prefix is not known for sure.
fn world(rules: &mut Rules, outbound: &Outbound) {
    let v4 = || Match::Family(Family::V4);
    if outbound.asks_time_by_name() {
        rules.accept(
            "F5",
            "f5-time-v4",
            "the time service asks time servers on the Internet",
            vec![
                v4(),
                Match::UdpTo(vec![123]),
                Match::User(words(&[TIME_USER])),
            ],
        );
    }
    if outbound.updates {
        let web = || Match::TcpTo(vec![80, 443]);
        rules.accept(
            "F6",
            "f6-updates-v4",
            "apt fetches packages from the Internet",
            vec![v4(), web(), Match::User(words(&[APT_USER]))],
        );
        // Once a program has closed a connection, its last packets are nobody's.
        rules.accept(
            "F6",
            "f6-ends-v4",
            "connections to package mirrors come to their end",
            vec![
                v4(),
                Match::Established(Direction::Original),
                web(),
                Match::NotBareSyn,
            ],
        );
    }
}
