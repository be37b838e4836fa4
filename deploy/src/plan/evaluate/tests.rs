//! Each condition fits what it says and nothing beside it; the policies of the examples mean what
//! their pages promise.

use site::Site;
use site::flow::{Family, Limit, Rule};

use super::*;

fn packet(source: &str, destination: &str, carries: Carries) -> Packet {
    Packet {
        hook: Hook::Input,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        carries,
        state: State::New,
        next_hop: None,
        user: None,
        flood: false,
    }
}

fn tcp(from: u16, to: u16) -> Packet {
    packet("198.51.100.7", "192.168.2.2", Carries::Tcp(from, to))
}

fn udp(from: u16, to: u16) -> Packet {
    packet("198.51.100.7", "192.168.2.2", Carries::Udp(from, to))
}

fn icmp4(name: &'static str) -> Packet {
    packet("198.51.100.7", "192.168.2.2", Carries::Icmp(name))
}

fn icmp6(name: &'static str) -> Packet {
    packet("2001:db8::7", "2001:db8:5a:2::2", Carries::Icmp(name))
}

fn of(state: State) -> Packet {
    Packet {
        state,
        ..tcp(40_000, 22)
    }
}

fn by(user: &'static str) -> Packet {
    Packet {
        user: Some(user),
        ..tcp(40_000, 22)
    }
}

fn via(router: &str) -> Packet {
    Packet {
        next_hop: router.parse().ok(),
        ..tcp(40_000, 22)
    }
}

fn flood(packet: Packet) -> Packet {
    Packet {
        flood: true,
        ..packet
    }
}

fn nets(networks: &[&str]) -> Vec<IpNet> {
    networks
        .iter()
        .map(|network| network.parse().unwrap())
        .collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const LIMIT: Limit = Limit {
    per_second: 1,
    burst: 1,
};

#[test]
fn each_condition_fits_what_it_says() {
    let reply = State::Part(Direction::Reply);
    let original = State::Part(Direction::Original);
    let far6 = packet(
        "2001:db8:77::7",
        "2001:db8:5a:2::2",
        Carries::Tcp(40_000, 22),
    );
    for (condition, fitting, others) in [
        (Match::Loopback, vec![], vec![tcp(1, 22)]),
        (
            Match::New,
            vec![of(State::New)],
            vec![of(reply), of(State::Related)],
        ),
        (
            Match::Established(Direction::Reply),
            vec![of(reply)],
            vec![of(original), of(State::New)],
        ),
        (
            Match::Established(Direction::Original),
            vec![of(original)],
            vec![of(reply)],
        ),
        (
            Match::Related,
            vec![of(State::Related)],
            vec![of(State::New), of(reply)],
        ),
        (
            Match::Family(Family::V4),
            vec![tcp(1, 2)],
            vec![far6.clone()],
        ),
        (
            Match::Family(Family::V6),
            vec![far6.clone()],
            vec![tcp(1, 2)],
        ),
        (
            Match::NotBareSyn,
            vec![of(reply), udp(1, 2)],
            vec![of(State::New)],
        ),
        (
            Match::TcpTo(vec![22, 80]),
            vec![tcp(1, 80)],
            vec![tcp(80, 81), udp(1, 80)],
        ),
        (
            Match::TcpFrom(vec![22]),
            vec![tcp(22, 1)],
            vec![tcp(1, 22), udp(22, 1)],
        ),
        (
            Match::TcpFromAtLeast(1024),
            vec![tcp(1024, 1)],
            vec![tcp(1023, 1), udp(4000, 1)],
        ),
        (
            Match::UdpTo(vec![53]),
            vec![udp(1, 53)],
            vec![tcp(1, 53), udp(53, 1)],
        ),
        (
            Match::UdpFrom(vec![53]),
            vec![udp(53, 1)],
            vec![tcp(53, 1), udp(1, 53)],
        ),
        (
            Match::TcpOrUdpTo(53),
            vec![udp(1, 53), tcp(1, 53)],
            vec![udp(53, 1), icmp4("redirect")],
        ),
        (
            Match::TcpOrUdpFrom(53),
            vec![udp(53, 1), tcp(53, 1)],
            vec![udp(1, 53)],
        ),
        (
            Match::User(names(&["_apt", "root"])),
            vec![by("root")],
            vec![by("mosquitto"), tcp(1, 2)],
        ),
        (
            Match::Source(nets(&["198.51.100.0/24"])),
            vec![tcp(1, 2)],
            vec![far6.clone()],
        ),
        (
            Match::Source(nets(&["198.51.101.0/24"])),
            vec![],
            vec![tcp(1, 2)],
        ),
        (
            Match::SourceOutside(nets(&["10.0.0.0/8"])),
            vec![tcp(1, 2)],
            vec![far6.clone()],
        ),
        (
            Match::SourceOutside(nets(&["198.51.100.7/32"])),
            vec![],
            vec![tcp(1, 2)],
        ),
        (
            Match::Destination(nets(&["192.168.2.0/24"])),
            vec![tcp(1, 2)],
            vec![far6.clone()],
        ),
        (
            Match::SourceInSet {
                set: "console_v4".to_owned(),
                family: Family::V4,
            },
            vec![],
            vec![tcp(1, 2)],
        ),
        (
            Match::Within(LIMIT),
            vec![tcp(1, 2)],
            vec![flood(tcp(1, 2))],
        ),
        (
            Match::Beyond(LIMIT),
            vec![flood(tcp(1, 2))],
            vec![tcp(1, 2)],
        ),
        (
            Match::SourceBeyond {
                set: "f1".to_owned(),
                family: Family::V4,
                limit: LIMIT,
            },
            vec![flood(tcp(1, 2))],
            vec![tcp(1, 2), flood(far6.clone())],
        ),
        (
            Match::NextHopOtherThan("192.168.2.1".parse().unwrap()),
            vec![via("192.168.2.77"), tcp(1, 2)],
            vec![via("192.168.2.1"), far6],
        ),
        (
            Match::NeighbourDiscovery(names(&["nd-neighbor-solicit"])),
            vec![icmp6("nd-neighbor-solicit")],
            vec![
                icmp6("echo-request"),
                icmp4("nd-neighbor-solicit"),
                tcp(1, 2),
            ],
        ),
        (
            Match::ListenerDiscovery(names(&["mld-listener-query"])),
            vec![icmp6("mld-listener-query")],
            vec![icmp6("mld-listener-done")],
        ),
        (
            Match::Icmp(names(&["echo-request"])),
            vec![icmp4("echo-request")],
            vec![icmp6("echo-request")],
        ),
        (
            Match::Icmpv6(names(&["echo-request"])),
            vec![icmp6("echo-request")],
            vec![icmp4("echo-request")],
        ),
    ] {
        for packet in fitting {
            assert!(fits(&condition, &packet), "{condition:?} {packet:?}");
        }
        for packet in others {
            assert!(!fits(&condition, &packet), "{condition:?} {packet:?}");
        }
    }
}

fn rule(hook: Hook, matches: Vec<Match>, action: Action) -> Rule {
    Rule {
        name: "rule".to_owned(),
        flow: "R".to_owned(),
        says: String::new(),
        hook,
        matches,
        action,
    }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let ssh = || vec![Match::TcpTo(vec![22])];
    let policy = Policy {
        rules: vec![
            rule(Hook::Output, vec![], Action::Reject),
            rule(Hook::Input, ssh(), Action::Accept),
            rule(Hook::Input, ssh(), Action::Drop),
        ],
    };
    assert!(passes(Some(&policy), &tcp(40_000, 22)));
    // What no rule of the hook fits passes, as a chain without a last word lets it.
    assert!(passes(Some(&policy), &tcp(40_000, 80)));
    assert!(!passes(
        Some(&policy),
        &Packet {
            hook: Hook::Output,
            ..tcp(40_000, 22)
        }
    ));
    assert!(passes(None, &tcp(40_000, 22)));
}

/// What `docs/security.md` promises, asked packet by packet.
#[test]
fn the_examples_policy_means_what_its_page_says() {
    let home = include_str!("../../../../site/examples/home.toml");
    let site = Site::parse("home.toml", home).unwrap();
    let policy = Policy::of(&site, &site.bastions[0]);
    let input = |source: &str, from, to| packet(source, "192.168.2.2", Carries::Tcp(from, to));
    let output = |destination: &str, carries, user| Packet {
        hook: Hook::Output,
        next_hop: "192.168.2.1".parse().ok(),
        user: Some(user),
        ..packet("192.168.2.2", destination, carries)
    };
    let web = Carries::Tcp(40_000, 443);
    let names = Carries::Udp(40_000, 53);
    for (open, packet) in [
        (true, input("192.168.1.10", 40_000, 22)),
        (false, input("192.168.1.11", 40_000, 22)),
        (false, input("198.51.100.7", 40_000, 22)),
        (true, input("198.51.100.7", 40_000, 1883)),
        (false, input("198.51.100.7", 1023, 1883)),
        (false, flood(input("198.51.100.7", 40_000, 1883))),
        (true, flood(input("192.168.1.10", 40_000, 22))),
        (true, input("192.168.1.20", 40_000, 1883)),
        (false, input("192.168.1.21", 40_000, 1883)),
        (true, output("9.9.9.9", web, "_apt")),
        (false, output("9.9.9.9", web, "mosquitto")),
        (false, output("9.9.9.9", web, "root")),
        (false, output("192.168.1.30", web, "_apt")),
        (false, output("203.0.113.7", web, "_apt")),
        (true, output("192.168.2.1", names, "_apt")),
        (false, output("192.168.2.1", names, "mosquitto")),
        (false, output("9.9.9.9", names, "_apt")),
        (
            false,
            Packet {
                hook: Hook::Forward,
                ..input("198.51.100.7", 40_000, 80)
            },
        ),
    ] {
        assert_eq!(passes(Some(&policy), &packet), open, "{packet:?}");
    }
}
