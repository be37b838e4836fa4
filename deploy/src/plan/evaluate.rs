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
    /// TCP, from a port to a port. Without a connection it is a bare SYN.
    Tcp(u16, u16),
    /// UDP, from a port to a port.
    Udp(u16, u16),
    /// ICMP of the addresses' family, by the name nftables gives the type.
    Icmp(&'static str),
}

/// A packet, as the firewall sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) hook: Hook,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) carries: Carries,
    /// The half of an established connection to which it belongs; none when it begins one.
    pub(super) part_of: Option<Direction>,
    /// To whom it is handed on its way out.
    pub(super) next_hop: Option<IpAddr>,
    /// The user whose program sends it; `root` and the kernel count as no user in particular.
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
    match condition {
        // Packets that stay on the machine are nobody's question.
        Match::Loopback => false,
        Match::New => packet.part_of.is_none(),
        Match::Established(direction) => packet.part_of == Some(*direction),
        Match::NotBareSyn => {
            packet.part_of.is_some() || !matches!(packet.carries, Carries::Tcp(..))
        }
        Match::TcpTo(ports) => matches!(packet.carries, Carries::Tcp(_, to) if ports.contains(&to)),
        Match::TcpFrom(ports) => {
            matches!(packet.carries, Carries::Tcp(from, _) if ports.contains(&from))
        }
        Match::TcpFromAtLeast(least) => {
            matches!(packet.carries, Carries::Tcp(from, _) if from >= *least)
        }
        Match::Source(networks) => within(networks, packet.source),
        Match::SourceOutside(networks) => {
            let of_family = |network: &IpNet| network.addr().is_ipv4() == packet.source.is_ipv4();
            networks.iter().all(of_family) && !within(networks, packet.source)
        }
        Match::Destination(networks) => within(networks, packet.destination),
        Match::NextHopOtherThan(router) => {
            router.is_ipv4() == packet.destination.is_ipv4() && packet.next_hop != Some(*router)
        }
        Match::NeighbourDiscovery(types) => icmp(types, packet, false),
    }
}

fn within(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

fn icmp(types: &[String], packet: &Packet, v4: bool) -> bool {
    packet.source.is_ipv4() == v4
        && matches!(packet.carries, Carries::Icmp(name) if types.iter().any(|kind| kind == name))
}
