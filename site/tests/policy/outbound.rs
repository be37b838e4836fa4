//! What the bastion may ask of the outside, packet by packet: the policy is evaluated as the
//! firewall does, and every packet that leaves must be one that the site asked for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use site::flow::{Action, Direction, Hook, Match, Policy};
use site::network::{refused_v4, refused_v6};
use site::{Bastion, Site};

use crate::{example, for_each_bastion, good};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

/// A packet that somebody on the bastion sends to begin something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    user: &'static str,
    to: IpAddr,
    protocol: Protocol,
    from_port: u16,
    port: u16,
}

impl Sent {
    fn fits(&self, condition: &Match) -> bool {
        let tcp = self.protocol == Protocol::Tcp;
        let udp = self.protocol == Protocol::Udp;
        let within = |list: &[IpNet]| list.iter().any(|network| network.contains(&self.to));
        match condition {
            Match::New | Match::NotBareSyn => true,
            Match::Family(family) => family.holds(self.to),
            Match::TcpTo(ports) => tcp && ports.contains(&self.port),
            Match::TcpFrom(ports) => tcp && ports.contains(&self.from_port),
            Match::TcpFromAtLeast(port) => tcp && self.from_port >= *port,
            Match::UdpTo(ports) => udp && ports.contains(&self.port),
            Match::UdpFrom(ports) => udp && ports.contains(&self.from_port),
            Match::TcpOrUdpTo(port) => (tcp || udp) && *port == self.port,
            Match::TcpOrUdpFrom(port) => (tcp || udp) && *port == self.from_port,
            Match::User(users) => users.iter().any(|user| user == self.user),
            Match::Destination(list) => within(list),
            // Routers forward to the world; whoever is near is handed to nobody.
            Match::NextHopOtherThan(_)
            | Match::Loopback
            | Match::Established(_)
            | Match::Related
            | Match::NeighbourDiscovery(_)
            | Match::ListenerDiscovery(_)
            | Match::Icmp(_)
            | Match::Icmpv6(_) => false,
            Match::Source(_)
            | Match::SourceOutside(_)
            | Match::SourceInSet { .. }
            | Match::Within(_)
            | Match::Beyond(_)
            | Match::SourceBeyond { .. } => panic!("{condition:?} says nothing of what is sent"),
        }
    }

    /// The rule that decides, and whether the packet leaves.
    fn judged<'p>(&self, policy: &'p Policy) -> (&'p str, bool) {
        let mut rules = policy.rules.iter().filter(|rule| rule.hook == Hook::Output);
        let rule = rules.find(|rule| rule.matches.iter().all(|m| self.fits(m)));
        let rule = rule.unwrap();
        (&rule.name, rule.action == Action::Accept)
    }
}

const USERS: [&str; 6] = [
    "root",
    "_apt",
    "systemd-timesync",
    "systemd-resolve",
    "mosquitto",
    "bastion",
];

/// Addresses of every kind: inside, near, refused and public ones.
fn addresses(site: &Site, bastion: &Bastion) -> BTreeSet<IpAddr> {
    let v4 = refused_v4()
        .into_iter()
        .map(|range| IpNet::V4(range.network));
    let v6 = refused_v6()
        .into_iter()
        .map(|range| IpNet::V6(range.network));
    let networks = [site.lan.networks.as_slice(), &bastion.networks].concat();
    let networks = networks.into_iter().chain(v4).chain(v6);
    let ends = networks.flat_map(|network| [network.network(), network.broadcast()]);
    let hosts = [
        site.lan.admins.as_slice(),
        &site.lan.readers,
        &bastion.gateways,
        &site.outbound.resolvers,
        &site.outbound.time_addresses(),
        &site.public_addresses(),
    ];
    let world = ["93.184.216.34", "9.9.9.9", "2620:fe::fe"];
    ends.chain(hosts.concat())
        .chain(world.map(|address| address.parse().unwrap()))
        .collect()
}

fn every_packet(site: &Site, bastion: &Bastion) -> Vec<Sent> {
    let mut packets = Vec::new();
    for to in addresses(site, bastion) {
        for user in USERS {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
                for port in [22, 53, 67, 80, 123, 443, 1883, 8086] {
                    for from_port in [68, 123, 1883, 40000] {
                        packets.push(Sent {
                            user,
                            to,
                            protocol,
                            from_port,
                            port,
                        });
                    }
                }
            }
        }
    }
    packets
}

/// What a person who reads the site file expects, said without the policy.
fn wanted(site: &Site, bastion: &Bastion, sent: &Sent) -> bool {
    let outbound = &site.outbound;
    let refused = {
        let v4 = refused_v4()
            .into_iter()
            .map(|range| IpNet::V4(range.network));
        let v6 = refused_v6()
            .into_iter()
            .map(|range| IpNet::V6(range.network));
        let inside = site.lan.networks.iter().chain(&bastion.networks).copied();
        let mut all = inside.chain(v4).chain(v6);
        all.any(|network| network.contains(&sent.to)) || site.public_addresses().contains(&sent.to)
    };
    let world = sent.to.is_ipv4() && !refused;
    let tcp = sent.protocol == Protocol::Tcp;
    let udp = sent.protocol == Protocol::Udp;
    match (sent.port, sent.user) {
        (53, user) => {
            let may = match user {
                "root" => true,
                "_apt" => outbound.updates,
                "systemd-timesync" => !outbound.time_servers.is_empty(),
                "systemd-resolve" => outbound.resolved,
                _ => false,
            };
            (tcp || udp) && may && outbound.resolvers.contains(&sent.to)
        }
        (123, "systemd-timesync") => {
            let by_name = outbound
                .time_servers
                .iter()
                .any(|s| s.parse::<IpAddr>().is_err());
            udp && (outbound.time_addresses().contains(&sent.to) || by_name && world)
        }
        (80 | 443, "_apt") => tcp && outbound.updates && world,
        (67, _) => {
            let server = bastion.dhcp.map(IpAddr::V4);
            let broadcast = IpAddr::from([255; 4]);
            let asked = server == Some(sent.to) || server.is_some() && sent.to == broadcast;
            udp && sent.from_port == 68 && asked
        }
        _ => false,
    }
}

#[test]
fn what_leaves_is_what_the_site_asked_for_and_nothing_else() {
    for_each_bastion(|name, site, bastion, policy| {
        let packets = every_packet(site, bastion);
        assert!(packets.len() > 10_000, "{name}");
        for sent in packets {
            let (rule, leaves) = sent.judged(policy);
            assert_eq!(
                leaves,
                wanted(site, bastion, &sent),
                "{name}: {sent:?} is judged by {rule}"
            );
        }
    });
}

/// The example lets out something of each kind, or the test above shows nothing.
#[test]
fn each_opening_decides_about_something() {
    let (site, policy) = good("everything.toml");
    let bastion = site.bastions.first().unwrap();
    let packets = every_packet(&site, bastion);
    let deciding: BTreeSet<&str> = packets.iter().map(|sent| sent.judged(&policy).0).collect();
    for rule in [
        "f4-names-v4",
        "f4-names-v6",
        "f5-time-server-v4",
        "f5-time-server-v6",
        "f5-time-v4",
        "f6-updates-v4",
        "f7-dhcp-out-v4",
        "refuse-public-v4",
        "refuse-public-v6",
    ] {
        assert!(deciding.contains(rule), "{rule} decides about nothing");
    }
}

/// A router's hairpin would lead apt into the LAN under the router's address.
#[test]
fn a_bare_public_host_is_refused_without_being_named_twice() {
    let text = include_str!("../../examples/home.toml")
        .replace("meters.example.net:1883", "198.51.100.9:1883");
    let site = Site::parse("home.toml", &text).unwrap();
    let policy = Policy::of(&site, site.bastions.first().unwrap());
    for public in ["198.51.100.9", "203.0.113.7"] {
        let sent = Sent {
            user: "_apt",
            to: public.parse().unwrap(),
            protocol: Protocol::Tcp,
            from_port: 40000,
            port: 443,
        };
        assert_eq!(
            sent.judged(&policy),
            ("refuse-public-v4", false),
            "{public}"
        );
    }
}

#[test]
fn a_site_that_asks_for_nothing_starts_nothing() {
    let (site, policy) = good("ipv4_only.toml");
    for sent in every_packet(&site, site.bastions.first().unwrap()) {
        assert!(!sent.judged(&policy).1, "{sent:?}");
    }
    assert_eq!(policy.users(), BTreeSet::new());
}

#[test]
fn the_last_packets_of_a_closed_download_belong_to_nobody_and_leave() {
    let (_, home) = example("home.toml");
    let ends = crate::find(&home, "f6-ends-v4").unwrap();
    assert!(
        ends.matches
            .contains(&Match::Established(Direction::Original))
    );
    assert!(ends.matches.contains(&Match::TcpTo(vec![80, 443])));
}
