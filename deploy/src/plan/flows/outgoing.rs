//! Whom the bastion reaches, and whose programs there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use site::flow::{APT_USER, Direction, Hook, MQTT_PORT, RESOLVER_USER, SSH_PORT, TIME_USER};
use site::network::refused;

use super::{Asked, HIGH_PORT, PLACE, Question, Why, family, internet, named, some_host};
use crate::plan::evaluate::{Carries, Packet, State};

pub(super) fn questions(asked: &Asked<'_>) -> Vec<Question> {
    [true, false]
        .into_iter()
        .flat_map(|v4| of_family(asked, v4))
        .collect()
}

fn of_family(asked: &Asked<'_>, v4: bool) -> Vec<Question> {
    let Some(own) = asked.own(v4) else {
        return Vec::new();
    };
    let mut questions = Vec::new();
    let mut to = |flow: String, place: Option<String>, host: IpAddr, services: &[Service]| {
        let alone = services.len() == 1;
        let packets = services
            .iter()
            .flat_map(|service| service.packets(own, host, asked.next_hop(host), alone))
            .collect();
        questions.push(Question {
            flow,
            family: place.is_none().then(|| family(v4)),
            place,
            all: usize::MAX,
            always: false,
            packets,
        });
    };
    for (network, name, _) in asked.networks(v4, "its segment") {
        if let Some(host) = asked.some_host(&network) {
            to(
                format!("bastion → {name} ({PLACE})"),
                Some(network.to_string()),
                host,
                &Service::ALL,
            );
        }
    }
    for (host, names) in hosts(asked, v4) {
        to(
            format!("bastion → {PLACE} ({})", names.join(", ")),
            Some(host.to_string()),
            host,
            &Service::ALL,
        );
    }
    to(
        "bastion → private networks elsewhere".to_owned(),
        None,
        elsewhere(v4),
        &Service::ALL,
    );
    for network in forgotten(asked, v4) {
        if let Some(host) = some_host(&network, |_| false) {
            to(
                format!("bastion → {PLACE} (so far named)"),
                Some(network.to_string()),
                host,
                &Service::ALL,
            );
        }
    }
    for service in Service::WORLD {
        let flow = format!("bastion → Internet {}", service.words());
        to(flow, None, internet(v4), &[service]);
    }
    questions.push(answers(asked, own, v4));
    questions
}

/// Single hosts that the site file names for a purpose, each with its purposes.
fn hosts(asked: &Asked<'_>, v4: bool) -> Vec<(IpAddr, Vec<&'static str>)> {
    let (site, bastion) = (asked.site, asked.bastion);
    let routers = bastion.gateways.iter().map(|address| (*address, "router"));
    let resolvers = site
        .outbound
        .resolvers
        .iter()
        .map(|address| (*address, "names"));
    let time = site
        .outbound
        .time_addresses()
        .into_iter()
        .map(|address| (address, "time"));
    let dhcp = bastion
        .dhcp
        .into_iter()
        .map(|address| (IpAddr::V4(address), "DHCP"));
    let public = site.public_addresses().into_iter();
    let public = public.map(|address| (address, "the site's own public address"));
    let mut hosts: Vec<(IpAddr, Vec<&'static str>)> = Vec::new();
    for (address, name) in routers
        .chain(resolvers)
        .chain(time)
        .chain(dhcp)
        .chain(public)
    {
        if address.is_ipv4() != v4 {
            continue;
        }
        match hosts.iter_mut().find(|(other, _)| *other == address) {
            Some((_, names)) => names.push(name),
            None => hosts.push((address, vec![name])),
        }
    }
    hosts
}

/// What the policy so far refused or let out by name, and the site file names no more.
fn forgotten(asked: &Asked<'_>, v4: bool) -> Vec<IpNet> {
    let family = if v4 {
        site::flow::Family::V4
    } else {
        site::flow::Family::V6
    };
    let mut networks = named::destinations(asked.before);
    networks.retain(|network| {
        let address = network.addr();
        let single = network.prefix_len() == network.max_prefix_len();
        let public = || asked.site.public_addresses().contains(&address);
        let told = asked.site.lan.networks.contains(network)
            || asked.bastion.networks.contains(network)
            || refused(family).contains(network)
            || (single && (asked.is_named(&address) || public()))
            || address == IpAddr::V4(Ipv4Addr::BROADCAST);
        address.is_ipv4() == v4 && !told
    });
    networks
}

/// A host in a private network that no site has reason to name.
fn elsewhere(v4: bool) -> IpAddr {
    if v4 {
        IpAddr::V4(Ipv4Addr::new(10, 217, 93, 254))
    } else {
        IpAddr::V6(Ipv6Addr::new(0xfd7c, 0x19d3, 0x5b21, 0, 0, 0, 0, 0x64))
    }
}

/// Answers to who was let in. Without them nobody gets in at all.
fn answers(asked: &Asked<'_>, own: IpAddr, v4: bool) -> Question {
    let packet = |port: u16| Packet {
        hook: Hook::Output,
        source: own,
        destination: internet(v4),
        carries: Carries::Tcp(port, HIGH_PORT),
        state: State::Part(Direction::Reply),
        next_hop: asked.next_hop(internet(v4)),
        user: None,
        flood: false,
    };
    Question {
        flow: "bastion → answers to whom it let in".to_owned(),
        family: Some(family(v4)),
        always: false,
        place: None,
        all: usize::MAX,
        packets: vec![
            (Why::what("for SSH"), packet(SSH_PORT)),
            (Why::what("for MQTT"), packet(MQTT_PORT)),
        ],
    }
}

/// What a bastion may want of others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Names,
    Time,
    Packages,
    Lease,
    Echo,
    Other,
}

/// Whose programs ask. The broker stands for whatever faces the Internet.
const USERS: [(&str, &str); 5] = [
    ("mosquitto", "the broker"),
    (APT_USER, "apt"),
    (TIME_USER, "the time service"),
    (RESOLVER_USER, "the resolver service"),
    ("root", "root"),
];

impl Service {
    /// Of single hosts and networks.
    const ALL: [Service; 6] = [
        Service::Names,
        Service::Time,
        Service::Packages,
        Service::Lease,
        Service::Echo,
        Service::Other,
    ];
    /// Of the Internet, each a question of its own.
    const WORLD: [Service; 5] = [
        Service::Names,
        Service::Time,
        Service::Packages,
        Service::Echo,
        Service::Other,
    ];

    fn words(self) -> &'static str {
        match self {
            Service::Names => "tcp and udp 53 (names)",
            Service::Time => "udp 123 (time)",
            Service::Packages => "tcp 80 and 443 (packages)",
            Service::Lease => "udp 67 (DHCP)",
            Service::Echo => "echo (ping)",
            Service::Other => "any other port",
        }
    }

    fn short(self) -> &'static str {
        match self {
            Service::Names => "for names",
            Service::Time => "for time",
            Service::Packages => "for packages",
            Service::Lease => "for DHCP",
            Service::Echo => "for echo",
            Service::Other => "for other ports",
        }
    }

    fn carries(self) -> &'static [Carries] {
        match self {
            Service::Names => &[Carries::Udp(HIGH_PORT, 53), Carries::Tcp(HIGH_PORT, 53)],
            Service::Time => &[Carries::Udp(HIGH_PORT, 123)],
            Service::Packages => &[Carries::Tcp(HIGH_PORT, 80), Carries::Tcp(HIGH_PORT, 443)],
            Service::Lease => &[Carries::Udp(68, 67)],
            Service::Echo => &[Carries::Icmp("echo-request")],
            Service::Other => &[Carries::Tcp(HIGH_PORT, 8086), Carries::Tcp(HIGH_PORT, 22)],
        }
    }

    /// Only root sends echoes and asks for an address.
    fn users(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Service::Names | Service::Time | Service::Packages | Service::Other => &USERS,
            Service::Lease | Service::Echo => &[("root", "")],
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
            state: State::New,
            next_hop,
            user: Some(user),
            flood: false,
        };
        let what = if alone { "" } else { self.short() };
        self.users()
            .iter()
            .flat_map(|(user, whose)| {
                let why = Why {
                    what: what.to_owned(),
                    whose,
                };
                self.carries()
                    .iter()
                    .map(move |carries| (why.clone(), packet(*user, *carries)))
            })
            .collect()
    }
}
