//! The questions that people ask a firewall: who reaches what. Each is put as packets, some
//! questions as several, which differ in what a rule may ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use site::flow::{Direction, Hook, MQTT_PORT, Match, Policy, SSH_PORT};
use site::{Bastion, Site};

use super::evaluate::{Carries, Packet};

/// One question.
pub(super) struct Question {
    /// The words for it, without the family where `both` can say it once.
    pub(super) flow: String,
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
    /// What for, `names`, `from source ports 1024 up`; empty where that is the question itself.
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

/// More addresses than any policy names; the answer of a bastion may name more.
const MOST_NAMED: usize = 40;
const HIGH_PORT: u16 = 40_000;
/// A port on which nothing of a bastion listens, in the name of all of them.
const SOME_PORTS: [u16; 3] = [80, 443, 8883];

/// Everything that is asked, for one bastion, with what the policy so far names beside the site.
pub(super) fn questions(site: &Site, bastion: &Bastion, before: Option<&Policy>) -> Vec<Question> {
    let asked = Asked { site, bastion };
    let mut questions = asked.incoming(before);
    questions.extend(asked.forwarded());
    questions.extend(asked.outgoing(before));
    questions
}

struct Asked<'a> {
    site: &'a Site,
    bastion: &'a Bastion,
}

impl Asked<'_> {
    fn incoming(&self, before: Option<&Policy>) -> Vec<Question> {
        let lan = &self.site.lan;
        let mut questions = Vec::new();
        let mut single = |name: &str, address: IpAddr, port: u16, always: bool| {
            let flow = format!("{name} {address} → tcp {port} ({})", service(port));
            self.inwards(
                flow,
                None,
                always,
                address,
                vec![(Why::default(), Carries::Tcp(HIGH_PORT, port))],
                &mut questions,
            );
        };
        for admin in &lan.admins {
            single("admin", *admin, SSH_PORT, true);
        }
        for reader in &lan.readers {
            single("reader", *reader, MQTT_PORT, false);
        }
        for router in &self.bastion.masquerades_as {
            single("router", *router, MQTT_PORT, false);
        }
        // Who was let in by name so far, and stands in the site file no more.
        for (address, port) in named_sources(before) {
            let known = match port {
                SSH_PORT => &lan.admins,
                _ => &lan.readers,
            };
            if !known.contains(&address) && !self.bastion.masquerades_as.contains(&address) {
                single("so far named", address, port, false);
            }
        }
        for v4 in [true, false] {
            self.classes_in(v4, &mut questions);
        }
        questions
    }

    /// The Internet, the LAN and the segment, each in the name of one of its hosts.
    fn classes_in(&self, v4: bool, questions: &mut Vec<Question>) {
        let named = |address: &IpAddr| {
            self.site.lan.admins.contains(address)
                || self.site.lan.readers.contains(address)
                || self.bastion.addresses.contains(address)
                || self.bastion.gateways.contains(address)
                || self.bastion.masquerades_as.contains(address)
        };
        let mut from = vec![("Internet".to_owned(), internet(v4))];
        for network in self.lan_networks(v4) {
            if let Some(host) = some_host(&network, named) {
                from.push((format!("other hosts of {network} (LAN)"), host));
            }
        }
        for network in self.segment(v4) {
            if let Some(host) = some_host(&network, named) {
                from.push((
                    format!("other hosts of {network} (the bastion's segment)"),
                    host,
                ));
            }
        }
        for (name, source) in from {
            let family = (name == "Internet").then_some(family(v4));
            let mqtt = vec![
                (
                    Why::what("from source ports 1024 up"),
                    Carries::Tcp(HIGH_PORT, MQTT_PORT),
                ),
                (
                    Why::what("from source ports below 1024"),
                    Carries::Tcp(1023, MQTT_PORT),
                ),
            ];
            let meters = if name == "Internet" { "meters" } else { "MQTT" };
            self.inwards(
                format!("{name} → tcp {MQTT_PORT} ({meters})"),
                family,
                false,
                source,
                mqtt,
                questions,
            );
            let ssh = vec![(Why::default(), Carries::Tcp(HIGH_PORT, SSH_PORT))];
            self.inwards(
                format!("{name} → tcp {SSH_PORT} (SSH)"),
                family,
                false,
                source,
                ssh,
                questions,
            );
            let rest = SOME_PORTS.map(|port| {
                (
                    Why::what(&format!("for tcp {port}")),
                    Carries::Tcp(HIGH_PORT, port),
                )
            });
            let udp = [53, 5353].map(|port| {
                (
                    Why::what(&format!("for udp {port}")),
                    Carries::Udp(HIGH_PORT, port),
                )
            });
            let rest = rest.into_iter().chain(udp).collect();
            self.inwards(
                format!("{name} → any other port"),
                family,
                false,
                source,
                rest,
                questions,
            );
        }
    }

    fn inwards(
        &self,
        flow: String,
        family: Option<&'static str>,
        always: bool,
        source: IpAddr,
        carries: Vec<(Why, Carries)>,
        questions: &mut Vec<Question>,
    ) {
        // A bastion without an address of the family cannot be spoken to.
        let Some(own) = self.own(source.is_ipv4()) else {
            return;
        };
        let packet = |carries| Packet {
            hook: Hook::Input,
            source,
            destination: own,
            carries,
            part_of: None,
            next_hop: None,
            user: None,
            flood: false,
        };
        let packets = carries
            .into_iter()
            .map(|(why, carries)| (why, packet(carries)))
            .collect();
        questions.push(Question {
            flow,
            family,
            always,
            packets,
        });
    }

    fn forwarded(&self) -> Vec<Question> {
        let through = |(lan, v4): (IpNet, bool)| {
            let host = some_host(&lan, |_| false)?;
            let packet = Packet {
                hook: Hook::Forward,
                source: internet(v4),
                destination: host,
                carries: Carries::Tcp(HIGH_PORT, 80),
                part_of: None,
                next_hop: None,
                user: None,
                flood: false,
            };
            Some(Question {
                flow: "anybody → through the bastion → LAN".to_owned(),
                family: Some(family(v4)),
                always: false,
                packets: vec![(Why::default(), packet)],
            })
        };
        [true, false]
            .into_iter()
            .filter_map(|v4| through((*self.lan_networks(v4).first()?, v4)))
            .collect()
    }

    fn outgoing(&self, before: Option<&Policy>) -> Vec<Question> {
        let mut questions = Vec::new();
        for v4 in [true, false] {
            let Some(own) = self.own(v4) else { continue };
            let mut to =
                |flow: String, family: Option<&'static str>, host: IpAddr, services: &[Service]| {
                    let packets = services
                        .iter()
                        .flat_map(|service| {
                            service.packets(own, host, self.next_hop(host), services.len() == 1)
                        })
                        .collect();
                    questions.push(Question {
                        flow,
                        family,
                        always: false,
                        packets,
                    });
                };
            let nothing_named = |_: &IpAddr| false;
            for network in self.lan_networks(v4) {
                if let Some(host) = some_host(&network, |address| *address == own) {
                    to(
                        format!("bastion → {network} (LAN)"),
                        None,
                        host,
                        &Service::ALL,
                    );
                }
            }
            for network in self.segment(v4) {
                let router = self
                    .bastion
                    .gateways
                    .iter()
                    .find(|router| network.contains(*router));
                let known = |address: &IpAddr| *address == own || Some(address) == router;
                if let Some(host) = some_host(&network, known) {
                    to(
                        format!("bastion → {network} (its segment)"),
                        None,
                        host,
                        &Service::ALL,
                    );
                }
                if let Some(router) = router {
                    to(
                        format!("bastion → {router} (router)"),
                        None,
                        *router,
                        &Service::ALL,
                    );
                }
            }
            for resolver in self
                .site
                .outbound
                .resolvers
                .iter()
                .filter(|address| address.is_ipv4() == v4)
            {
                if !self.bastion.gateways.contains(resolver) {
                    to(
                        format!("bastion → {resolver} (DNS resolver)"),
                        None,
                        *resolver,
                        &Service::ALL,
                    );
                }
            }
            for network in elsewhere(v4) {
                if let Some(host) = some_host(&network, nothing_named) {
                    let name = "bastion → private networks elsewhere".to_owned();
                    to(name, Some(family(v4)), host, &Service::ALL);
                }
            }
            // What the policy so far refused by name, and the site file names no more.
            for network in named_destinations(before) {
                let ours = self.site.lan.networks.contains(&network)
                    || self.bastion.networks.contains(&network);
                if network.addr().is_ipv4() == v4
                    && !ours
                    && !site::network::refused_v4()
                        .iter()
                        .any(|range| IpNet::V4(range.network) == network)
                    && !site::network::refused_v6()
                        .iter()
                        .any(|range| IpNet::V6(range.network) == network)
                    && let Some(host) = some_host(&network, nothing_named)
                {
                    to(
                        format!("bastion → {network} (so far named)"),
                        None,
                        host,
                        &Service::ALL,
                    );
                }
            }
            for service in Service::ALL {
                let flow = format!("bastion → Internet {}", service.words());
                to(flow, Some(family(v4)), internet(v4), &[service]);
            }
            questions.push(self.answers(own, v4));
        }
        questions
    }

    /// Answers to who was let in. Without them nobody gets in at all.
    fn answers(&self, own: IpAddr, v4: bool) -> Question {
        let packet = |port: u16| Packet {
            hook: Hook::Output,
            source: own,
            destination: internet(v4),
            carries: Carries::Tcp(port, HIGH_PORT),
            part_of: Some(Direction::Reply),
            next_hop: self.next_hop(internet(v4)),
            user: None,
            flood: false,
        };
        Question {
            flow: "bastion → whoever it let in (answers)".to_owned(),
            family: Some(family(v4)),
            always: false,
            packets: vec![
                (Why::what("for SSH"), packet(SSH_PORT)),
                (Why::what("for MQTT"), packet(MQTT_PORT)),
            ],
        }
    }

    fn own(&self, v4: bool) -> Option<IpAddr> {
        self.bastion
            .addresses
            .iter()
            .copied()
            .find(|address| address.is_ipv4() == v4)
    }

    fn lan_networks(&self, v4: bool) -> Vec<IpNet> {
        of_family(&self.site.lan.networks, v4)
    }

    /// The segment, where it is not the LAN itself.
    fn segment(&self, v4: bool) -> Vec<IpNet> {
        let mut networks = of_family(&self.bastion.networks, v4);
        networks.retain(|network| !self.site.lan.networks.contains(network));
        networks
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
}

/// What a bastion may want of others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Names,
    Time,
    Packages,
    Other,
}

/// Whose programs ask. What nobody in particular may, a stranger's program may not either.
const USERS: [(&str, &str); 4] = [
    ("_apt", "apt"),
    ("systemd-timesync", "the time service"),
    ("mosquitto", "the broker"),
    ("root", "root"),
];

impl Service {
    const ALL: [Service; 4] = [
        Service::Names,
        Service::Time,
        Service::Packages,
        Service::Other,
    ];

    fn words(self) -> &'static str {
        match self {
            Service::Names => "tcp and udp 53 (names)",
            Service::Time => "udp 123 (time)",
            Service::Packages => "tcp 80 and 443 (packages)",
            Service::Other => "any other port",
        }
    }

    fn short(self) -> &'static str {
        match self {
            Service::Names => "names",
            Service::Time => "time",
            Service::Packages => "packages",
            Service::Other => "other ports",
        }
    }

    fn carries(self) -> &'static [Carries] {
        match self {
            Service::Names => &[Carries::Udp(HIGH_PORT, 53), Carries::Tcp(HIGH_PORT, 53)],
            Service::Time => &[Carries::Udp(HIGH_PORT, 123)],
            Service::Packages => &[Carries::Tcp(HIGH_PORT, 80), Carries::Tcp(HIGH_PORT, 443)],
            Service::Other => &[Carries::Tcp(HIGH_PORT, 8086), Carries::Tcp(HIGH_PORT, 22)],
        }
    }

    fn packets(
        self,
        own: IpAddr,
        host: IpAddr,
        next_hop: Option<IpAddr>,
        alone: bool,
    ) -> Vec<(Why, Packet)> {
        let packet = |user, carries| Packet {
            hook: Hook::Output,
            source: own,
            destination: host,
            carries,
            part_of: None,
            next_hop,
            user: Some(user),
            flood: false,
        };
        USERS
            .iter()
            .flat_map(|(user, name)| {
                let what = if alone { "" } else { self.short() };
                let why = Why {
                    what: what.to_owned(),
                    whose: *name,
                };
                self.carries()
                    .iter()
                    .map(move |carries| (why.clone(), packet(*user, *carries)))
            })
            .collect()
    }
}

fn service(port: u16) -> &'static str {
    match port {
        SSH_PORT => "SSH",
        _ => "MQTT",
    }
}

fn family(v4: bool) -> &'static str {
    if v4 { "IPv4" } else { "IPv6" }
}

/// An address of nobody in particular: one for documentation, which no site names.
fn internet(v4: bool) -> IpAddr {
    if v4 {
        IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9))
    } else {
        IpAddr::V6(Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 9))
    }
}

/// A private network that no site has reason to name.
fn elsewhere(v4: bool) -> Vec<IpNet> {
    let network = if v4 {
        IpNet::new(IpAddr::V4(Ipv4Addr::new(10, 217, 93, 0)), 24)
    } else {
        IpNet::new(
            IpAddr::V6(Ipv6Addr::new(0xfd7c, 0x19d3, 0x5b21, 0, 0, 0, 0, 0)),
            64,
        )
    };
    network.into_iter().collect()
}

fn of_family(networks: &[IpNet], v4: bool) -> Vec<IpNet> {
    networks
        .iter()
        .copied()
        .filter(|network| network.addr().is_ipv4() == v4)
        .collect()
}

/// A host of a network that is none of those named: from the end of an IPv4 network backwards,
/// and from a hundred upwards in IPv6. `None` when all of those looked at are named.
fn some_host(network: &IpNet, named: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let (first, last) = (network.network(), network.broadcast());
    (1..=64_u32)
        .filter_map(|step| match (first, last) {
            (IpAddr::V4(_), IpAddr::V4(last)) => Some(IpAddr::V4(Ipv4Addr::from(
                u32::from(last).checked_sub(step)?,
            ))),
            (IpAddr::V6(first), IpAddr::V6(_)) => Some(IpAddr::V6(Ipv6Addr::from(
                u128::from(first).checked_add(99 + u128::from(step))?,
            ))),
            _ => None,
        })
        .find(|address| network.contains(address) && !named(address))
}

/// Single addresses that a policy lets in by name, with the port.
fn named_sources(policy: Option<&Policy>) -> Vec<(IpAddr, u16)> {
    let mut named = Vec::new();
    for rule in policy.map_or(&[][..], |policy| &policy.rules) {
        let ports = rule.matches.iter().find_map(|condition| match condition {
            Match::TcpTo(ports) => Some(ports),
            _ => None,
        });
        let sources = rule.matches.iter().find_map(|condition| match condition {
            Match::Source(networks) => Some(networks),
            _ => None,
        });
        let (Some(ports), Some(sources)) = (ports, sources) else {
            continue;
        };
        let wanted = |port: &&u16| [SSH_PORT, MQTT_PORT].contains(port);
        for port in ports.iter().filter(wanted) {
            let hosts = sources
                .iter()
                .filter(|network| network.prefix_len() == network.max_prefix_len());
            named.extend(hosts.map(|network| (network.addr(), *port)));
        }
    }
    named.truncate(MOST_NAMED);
    named.sort_unstable();
    named.dedup();
    named
}

/// Networks that a policy names as destinations.
fn named_destinations(policy: Option<&Policy>) -> Vec<IpNet> {
    let rules = policy.map_or(&[][..], |policy| &policy.rules);
    let mut named: Vec<IpNet> = rules
        .iter()
        .filter(|rule| rule.hook == Hook::Output)
        .flat_map(|rule| &rule.matches)
        .filter_map(|condition| match condition {
            Match::Destination(networks) => Some(networks),
            _ => None,
        })
        .flatten()
        .copied()
        .take(MOST_NAMED)
        .collect();
    named.sort_unstable();
    named.dedup();
    named
}
