//! The questions that people ask a firewall: who reaches what. Each is put as packets, some
//! questions as several, which differ in what a rule may ask for.

mod incoming;
mod named;
mod outgoing;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use site::flow::Policy;
use site::{Bastion, Site};

use super::evaluate::Packet;

/// One question.
pub(super) struct Question {
    /// The words for it, with [`PLACE`] where the place stands.
    pub(super) flow: String,
    /// A network or address: questions that differ in it alone are told in one line when their
    /// answers are the same.
    pub(super) place: Option<String>,
    /// So many places are all that there are: then they need not be named.
    pub(super) all: usize,
    /// IPv4 or IPv6, as far as the words leave that open.
    pub(super) family: Option<&'static str>,
    /// It is told even when nothing changes: whether the operator gets in again.
    pub(super) always: bool,
    /// The packets, with what makes one pass where others do not.
    pub(super) packets: Vec<(Why, Packet)>,
}

/// What tells one packet of a question from the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Why {
    /// What for, `for names`, `from source ports 1024 up`; empty where that is the question itself.
    pub(super) what: String,
    /// Whose program, `apt`; empty where that is all the same.
    pub(super) whose: &'static str,
}

impl Why {
    fn what(what: &str) -> Why {
        Why {
            what: what.to_owned(),
            whose: "",
        }
    }
}

/// Stands for the place in the words of a question.
pub(super) const PLACE: &str = "{place}";
/// A source port that any program may have.
const HIGH_PORT: u16 = 40_000;

/// Everything that is asked, for one bastion, with what the policy so far names beside the site.
pub(super) fn questions(site: &Site, bastion: &Bastion, before: Option<&Policy>) -> Vec<Question> {
    let asked = Asked {
        site,
        bastion,
        before,
    };
    let mut questions = incoming::questions(&asked);
    questions.extend(incoming::forwarded(&asked));
    questions.extend(outgoing::questions(&asked));
    if asked.own(true).is_none() || asked.own(false).is_none() {
        for question in &mut questions {
            question.family = None;
        }
    }
    questions
}

struct Asked<'a> {
    site: &'a Site,
    bastion: &'a Bastion,
    before: Option<&'a Policy>,
}

impl Asked<'_> {
    fn own(&self, v4: bool) -> Option<IpAddr> {
        self.bastion
            .addresses
            .iter()
            .copied()
            .find(|address| address.is_ipv4() == v4)
    }

    fn lan(&self, v4: bool) -> Vec<IpNet> {
        of_family(&self.site.lan.networks, v4)
    }

    /// The segment, where it is not the LAN itself.
    fn segment(&self, v4: bool) -> Vec<IpNet> {
        let mut networks = of_family(&self.bastion.networks, v4);
        networks.retain(|network| !self.site.lan.networks.contains(network));
        networks
    }

    /// LAN and segment: each network, its name in the words, and how many of that name there are.
    fn networks(&self, v4: bool, segment_name: &'static str) -> Vec<(IpNet, &'static str, usize)> {
        let count = |of: &dyn Fn(bool) -> Vec<IpNet>| of(true).len() + of(false).len();
        let lan = count(&|v4| self.lan(v4));
        let segment = count(&|v4| self.segment(v4));
        let lan = self
            .lan(v4)
            .into_iter()
            .map(move |network| (network, "the LAN", lan));
        let segment = self
            .segment(v4)
            .into_iter()
            .map(move |network| (network, segment_name, segment));
        lan.chain(segment).collect()
    }

    fn next_hop(&self, destination: IpAddr) -> Option<IpAddr> {
        if self
            .bastion
            .networks
            .iter()
            .any(|network| network.contains(&destination))
        {
            return Some(destination);
        }
        let gateways = &self.bastion.gateways;
        gateways
            .iter()
            .copied()
            .find(|router| router.is_ipv4() == destination.is_ipv4())
    }

    /// Whether an address has a line of its own, and so does not speak for its network.
    fn is_named(&self, address: &IpAddr) -> bool {
        let lan = &self.site.lan;
        lan.admins.contains(address)
            || lan.readers.contains(address)
            || self.bastion.addresses.contains(address)
            || self.bastion.gateways.contains(address)
            || self.bastion.masquerades_as.contains(address)
            || self.site.outbound.resolvers.contains(address)
            || self.site.outbound.time_addresses().contains(address)
            || self.bastion.dhcp.map(IpAddr::V4) == Some(*address)
    }

    /// A host of a network that has no line of its own.
    fn some_host(&self, network: &IpNet) -> Option<IpAddr> {
        some_host(network, |address| self.is_named(address))
    }
}

fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

/// An address of nobody in particular.
fn internet(v4: bool) -> IpAddr {
    if v4 {
        IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9))
    } else {
        IpAddr::V6(Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 9))
    }
}

fn of_family(networks: &[IpNet], v4: bool) -> Vec<IpNet> {
    networks
        .iter()
        .copied()
        .filter(|network| network.addr().is_ipv4() == v4)
        .collect()
}

/// From the end of an IPv4 network backwards, and from a hundred upwards in IPv6. `None` when all
/// of those looked at are named.
fn some_host(network: &IpNet, named: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let at = |step: u32| match (network.network(), network.broadcast()) {
        (IpAddr::V4(_), IpAddr::V4(last)) => Some(IpAddr::V4(Ipv4Addr::from(
            u32::from(last).checked_sub(step)?,
        ))),
        (IpAddr::V6(first), IpAddr::V6(_)) => Some(IpAddr::V6(Ipv6Addr::from(
            u128::from(first).checked_add(99 + u128::from(step))?,
        ))),
        _ => None,
    };
    let single = (network.prefix_len() == network.max_prefix_len()).then(|| network.addr());
    single
        .into_iter()
        .chain((1..=64_u32).filter_map(at))
        .find(|address| network.contains(address) && !named(address))
}
