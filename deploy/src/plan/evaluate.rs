//! What a policy does with one packet: the meaning of its rules, in the order in which they stand.
//!
//! Only for telling people what changes. The firewall itself is what the bastion loads and reads
//! back; that both mean the same is shown in the lab.

use std::net::IpAddr;

use ipnet::IpNet;
use site::flow::{Action, Direction, Hook, Match, Policy};

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// TCP, from a port to a port. What begins a connection is a bare SYN.
    Tcp(u16, u16),
    /// UDP, from a port to a port.
    Udp(u16, u16),
    /// ICMP of the addresses' family, by the name nftables gives the type. What belongs to one
    /// segment carries the hop limit that it must.
    Icmp(&'static str),
}

/// What a packet is to the tracking of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It begins a connection.
    New,
    /// It belongs to one, in this direction.
    Part(Direction),
    /// It is about one.
    Related,
}

/// A packet, as the firewall sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) hook: Hook,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) carries: Carries,
    pub(super) state: State,
    /// To whom it is handed on its way out.
    pub(super) next_hop: Option<IpAddr>,
    /// The user whose program sends it; none for what comes in and for what the kernel sends.
    pub(super) user: Option<&'static str>,
    /// One of more than any limit allows.
    pub(super) flood: bool,
}

/// Whether a packet passes. Without a policy everything does, and so does what no rule fits.
pub(super) fn passes(policy: Option<&Policy>, packet: &Packet) -> bool {
    let rules = policy.map_or(&[][..], |policy| &policy.rules);
    rules
        .iter()
        .filter(|rule| rule.hook == packet.hook)
        .find(|rule| rule.matches.iter().all(|condition| fits(condition, packet)))
        .is_none_or(|rule| rule.action == Action::Accept)
}

/// No arm stands for all others: a new condition must be given its meaning here.
fn fits(condition: &Match, packet: &Packet) -> bool {
    let carries = packet.carries;
    match condition {
        // Packets that stay on the machine are nobody's question.
        Match::Loopback => false,
        Match::New => packet.state == State::New,
        Match::Established(direction) => packet.state == State::Part(*direction),
        Match::Related => packet.state == State::Related,
        Match::Family(family) => family.holds(packet.source),
        Match::NotBareSyn => !(packet.state == State::New && matches!(carries, Carries::Tcp(..))),
        Match::TcpTo(ports) => matches!(carries, Carries::Tcp(_, to) if ports.contains(&to)),
        Match::TcpFrom(ports) => matches!(carries, Carries::Tcp(from, _) if ports.contains(&from)),
        Match::TcpFromAtLeast(least) => matches!(carries, Carries::Tcp(from, _) if from >= *least),
        Match::UdpTo(ports) => matches!(carries, Carries::Udp(_, to) if ports.contains(&to)),
        Match::UdpFrom(ports) => matches!(carries, Carries::Udp(from, _) if ports.contains(&from)),
        Match::TcpOrUdpTo(port) => {
            matches!(carries, Carries::Tcp(_, to) | Carries::Udp(_, to) if to == *port)
        }
        Match::TcpOrUdpFrom(port) => {
            matches!(carries, Carries::Tcp(from, _) | Carries::Udp(from, _) if from == *port)
        }
        Match::User(users) => packet
            .user
            .is_some_and(|user| users.iter().any(|name| name == user)),
        Match::Source(networks) => within(networks, packet.source),
        Match::SourceOutside(networks) => {
            let of_family = |network: &IpNet| network.addr().is_ipv4() == packet.source.is_ipv4();
            networks.iter().all(of_family) && !within(networks, packet.source)
        }
        Match::Destination(networks) => within(networks, packet.destination),
        // Sets are empty whenever a policy is loaded.
        Match::SourceInSet { .. } => false,
        Match::Within(_) => !packet.flood,
        Match::Beyond(_) => packet.flood,
        Match::SourceBeyond { family, .. } => packet.flood && family.holds(packet.source),
        Match::NextHopOtherThan(router) => {
            router.is_ipv4() == packet.destination.is_ipv4() && packet.next_hop != Some(*router)
        }
        Match::NeighbourDiscovery(types)
        | Match::ListenerDiscovery(types)
        | Match::Icmpv6(types) => icmp(types, packet, false),
        Match::Icmp(types) => icmp(types, packet, true),
    }
}

fn within(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

fn icmp(types: &[String], packet: &Packet, v4: bool) -> bool {
    packet.source.is_ipv4() == v4
        && matches!(packet.carries, Carries::Icmp(name) if types.iter().any(|kind| kind == name))
}

#[cfg(test)]
mod tests;
