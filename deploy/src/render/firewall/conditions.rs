//! How each condition of the policy is written for nftables.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use nftables::expr::{
    BinaryOperation, CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix,
    RT, RTFamily, RTKey, SetItem,
};
use nftables::stmt::{Limit as NftLimit, Match as NftMatch, Operator, Set, SetOp, Statement};
use site::flow::{Direction, Family, Hook, Limit, Match};

type Statements = Vec<Statement<'static>>;

pub(super) fn spell(condition: &Match, hook: Hook) -> Statements {
    match condition {
        Match::Loopback => {
            let key = if hook == Hook::Output {
                MetaKey::Oifname
            } else {
                MetaKey::Iifname
            };
            vec![compare(meta(key), Operator::EQ, text("lo"))]
        }
        Match::New => vec![compare(ct("state"), Operator::IN, text("new"))],
        Match::Established(direction) => {
            let direction = match direction {
                Direction::Original => "original",
                Direction::Reply => "reply",
            };
            vec![
                compare(ct("state"), Operator::IN, text("established")),
                compare(ct("direction"), Operator::EQ, text(direction)),
            ]
        }
        Match::Related => vec![compare(ct("state"), Operator::IN, text("related"))],
        Match::Family(family) => {
            let name = match family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            };
            vec![compare(meta(MetaKey::Nfproto), Operator::EQ, text(name))]
        }
        Match::NotBareSyn => {
            let flags = Expression::BinaryOperation(Box::new(BinaryOperation::AND(
                field("tcp", "flags"),
                Expression::BinaryOperation(Box::new(BinaryOperation::OR(vec![
                    text("syn"),
                    text("ack"),
                ]))),
            )));
            vec![compare(flags, Operator::NEQ, text("syn"))]
        }
        Match::TcpTo(ports) => vec![compare(field("tcp", "dport"), Operator::EQ, numbers(ports))],
        Match::TcpFrom(ports) => vec![compare(field("tcp", "sport"), Operator::EQ, numbers(ports))],
        Match::TcpFromAtLeast(port) => {
            vec![compare(
                field("tcp", "sport"),
                Operator::GEQ,
                Expression::Number(u32::from(*port)),
            )]
        }
        Match::UdpTo(ports) => vec![compare(field("udp", "dport"), Operator::EQ, numbers(ports))],
        Match::UdpFrom(ports) => vec![compare(field("udp", "sport"), Operator::EQ, numbers(ports))],
        Match::TcpOrUdpTo(port) => transport("dport", *port),
        Match::TcpOrUdpFrom(port) => transport("sport", *port),
        // nft looks names up where it loads them, so the Pi's own numbers hold.
        Match::User(users) => vec![compare(meta(MetaKey::Skuid), Operator::EQ, texts(users))],
        Match::SourceInSet { set, family } => vec![compare(
            field(protocol(*family), "saddr"),
            Operator::EQ,
            text(&format!("@{set}")),
        )],
        Match::Within(most) => vec![Statement::Limit(limit(*most, false))],
        Match::Beyond(most) => vec![Statement::Limit(limit(*most, true))],
        // Its limit is added where the set statement is written.
        Match::SourceBeyond { set, family, .. } => vec![Statement::Set(Set {
            op: SetOp::Update,
            elem: source(*family),
            set: format!("@{set}").into(),
        })],
        Match::Source(list) => addresses("saddr", Operator::EQ, list),
        Match::SourceOutside(list) => addresses("saddr", Operator::NEQ, list),
        Match::Destination(list) => addresses("daddr", Operator::EQ, list),
        Match::NextHopOtherThan(gateway) => {
            let family = match gateway {
                IpAddr::V4(_) => RTFamily::IP,
                IpAddr::V6(_) => RTFamily::IP6,
            };
            let next_hop = named(NamedExpression::RT(RT {
                key: RTKey::NextHop,
                family: Some(family),
            }));
            vec![compare(next_hop, Operator::NEQ, text(&gateway.to_string()))]
        }
        Match::NeighbourDiscovery(types) => of_the_link(255, types),
        Match::ListenerDiscovery(types) => of_the_link(1, types),
        Match::Icmp(types) => vec![compare(field("icmp", "type"), Operator::EQ, texts(types))],
        Match::Icmpv6(types) => vec![compare(field("icmpv6", "type"), Operator::EQ, texts(types))],
    }
}

/// Messages of IPv6 that no router passes on, known by their hop limit.
fn of_the_link(hop_limit: u32, types: &[String]) -> Statements {
    let hops = Expression::Number(hop_limit);
    vec![
        compare(field("ip6", "hoplimit"), Operator::EQ, hops),
        compare(field("icmpv6", "type"), Operator::EQ, texts(types)),
    ]
}

/// A port of TCP or UDP alike.
fn transport(side: &'static str, port: u16) -> Statements {
    let either = set(vec![text("tcp"), text("udp")]);
    let port = Expression::Number(u32::from(port));
    vec![
        compare(meta(MetaKey::L4proto), Operator::EQ, either),
        compare(field("th", side), Operator::EQ, port),
    ]
}

/// What counts as one source: an IPv4 address, or the network that an IPv6 host chooses its
/// addresses from as it likes.
fn source(family: Family) -> Expression<'static> {
    let address = field(protocol(family), "saddr");
    match family {
        Family::V4 => address,
        Family::V6 => Expression::BinaryOperation(Box::new(BinaryOperation::AND(
            address,
            text("ffff:ffff:ffff:ffff::"),
        ))),
    }
}

/// Fits packets up to a limit, or with `beyond` those over it.
pub(super) fn limit(limit: Limit, beyond: bool) -> NftLimit<'static> {
    NftLimit {
        rate: limit.per_second,
        rate_unit: None,
        per: Some("second".into()),
        burst: Some(limit.burst),
        burst_unit: None,
        inv: beyond.then_some(true),
    }
}

fn protocol(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// An address match fits packets of its family only, negated or not: nft sees to it.
fn addresses(side: &'static str, operator: Operator, networks: &[IpNet]) -> Statements {
    let v6 = networks
        .iter()
        .any(|network| matches!(network, IpNet::V6(_)));
    let family = if v6 { Family::V6 } else { Family::V4 };
    vec![compare(
        field(protocol(family), side),
        operator,
        set(networks.iter().map(network).collect()),
    )]
}

fn network(network: &IpNet) -> Expression<'static> {
    if network.prefix_len() == network.max_prefix_len() {
        return text(&network.addr().to_string());
    }
    named(NamedExpression::Prefix(Prefix {
        addr: Box::new(text(&network.network().to_string())),
        len: u32::from(network.prefix_len()),
    }))
}

fn texts(words: &[String]) -> Expression<'static> {
    set(words.iter().map(|word| text(word)).collect())
}

fn numbers(ports: &[u16]) -> Expression<'static> {
    set(ports
        .iter()
        .map(|port| Expression::Number(u32::from(*port)))
        .collect())
}

/// One element stands for itself: nft prints it so.
fn set(mut elements: Vec<Expression<'static>>) -> Expression<'static> {
    if elements.len() == 1
        && let Some(only) = elements.pop()
    {
        return only;
    }
    named(NamedExpression::Set(
        elements.into_iter().map(SetItem::Element).collect(),
    ))
}

fn compare(
    left: Expression<'static>,
    op: Operator,
    right: Expression<'static>,
) -> Statement<'static> {
    Statement::Match(NftMatch { left, right, op })
}

fn named(expression: NamedExpression<'static>) -> Expression<'static> {
    Expression::Named(expression)
}

fn text(word: &str) -> Expression<'static> {
    Expression::String(Cow::Owned(word.to_owned()))
}

fn meta(key: MetaKey) -> Expression<'static> {
    named(NamedExpression::Meta(Meta { key }))
}

fn ct(key: &'static str) -> Expression<'static> {
    named(NamedExpression::CT(CT {
        key: key.into(),
        family: None,
        dir: None,
    }))
}

fn field(protocol: &'static str, name: &'static str) -> Expression<'static> {
    named(NamedExpression::Payload(Payload::PayloadField(
        PayloadField {
            protocol: protocol.into(),
            field: name.into(),
        },
    )))
}
