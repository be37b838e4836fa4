//! What is tried: by whom, whom, and what must come of it. The lines of `docs/security.md`, as
//! attempts.

use std::net::IpAddr;

use super::{Case, Expected, Sender};
use crate::lab::Lab;
use crate::probe::{Target, tcp, udp};
use crate::roles::witness::Arrival;
use crate::topology::{
    ADMIN, BASTION, COLLECTOR, HOME_SERVER, Host, INFLUXDB, NEIGHBOUR, ROUTER, STRANGER,
};

/// Every attempt.
pub(super) fn all(lab: &Lab) -> Vec<Case> {
    let mut cases = from_the_bastion(lab);
    cases.extend(super::outbound::cases(lab));
    cases.extend(through_the_bastion(lab));
    cases.extend(to_the_bastion(lab));
    cases
}

/// An attempt that arrives where it was sent, from the sender's own address.
pub(super) fn direct(
    lab: &Lab,
    whom: &'static str,
    sender: Sender,
    target: Target,
    expected: Expected,
) -> Case {
    let host = sender.host(lab);
    let from = if target.address.is_ipv4() {
        host.v4
    } else {
        host.v6
    };
    let arrival = arrival(from, target.address, &target);
    Case {
        whom,
        sender,
        target,
        arrival: Some(arrival),
        expected,
        unanswered: false,
    }
}

pub(super) fn arrival(from: IpAddr, to: IpAddr, target: &Target) -> Arrival {
    Arrival {
        from,
        to,
        protocol: target.protocol,
        port: target.port,
    }
}

fn from_the_bastion(lab: &Lab) -> Vec<Case> {
    let topology = &lab.topology;
    let mut cases = Vec::new();
    let mut refused = |whom: &'static str, targets: Vec<Target>| {
        let case = |target| direct(lab, whom, Sender::Bastion, target, Expected::Refused);
        cases.extend(targets.into_iter().map(case));
    };
    refused(
        "home server",
        both(
            topology.lan.host(HOME_SERVER),
            &[80, 443, 22, 445, 53],
            &[53],
        ),
    );
    refused(
        "home server, second LAN network",
        both(topology.lan_second.host(HOME_SERVER), &[80], &[]),
    );
    refused(
        "home server, networks that the site file does not name",
        both(topology.lan_unnamed.host(HOME_SERVER), &[80], &[]),
    );
    refused("collector", both(topology.lan.host(COLLECTOR), &[22], &[]));
    refused(
        "database",
        both(topology.lan.host(INFLUXDB), &[22, 8086], &[]),
    );
    refused("admin", both(topology.lan.host(ADMIN), &[22], &[]));
    refused(
        "router, from the DMZ",
        both(topology.dmz.host(ROUTER), &[80, 53], &[53]),
    );
    refused(
        "router, its LAN address",
        both(topology.lan.host(ROUTER), &[80, 53], &[53]),
    );
    refused(
        "neighbour in the DMZ",
        both(topology.dmz.host(NEIGHBOUR), &[80], &[]),
    );
    refused(
        "neighbour under a foreign address",
        both(topology.neighbour_foreign, &[80], &[]),
    );
    for case in &mut cases {
        // The resolver may be asked by others: once there, a packet looks like theirs.
        let resolver = topology.dmz.host(ROUTER).both();
        if case.target.port == 53 && resolver.contains(&case.target.address) {
            case.arrival = None;
        }
    }
    for target in both(topology.wan.host(STRANGER), &[80], &[123]) {
        let whom = "stranger on the Internet";
        let mut case = direct(
            lab,
            whom,
            Sender::Bastion,
            target,
            Expected::RefusedAtTheEnd,
        );
        // Over IPv4 it is seen there under the router's address.
        if case.target.address.is_ipv4() {
            let router = topology.wan.host(ROUTER).v4;
            case.arrival = Some(arrival(router, case.target.address, &case.target));
        }
        cases.push(case);
    }
    cases
}

pub(super) fn both(host: Host, tcp_ports: &[u16], udp_ports: &[u16]) -> Vec<Target> {
    host.both()
        .into_iter()
        .flat_map(|address| {
            let tcp = tcp_ports.iter().map(move |port| tcp(address, *port));
            tcp.chain(udp_ports.iter().map(move |port| udp(address, *port)))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The neighbour's route to this one address leads through the bastion.
fn through_the_bastion(lab: &Lab) -> Vec<Case> {
    let target = tcp(lab.topology.lan_unnamed.host(HOME_SERVER).v4, 80);
    vec![direct(
        lab,
        "home server, through the bastion",
        Sender::Neighbour,
        target,
        Expected::Refused,
    )]
}

fn to_the_bastion(lab: &Lab) -> Vec<Case> {
    use Expected::{Allowed, Refused};
    use Sender::{Admin, HomeServer, Neighbour, Reader, Stranger};
    let bastion = lab.topology.dmz.host(BASTION);
    // IPv4 reaches it through the router's port forward, IPv6 directly.
    let public = [lab.topology.wan.host(ROUTER).v4, bastion.v6];
    let mut cases = Vec::new();
    for (outside, inside) in public.into_iter().zip(bastion.both()) {
        let mut case = |whom, sender, target: Target, expected| {
            let mut case = direct(lab, whom, sender, target, expected);
            if let Some(arrival) = &mut case.arrival {
                arrival.to = inside;
            }
            cases.push(case);
        };
        case(
            "broker, from the Internet",
            Stranger,
            tcp(outside, 1883),
            Allowed,
        );
        case(
            "SSH, from the Internet",
            Stranger,
            tcp(outside, 22),
            Refused,
        );
        case("broker, from a reader", Reader, tcp(inside, 1883), Allowed);
        case("SSH, from a reader", Reader, tcp(inside, 22), Refused);
        case("SSH, from an admin", Admin, tcp(inside, 22), Allowed);
        case(
            "broker, from an admin who is no reader",
            Admin,
            tcp(inside, 1883),
            Refused,
        );
        case(
            "SSH, from another LAN machine",
            HomeServer,
            tcp(inside, 22),
            Refused,
        );
        case(
            "broker, from another LAN machine",
            HomeServer,
            tcp(inside, 1883),
            Refused,
        );
        case(
            "SSH, from a neighbour in the DMZ",
            Neighbour,
            tcp(inside, 22),
            Refused,
        );
        case(
            "broker, from a neighbour in the DMZ",
            Neighbour,
            tcp(inside, 1883),
            Refused,
        );
        cases.push(Case {
            whom: "broker, from the Internet with a low source port",
            sender: Stranger,
            target: Target {
                from: Some(1000),
                ..tcp(outside, 1883)
            },
            // Once it is in, it looks like the first case.
            arrival: None,
            expected: Refused,
            unanswered: false,
        });
    }
    cases
}
