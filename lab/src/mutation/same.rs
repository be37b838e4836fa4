//! When two rules may change places: no packet fits both, or both do the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use site::flow::{Family, Match, Rule};

/// How the reason begins when nothing fits both.
pub(super) const APART: &str = "no packet fits both: ";

/// Why no packet can tell the order of these two; nothing when one might.
pub(super) fn why(first: &Rule, second: &Rule) -> Option<String> {
    let apart = first.matches.iter().find_map(|one| {
        let others = second.matches.iter();
        others.filter_map(|other| contrary(one, other)).next()
    });
    if let Some(apart) = apart {
        return Some(format!("{APART}{apart}"));
    }
    let counts = |rule: &Rule| rule.matches.iter().any(counts);
    (first.action == second.action && !counts(first) && !counts(second))
        .then(|| "both do the same".to_owned())
}

/// Whether being asked changes the answer to the next packet.
pub(super) fn counts(condition: &Match) -> bool {
    matches!(
        condition,
        Match::Within(_) | Match::Beyond(_) | Match::SourceBeyond { .. }
    )
}

/// Why no packet fulfils both conditions, as far as that is sure.
fn contrary(one: &Match, other: &Match) -> Option<&'static str> {
    if let (Some(one), Some(other)) = (family(one), family(other))
        && one != other
    {
        return Some("IPv4 and IPv6");
    }
    if let (Some(one), Some(other)) = (protocols(one), protocols(other))
        && !one.iter().any(|protocol| other.contains(protocol))
    {
        return Some("other protocols");
    }
    if states_differ(one, other) {
        return Some("other states of a connection");
    }
    if let (Match::Loopback, Match::SourceOutside(list))
    | (Match::SourceOutside(list), Match::Loopback) = (one, other)
        && list.iter().any(|network| network.contains(&loopback(list)))
    {
        // The machine's other addresses are among its networks, which such a rule leaves out, too.
        return Some("over loopback a source is the machine's own");
    }
    let nothing_shared = match (one, other) {
        (Match::TcpTo(a), Match::TcpTo(b))
        | (Match::TcpFrom(a), Match::TcpFrom(b))
        | (Match::UdpTo(a), Match::UdpTo(b))
        | (Match::UdpFrom(a), Match::UdpFrom(b)) => !a.iter().any(|port| b.contains(port)),
        (Match::TcpOrUdpTo(port), Match::TcpTo(ports) | Match::UdpTo(ports))
        | (Match::TcpTo(ports) | Match::UdpTo(ports), Match::TcpOrUdpTo(port))
        | (Match::TcpOrUdpFrom(port), Match::TcpFrom(ports) | Match::UdpFrom(ports))
        | (Match::TcpFrom(ports) | Match::UdpFrom(ports), Match::TcpOrUdpFrom(port)) => {
            !ports.contains(port)
        }
        (Match::User(a), Match::User(b)) => !a.iter().any(|user| b.contains(user)),
        (Match::Source(a), Match::Source(b)) | (Match::Destination(a), Match::Destination(b)) => {
            !a.iter().any(|a| b.iter().any(|b| overlap(a, b)))
        }
        (Match::Source(inside), Match::SourceOutside(outside))
        | (Match::SourceOutside(outside), Match::Source(inside)) => inside
            .iter()
            .all(|network| outside.iter().any(|other| other.contains(network))),
        (one, other) => match (kinds(one), kinds(other)) {
            (Some(one), Some(other)) => !one.iter().any(|kind| other.contains(kind)),
            _ => false,
        },
    };
    nothing_shared.then_some("other ports, users, addresses or messages")
}

fn states_differ(one: &Match, other: &Match) -> bool {
    let state = |condition: &Match| match condition {
        Match::New => Some((0, None)),
        Match::Established(direction) => Some((1, Some(*direction))),
        Match::Related => Some((2, None)),
        _ => None,
    };
    matches!((state(one), state(other)), (Some(one), Some(other)) if one != other)
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// The address of loopback, of the family that a list of networks has.
fn loopback(list: &[IpNet]) -> IpAddr {
    match list.first() {
        Some(IpNet::V6(_)) => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

/// The family that a condition asks for, whatever else it asks.
fn family(condition: &Match) -> Option<Family> {
    let of = |network: Option<&IpNet>| {
        let family = |network: &IpNet| match network {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        };
        network.map(family)
    };
    match condition {
        Match::Family(family)
        | Match::SourceInSet { family, .. }
        | Match::SourceBeyond { family, .. } => Some(*family),
        Match::Source(list) | Match::SourceOutside(list) | Match::Destination(list) => {
            of(list.first())
        }
        Match::NextHopOtherThan(address) => Family::ALL
            .into_iter()
            .find(|family| family.holds(*address)),
        Match::NeighbourDiscovery(_) | Match::ListenerDiscovery(_) | Match::Icmpv6(_) => {
            Some(Family::V6)
        }
        Match::Icmp(_) => Some(Family::V4),
        _ => None,
    }
}

fn protocols(condition: &Match) -> Option<&'static [&'static str]> {
    match condition {
        Match::TcpTo(_) | Match::TcpFrom(_) | Match::TcpFromAtLeast(_) => Some(&["tcp"]),
        Match::UdpTo(_) | Match::UdpFrom(_) => Some(&["udp"]),
        Match::TcpOrUdpTo(_) | Match::TcpOrUdpFrom(_) => Some(&["tcp", "udp"]),
        Match::Icmp(_) => Some(&["icmp"]),
        Match::NeighbourDiscovery(_) | Match::ListenerDiscovery(_) | Match::Icmpv6(_) => {
            Some(&["icmpv6"])
        }
        _ => None,
    }
}

/// Messages of ICMP for IPv6; those of neighbours and of listeners are among them.
fn kinds(condition: &Match) -> Option<&[String]> {
    match condition {
        Match::NeighbourDiscovery(kinds)
        | Match::ListenerDiscovery(kinds)
        | Match::Icmpv6(kinds)
        | Match::Icmp(kinds) => Some(kinds),
        _ => None,
    }
}
