//! The policy, spelled for nftables: one table of our own, replaced in one transaction.
//!
//! Whatever else filters on the host (UFW, Docker) is left alone. What the rules mean is said
//! in `site::flow`; here is only how each condition is written.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use nftables::batch::Batch;
use nftables::expr::{
    BinaryOperation, CT, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix,
    RT, RTFamily, RTKey, SetItem,
};
use nftables::schema::{Chain, NfCmd, NfListObject, Nftables, Rule as NftRule, Table};
use nftables::stmt::{
    Accept, Counter, Drop, Match as NftMatch, Operator, Reject, RejectType, Statement,
};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook, RejectCode};
use site::flow::{Action, Direction, Hook, Match, Policy};
use site::manifest::TABLE;

/// The standard priority of a filter.
const PRIORITY: i32 = 0;

type Statements = Vec<Statement<'static>>;

/// Commands that put the policy in place of whatever the table held before.
pub(super) fn ruleset(policy: &Policy) -> Nftables<'static> {
    let table = || Table {
        family: NfFamily::INet,
        name: TABLE.into(),
        handle: None,
    };
    let mut batch = Batch::new();
    // Deleting needs the table to be there; adding one that is there does nothing.
    batch.add(NfListObject::Table(table()));
    batch.add_cmd(NfCmd::Delete(NfListObject::Table(table())));
    batch.add(NfListObject::Table(table()));
    for hook in Hook::ALL {
        batch.add(NfListObject::Chain(Chain {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: hook.name().into(),
            newname: None,
            handle: None,
            _type: Some(NfChainType::Filter),
            hook: Some(match hook {
                Hook::Input => NfHook::Input,
                Hook::Forward => NfHook::Forward,
                Hook::Output => NfHook::Output,
            }),
            prio: Some(PRIORITY),
            dev: None,
            policy: Some(if policy.refuses_by_default(hook) {
                NfChainPolicy::Drop
            } else {
                NfChainPolicy::Accept
            }),
        }));
    }
    for rule in &policy.rules {
        let mut statements: Statements = rule
            .matches
            .iter()
            .flat_map(|condition| spell(condition, rule.hook))
            .collect();
        statements.push(Statement::Counter(Counter::Anonymous(None)));
        statements.push(match rule.action {
            Action::Accept => Statement::Accept(Some(Accept {})),
            Action::Drop => Statement::Drop(Some(Drop {})),
            Action::Reject => Statement::Reject(Some(Reject::new(
                Some(RejectType::ICMPX),
                Some(RejectCode::AdminProhibited),
            ))),
        });
        batch.add(NfListObject::Rule(NftRule {
            family: NfFamily::INet,
            table: TABLE.into(),
            chain: rule.hook.name().into(),
            expr: Cow::Owned(statements),
            handle: None,
            index: None,
            comment: Some(rule.name.clone().into()),
        }));
    }
    batch.to_nftables()
}

fn spell(condition: &Match, hook: Hook) -> Statements {
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
        Match::NeighbourDiscovery(types) => vec![
            compare(
                field("ip6", "hoplimit"),
                Operator::EQ,
                Expression::Number(255),
            ),
            compare(
                field("icmpv6", "type"),
                Operator::EQ,
                set(types.iter().map(|name| text(name)).collect()),
            ),
        ],
    }
}

/// An address match fits packets of its family only, negated or not: nft sees to it.
fn addresses(side: &'static str, operator: Operator, networks: &[IpNet]) -> Statements {
    let protocol = if networks
        .iter()
        .any(|network| matches!(network, IpNet::V6(_)))
    {
        "ip6"
    } else {
        "ip"
    };
    vec![compare(
        field(protocol, side),
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
