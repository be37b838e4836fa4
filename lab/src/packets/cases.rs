//! What is tried: by whom, what, to whom, and what must stop it.

use site::flow::{APT_USER, TIME_USER};

use super::place::{Near, Place};
use super::{Attempt, Barrier, Kind, Order};

pub(super) const BROKER: &str = "mosquitto";
pub(super) const PERSON: &str = "lab-person";
pub(super) const ROOT: &str = "root";
const USERS: [&str; 6] = [BROKER, "lab-daemon", PERSON, APT_USER, TIME_USER, ROOT];

/// How a user is called in the evidence.
fn called(user: &str) -> &str {
    match user {
        BROKER => "the broker",
        "lab-daemon" => "the daemon",
        PERSON => "an ordinary user",
        APT_USER => "apt",
        TIME_USER => "the time service",
        other => other,
    }
}

/// An attempt that is being described.
pub(super) fn attempt(
    what: &str,
    kind: Kind,
    way: &'static str,
    user: &'static str,
    to: &Near,
) -> Attempt {
    Attempt {
        name: format!("{what} to {}, as {}", to.name, called(user)),
        kind,
        user,
        raw: user == ROOT,
        arrives_at: to.at,
        answers: false,
        barrier: Barrier::Rule(to.rule),
        order: Order {
            id: 0,
            token: String::new(),
            kind: way,
            user,
            raw: false,
            to: to.address.clone(),
            port: 0,
            sport: 0,
            source: String::new(),
            by_hand: "udp",
            number: 0,
            ttl: 64,
            answers: false,
            hop: String::new(),
        },
    }
}

impl Attempt {
    pub(super) fn port(mut self, port: u16) -> Attempt {
        self.order.port = port;
        self
    }

    fn answered(mut self) -> Attempt {
        self.answers = true;
        self.order.answers = true;
        self
    }

    /// With the capability for raw sockets.
    pub(super) fn given(mut self) -> Attempt {
        if self.user != ROOT {
            self.name += " with CAP_NET_RAW";
        }
        self.raw = true;
        self.order.raw = true;
        self
    }

    /// Written by hand, from an address.
    pub(super) fn by_hand(mut self, what: &'static str, source: impl ToString) -> Attempt {
        self.order.by_hand = what;
        self.order.source = source.to_string();
        self
    }

    /// The same without the capability, which must be missed; it goes ahead of this one, its twin.
    pub(super) fn and_without(self) -> [Attempt; 2] {
        let mut without = self.clone();
        without.name = self
            .name
            .replace(" with CAP_NET_RAW", " without CAP_NET_RAW");
        without.kind = Kind::Socket;
        without.raw = false;
        without.order.raw = false;
        without.barrier = Barrier::Capability;
        [without, self]
    }
}

/// Every attempt. One that misses a capability stands right before the one that has it.
pub(super) fn all(place: &Place<'_>) -> Vec<Attempt> {
    [
        connections(place),
        protocols(place),
        groups(place),
        odd(place),
        super::frames::all(place),
    ]
    .concat()
}

fn connections(place: &Place<'_>) -> Vec<Attempt> {
    let kind = Kind::Connection;
    let [home, home_v6, unique_local, mapped, unnamed] = &place.home;
    let tcp = |user, to: &Near, port: u16| {
        attempt(&format!("TCP {port}"), kind, "tcp", user, to)
            .port(port)
            .answered()
    };
    let udp = |user, to: &Near, port: u16| {
        attempt(&format!("UDP {port}"), kind, "udp", user, to)
            .port(port)
            .answered()
    };
    let mut all = Vec::new();
    for user in USERS {
        all.extend([53, 80, 443].map(|port| tcp(user, home, port)));
        all.extend([53, 123].map(|port| udp(user, home, port)));
        let [router, router_v6] = &place.router;
        let [other, other_v6] = &place.other;
        let others = [
            home_v6,
            unique_local,
            mapped,
            &place.link_local,
            router,
            router_v6,
            &place.hairpin,
            other,
            other_v6,
        ];
        all.extend(others.map(|to| tcp(user, to, 443)));
        all.extend(place.beyond.iter().map(|to| tcp(user, to, 443)));
    }
    all.push(tcp(BROKER, unnamed, 80));
    all.push(tcp(APT_USER, unnamed, 80));
    all.push(
        attempt("Multipath TCP 443", kind, "mptcp", BROKER, home)
            .port(443)
            .answered(),
    );
    all.push(udp(BROKER, home_v6, 53));
    all.push(udp(BROKER, unique_local, 123));
    all
}

fn protocols(place: &Place<'_>) -> Vec<Attempt> {
    let kind = Kind::Protocol;
    let [home, home_v6, unique_local, ..] = &place.home;
    let mut all = Vec::new();
    let echo = |user, to| attempt("an echo request", kind, "echo", user, to).answered();
    for user in USERS {
        all.extend([echo(user, home), echo(user, home_v6)]);
    }
    let near = [
        unique_local,
        &place.link_local,
        &place.router[0],
        &place.router[1],
        &place.other[0],
        &place.other[1],
    ];
    all.extend(near.map(|to| echo(BROKER, to)));
    for to in [home, home_v6] {
        all.push(attempt("UDP-Lite 53", kind, "udplite", BROKER, to).port(53));
        all.push(attempt("UDP-Lite 53", kind, "udplite", PERSON, to).port(53));
    }
    let protocol = |what, number, user, to| {
        let mut one = attempt(what, kind, "protocol", user, to).given();
        one.order.number = number;
        one
    };
    for user in [BROKER, "lab-daemon", PERSON, APT_USER, TIME_USER] {
        all.extend(protocol("SCTP", 132, user, home).and_without());
    }
    all.push(protocol("SCTP", 132, ROOT, home));
    all.push(protocol("SCTP", 132, BROKER, home_v6));
    for (what, number) in [
        ("GRE", 47),
        ("IP in IP", 4),
        ("protocol 253", 253),
        ("a raw echo request", 1),
    ] {
        all.push(protocol(what, number, BROKER, home));
        all.push(protocol(what, number, ROOT, home));
    }
    all.push(protocol("a raw echo request", 58, BROKER, home_v6));
    all
}

fn groups(place: &Place<'_>) -> Vec<Attempt> {
    let mut all = Vec::new();
    for user in [BROKER, PERSON, ROOT] {
        for (group, port) in &place.groups {
            all.push(attempt("a datagram", Kind::Group, "udp", user, group).port(*port));
        }
    }
    all
}

fn odd(place: &Place<'_>) -> Vec<Attempt> {
    let kind = Kind::Odd;
    let [home, home_v6, ..] = &place.home;
    let [own, own_v6] = place.own;
    let [foreign, foreign_v6] = place.foreign;
    let mut all = Vec::new();
    for to in [home, home_v6] {
        for user in [BROKER, PERSON] {
            let mut low = attempt("UDP 53 with a TTL of 1", kind, "udp", user, to).port(53);
            low.order.ttl = 1;
            low.arrives_at = place.first_hop;
            all.push(low);
        }
        all.push(attempt("UDP 53 of 3000 bytes", kind, "big", BROKER, to).port(53));
    }
    let mut unasked = attempt("UDP from port 1883", kind, "udp", BROKER, home);
    unasked.order.sport = 1883;
    all.push(unasked);
    let raw = |what: &str, user, to: &Near| attempt(what, kind, "raw", user, to).given();
    for user in [BROKER, "lab-daemon", PERSON, APT_USER, TIME_USER] {
        let written = raw("a hand-written UDP 53", user, home).by_hand("udp", own);
        all.extend(written.port(53).and_without());
    }
    for user in [BROKER, ROOT] {
        let one = |what, to: &Near| raw(what, user, to);
        all.extend([
            one("hand-written UDP 53", home_v6)
                .by_hand("udp", own_v6)
                .port(53),
            one("a hand-written SYN 443", home)
                .by_hand("syn", own)
                .port(443),
            one("hand-written fragments", home)
                .by_hand("fragments", own)
                .port(53),
            one("UDP 53 under a reader's address", home)
                .by_hand("udp", foreign)
                .port(53),
            one("UDP 53 under a reader's address", home_v6)
                .by_hand("udp", foreign_v6)
                .port(53),
            one("a SYN 443 under a reader's address", home)
                .by_hand("syn", foreign)
                .port(443),
        ]);
        // As if somebody had asked the broker. Nobody has: no connection is tracked.
        for (what, flags) in [
            ("a forged SYN from port 1883", "syn"),
            ("a forged SYN-ACK from port 1883", "syn-ack"),
            ("a forged ACK from port 1883", "ack"),
        ] {
            for to in [home, &place.reader] {
                let mut forged = one(what, to).by_hand(flags, own);
                forged.order.sport = 1883;
                all.push(forged);
            }
        }
        // As if apt had fetched something there, and only the end were left.
        all.push(
            one("a forged ACK 443", &place.mirror)
                .by_hand("ack", own)
                .port(443),
        );
    }
    all
}
