//! What is tried past the machine's own IP: frames of every kind that the chain at the device tells
//! apart, by packet sockets, and by AF_XDP, which that chain does not see.

use site::flow::{APT_USER, TIME_USER};

use super::cases::{BROKER, PERSON, ROOT, attempt};
use super::place::{Near, Place};
use super::{Attempt, Barrier, Kind};

const OTHERS: [&str; 5] = [BROKER, "lab-daemon", PERSON, APT_USER, TIME_USER];

/// Every attempt. One that misses a capability stands right before the one that has it.
pub(super) fn all(place: &Place<'_>) -> Vec<Attempt> {
    [packets(place), others(place), rings(place)].concat()
}

/// Packets of the Internet Protocol in a frame.
fn packets(place: &Place<'_>) -> Vec<Attempt> {
    let frame = |what, user, to, source: std::net::IpAddr| {
        let mut one = attempt(what, Kind::Frame, "frame", user, to)
            .given()
            .by_hand("udp", source)
            .port(53);
        one.order.hop.clone_from(&place.hop);
        one.barrier = Barrier::Device("egress-rest");
        one
    };
    let [home, home_v6, ..] = &place.home;
    let mut all = Vec::new();
    for user in OTHERS {
        all.extend(frame("a frame with UDP 53", user, home, place.own[0]).and_without());
    }
    all.push(frame("a frame with UDP 53", ROOT, home, place.own[0]));
    all.push(frame("a frame with UDP 53", BROKER, home_v6, place.own[1]));
    all.push(frame(
        "a frame with UDP 53 under a reader's address",
        BROKER,
        home,
        place.foreign[0],
    ));
    all
}

/// Frames of other kinds, and the one kind of packet that is let pass: what the network needs of
/// root and of services that have no address yet, and the same of others.
fn others(place: &Place<'_>) -> Vec<Attempt> {
    let next = Near {
        name: "the next machine",
        at: place.first_hop,
        ..place.router[0].clone()
    };
    let frame = |what, by_hand, user, barrier| {
        let mut one = attempt(what, Kind::Frame, "frame", user, &next)
            .given()
            .by_hand(by_hand, place.own[0]);
        one.order.hop.clone_from(&place.hop);
        one.barrier = barrier;
        one
    };
    let lease = |user| {
        let mut one = frame(
            "a question for a lease",
            "udp",
            user,
            Barrier::Passes("egress-dhcp"),
        );
        (one.order.sport, one.order.port) = (68, 67);
        one
    };
    let (arp, keys) = (
        "a question for an address (ARP)",
        "a frame of keys (802.1X)",
    );
    let mut all = Vec::new();
    for user in OTHERS {
        all.push(frame(
            arp,
            "arp",
            user,
            Barrier::Device("egress-arp-of-users"),
        ));
        all.push(frame(keys, "keys", user, Barrier::Device("egress-rest")));
    }
    all.push(frame(arp, "arp", ROOT, Barrier::Passes("egress-arp")));
    all.push(frame(keys, "keys", ROOT, Barrier::Passes("egress-keys")));
    all.extend([ROOT, BROKER].map(lease));
    all
}

/// With the capability nothing stops these: its absence is all that does.
fn rings(place: &Place<'_>) -> Vec<Attempt> {
    let [home, ..] = &place.home;
    let ring = |user| {
        let mut one = attempt("UDP 53 by AF_XDP", Kind::Ring, "xdp", user, home)
            .given()
            .by_hand("udp", place.own[0])
            .port(53);
        one.order.hop.clone_from(&place.hop);
        one.barrier = Barrier::Nothing;
        one
    };
    OTHERS
        .into_iter()
        .flat_map(|user| ring(user).and_without())
        .collect()
}
