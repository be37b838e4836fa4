//! What the bastion asks of the outside: by which user, whom, and who must not.
//!
//! What is let out goes to the meters' machine, what is refused to the stranger: a packet looks
//! the same whoever sent it, and both shall be judged where they arrive.

use super::cases::{arrival, both, direct};
use super::{Case, Expected, Sender};
use crate::lab::Lab;
use crate::probe::{Target, tcp, udp};
use crate::topology::{HOME_SERVER, METERS, ROUTER, STRANGER};

pub(super) fn cases(lab: &Lab) -> Vec<Case> {
    [names(lab), time(lab), packages(lab), lease(lab)].concat()
}

fn each(
    lab: &Lab,
    whom: &'static str,
    sender: Sender,
    expected: Expected,
    targets: Vec<Target>,
) -> Vec<Case> {
    let case = |target| direct(lab, whom, sender, target, expected);
    targets.into_iter().map(case).collect()
}

/// The same for somebody on the Internet: what comes over IPv4 is seen under the router's address.
fn world(
    lab: &Lab,
    whom: &'static str,
    sender: Sender,
    expected: Expected,
    targets: Vec<Target>,
) -> Vec<Case> {
    let mut cases = each(lab, whom, sender, expected, targets);
    for case in &mut cases {
        if case.target.address.is_ipv4() {
            let router = lab.topology.wan.host(ROUTER).v4;
            case.arrival = Some(arrival(router, case.target.address, &case.target));
        }
    }
    cases
}

/// The broker's user asks the resolver among its own attempts, and is refused.
fn names(lab: &Lab) -> Vec<Case> {
    use Expected::{Allowed, Refused};
    let resolver = lab.topology.dmz.host(ROUTER);
    let inside = [HOME_SERVER, ROUTER].map(|n| lab.topology.lan.host(n));
    let mut cases = Vec::new();
    for sender in [Sender::Apt, Sender::TimeService, Sender::Root] {
        let mut ask = |whom, expected, targets| {
            cases.extend(each(lab, whom, sender, expected, targets));
        };
        ask(
            "names, of the resolver",
            Allowed,
            both(resolver, &[53], &[53]),
        );
        for other in inside {
            ask(
                "names, of somebody inside",
                Refused,
                both(other, &[53], &[53]),
            );
        }
        ask(
            "names, of the resolver's other services",
            Refused,
            both(resolver, &[80], &[]),
        );
    }
    cases
}

fn time(lab: &Lab) -> Vec<Case> {
    use Expected::{Allowed, Refused};
    use Sender::{Apt, Root, TimeService};
    let named = lab.topology.wan.host(METERS);
    let other = lab.topology.wan.host(STRANGER);
    let mut cases = Vec::new();
    let mut ask = |whom, sender, expected, targets| {
        cases.extend(world(lab, whom, sender, expected, targets));
    };
    ask(
        "time, of a server",
        TimeService,
        Allowed,
        both(named, &[], &[123]),
    );
    for sender in [Apt, Root] {
        ask(
            "time, by somebody else",
            sender,
            Refused,
            both(other, &[], &[123]),
        );
    }
    ask(
        "time, over IPv6 of a server that is not named",
        TimeService,
        Refused,
        vec![udp(other.v6, 123)],
    );
    ask(
        "time, of another service",
        TimeService,
        Refused,
        both(other, &[80], &[]),
    );
    cases.extend(time_near(lab));
    cases
}

/// A server that is named by address may stand on the wire itself. Whoever else is near is refused,
/// each by another rule, though the time service may ask anybody on the Internet.
fn time_near(lab: &Lab) -> Vec<Case> {
    use Expected::{Allowed, Refused};
    let topology = &lab.topology;
    let foreign = topology.neighbour_foreign;
    let segments = [&topology.lan, &topology.lan_second, &topology.lan_unnamed];
    let inside = segments.map(|segment| segment.host(HOME_SERVER));
    let refused = inside
        .into_iter()
        .chain([topology.dmz.host(ROUTER)])
        .flat_map(|host| both(host, &[], &[123]))
        .chain([topology.wan.host(ROUTER).v4, foreign.v4].map(|address| udp(address, 123)));
    let ask = |whom, expected, targets| each(lab, whom, Sender::TimeService, expected, targets);
    let named = ask(
        "time, of a server near",
        Allowed,
        vec![udp(foreign.v6, 123)],
    );
    let mut refused = ask("time, of somebody near", Refused, refused.collect());
    for case in &mut refused {
        case.unanswered = true;
    }
    [named, refused].concat()
}

fn packages(lab: &Lab) -> Vec<Case> {
    use Expected::{Allowed, Refused};
    use Sender::{Apt, Root};
    let topology = &lab.topology;
    let other = topology.wan.host(STRANGER);
    let mirror = vec![tcp(topology.wan.host(METERS).v4, 80)];
    let mut cases = world(lab, "packages, of a mirror", Apt, Allowed, mirror);
    cases.extend(world(
        lab,
        "packages, over IPv6",
        Apt,
        Refused,
        vec![tcp(other.v6, 80)],
    ));
    cases.extend(world(
        lab,
        "packages, by root",
        Root,
        Refused,
        vec![tcp(other.v4, 80)],
    ));
    let segments = [&topology.lan, &topology.lan_second, &topology.lan_unnamed];
    let inside = segments.map(|segment| segment.host(HOME_SERVER));
    for host in inside.into_iter().chain([topology.neighbour_foreign]) {
        let whom = "packages, of somebody near";
        cases.extend(each(lab, whom, Apt, Refused, both(host, &[80], &[])));
    }
    let public = vec![tcp(topology.wan.host(ROUTER).v4, 80)];
    let whom = "packages, of the site's own public address";
    cases.extend(each(lab, whom, Apt, Refused, public));
    cases
}

fn lease(lab: &Lab) -> Vec<Case> {
    let server = udp(lab.topology.dmz.host(ROUTER).v4, 67);
    let renewed = Target {
        from: Some(68),
        ..server.clone()
    };
    let lease = |whom, target, expected| direct(lab, whom, Sender::Root, target, expected);
    vec![
        lease("a lease, of the server", renewed, Expected::Allowed),
        Case {
            // Once it is there, it looks like the one that is let out.
            arrival: None,
            ..lease("a lease, from another port", server, Expected::Refused)
        },
    ]
}
