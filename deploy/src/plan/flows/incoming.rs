//! Who reaches the bastion, and whether anything goes through it.

use std::net::IpAddr;

use site::flow::{Direction, Hook, MQTT_PORT, SSH_PORT};

use super::{Asked, HIGH_PORT, PLACE, Question, Why, family, internet, named};
use crate::plan::evaluate::{Carries, Packet, State};

/// Ports on which nothing of a bastion listens, in the name of all of them.
const SOME_PORTS: [Carries; 5] = [
    Carries::Tcp(HIGH_PORT, 80),
    Carries::Tcp(HIGH_PORT, 443),
    Carries::Tcp(HIGH_PORT, 8883),
    Carries::Udp(HIGH_PORT, 53),
    Carries::Udp(HIGH_PORT, 5353),
];

pub(super) fn questions(asked: &Asked<'_>) -> Vec<Question> {
    let lan = &asked.site.lan;
    let masquerades = &asked.bastion.masquerades_as;
    let mut questions = Vec::new();
    let mut single = |name: &str, address: IpAddr, port: u16, always: bool| {
        let service = if port == SSH_PORT { "SSH" } else { "MQTT" };
        let flow = format!("{name} {PLACE} → tcp {port} ({service})");
        let packets = vec![(Why::default(), Carries::Tcp(HIGH_PORT, port))];
        let asked_before = questions.len();
        ask(asked, flow, None, address, packets, &mut questions);
        if let Some(question) = questions.get_mut(asked_before) {
            question.always = always;
            question.place = Some(address.to_string());
        }
    };
    for admin in &lan.admins {
        single("admin", *admin, SSH_PORT, true);
    }
    for reader in &lan.readers {
        single("reader", *reader, MQTT_PORT, false);
    }
    for router in masquerades {
        single("masquerading router", *router, MQTT_PORT, false);
    }
    for (address, port) in named::sources(asked.before) {
        let known = match port {
            SSH_PORT => lan.admins.contains(&address),
            _ => lan.readers.contains(&address) || masquerades.contains(&address),
        };
        if !known {
            single("so far let in by name:", address, port, false);
        }
    }
    for v4 in [true, false] {
        classes(asked, v4, &mut questions);
        answers(asked, v4, &mut questions);
    }
    questions
}

/// The Internet, the LAN and the segment, each in the name of one of its hosts.
fn classes(asked: &Asked<'_>, v4: bool, questions: &mut Vec<Question>) {
    let tcp = |port| vec![(Why::default(), Carries::Tcp(HIGH_PORT, port))];
    let mqtt = || {
        vec![
            (
                Why::what("from source ports 1024 up"),
                Carries::Tcp(HIGH_PORT, MQTT_PORT),
            ),
            (
                Why::what("from source ports below 1024"),
                Carries::Tcp(1023, MQTT_PORT),
            ),
        ]
    };
    let rest = || {
        SOME_PORTS
            .map(|carries| match carries {
                Carries::Tcp(_, port) => (Why::what(&format!("for tcp {port}")), carries),
                Carries::Udp(_, port) => (Why::what(&format!("for udp {port}")), carries),
                Carries::Icmp(_) => (Why::default(), carries),
            })
            .into()
    };
    let echo = || vec![(Why::default(), Carries::Icmp("echo-request"))];
    let over = Some(family(v4));
    let world = internet(v4);
    let from_world = |flow: &str, packets, questions: &mut Vec<Question>| {
        ask(
            asked,
            format!("Internet → {flow}"),
            over,
            world,
            packets,
            questions,
        );
    };
    from_world(&format!("tcp {MQTT_PORT} (meters)"), mqtt(), questions);
    let asked_before = questions.len();
    let flow = format!("tcp {MQTT_PORT} beyond the limits of new connections");
    from_world(&flow, tcp(MQTT_PORT), questions);
    for question in questions.iter_mut().skip(asked_before) {
        for (_, packet) in &mut question.packets {
            packet.flood = true;
        }
    }
    from_world(&format!("tcp {SSH_PORT} (SSH)"), tcp(SSH_PORT), questions);
    from_world("any other port", rest(), questions);
    from_world("echo (ping)", echo(), questions);
    for (network, name, all) in asked.networks(v4, "the bastion's segment") {
        let Some(host) = asked.some_host(&network) else {
            continue;
        };
        let mut from = |flow: &str, packets| {
            let flow = format!("other hosts of {name} ({PLACE}) → {flow}");
            let asked_before = questions.len();
            ask(asked, flow, None, host, packets, questions);
            if let Some(question) = questions.get_mut(asked_before) {
                question.place = Some(network.to_string());
                question.all = all;
            }
        };
        from(&format!("tcp {MQTT_PORT} (MQTT)"), mqtt());
        from(&format!("tcp {SSH_PORT} (SSH)"), tcp(SSH_PORT));
        from("any other port", rest());
    }
}

/// What comes back to the bastion when it asks for something.
fn answers(asked: &Asked<'_>, v4: bool, questions: &mut Vec<Question>) {
    let flow = "Internet → answers to what the bastion asked".to_owned();
    let packets = vec![
        (Why::what("for time"), Carries::Udp(123, HIGH_PORT)),
        (Why::what("for packages"), Carries::Tcp(443, HIGH_PORT)),
        (Why::what("for other things"), Carries::Tcp(8086, HIGH_PORT)),
    ];
    let asked_before = questions.len();
    ask(
        asked,
        flow,
        Some(family(v4)),
        internet(v4),
        packets,
        questions,
    );
    for question in questions.iter_mut().skip(asked_before) {
        for (_, packet) in &mut question.packets {
            packet.state = State::Part(Direction::Reply);
        }
    }
}

fn ask(
    asked: &Asked<'_>,
    flow: String,
    family: Option<&'static str>,
    source: IpAddr,
    carries: Vec<(Why, Carries)>,
    questions: &mut Vec<Question>,
) {
    // A bastion without an address of the family cannot be spoken to.
    let Some(own) = asked.own(source.is_ipv4()) else {
        return;
    };
    let packet = |carries| Packet {
        hook: Hook::Input,
        source,
        destination: own,
        carries,
        state: State::New,
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
        always: false,
        place: None,
        all: usize::MAX,
        packets,
    });
}

/// From the Internet into the LAN, by way of the bastion.
pub(super) fn forwarded(asked: &Asked<'_>) -> Vec<Question> {
    let through = |v4: bool| {
        let packet = Packet {
            hook: Hook::Forward,
            source: internet(v4),
            destination: asked.some_host(asked.lan(v4).first()?)?,
            carries: Carries::Tcp(HIGH_PORT, 80),
            state: State::New,
            next_hop: None,
            user: None,
            flood: false,
        };
        Some(Question {
            flow: "anybody → through the bastion → LAN".to_owned(),
            family: Some(family(v4)),
            always: false,
            place: None,
            all: usize::MAX,
            packets: vec![(Why::default(), packet)],
        })
    };
    [true, false].into_iter().filter_map(through).collect()
}
