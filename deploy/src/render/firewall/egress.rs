//! The second line, at the device itself: what leaves by it without the mark of the policy is
//! dropped, so frames that a program writes past the IP stack.
//!
//! Three kinds of frames never pass the policy and are needed: ARP, which the kernel sends without
//! an owner; the network's own services, which ask for an address before there is one; and the keys
//! of a wireless or guarded network. Everything is known by what stands in the frame, since the
//! protocol that the kernel notes beside it is whatever the sender said.

use std::net::IpAddr;

use ipnet::IpNet;
use nftables::batch::Batch;
use nftables::expr::{
    Expression, Meta, MetaKey, NamedExpression, Payload, PayloadBase, PayloadRaw,
};
use nftables::schema::{Chain, NfListObject, Table};
use nftables::stmt::{Accept, Counter, Drop, Match as NftMatch, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use site::Bastion;
use site::flow::{Hook, Match};
use site::manifest::{EGRESS_TABLE, RENDERED_MARK};

use super::{PRIORITY, conditions, mark, rule_of};

const CHAIN: &str = "egress";
/// Numbers of protocols in a frame.
const IPV4: u32 = 0x0800;
const ARP: u32 = 0x0806;
const KEYS: u32 = 0x888e;
const ROOT: u32 = 0;

pub(super) fn table(batch: &mut Batch<'static>, bastion: &Bastion) {
    batch.add(NfListObject::Table(Table {
        family: NfFamily::NetDev,
        name: EGRESS_TABLE.into(),
        handle: None,
    }));
    batch.add(NfListObject::Chain(Chain {
        family: NfFamily::NetDev,
        table: EGRESS_TABLE.into(),
        name: CHAIN.into(),
        newname: None,
        handle: None,
        _type: Some(NfChainType::Filter),
        hook: Some(NfHook::Egress),
        prio: Some(PRIORITY),
        dev: Some(bastion.interface.clone().into()),
        policy: Some(NfChainPolicy::Drop),
    }));
    let mut add = |name: &'static str, mut statements: Vec<Statement<'static>>, passes: bool| {
        statements.push(Statement::Counter(Counter::Anonymous(None)));
        statements.push(if passes {
            Statement::Accept(Some(Accept {}))
        } else {
            Statement::Drop(Some(Drop {}))
        });
        let rule = rule_of(
            NfFamily::NetDev,
            EGRESS_TABLE,
            CHAIN,
            statements,
            Some(name.into()),
        );
        batch.add(rule);
    };
    // The mark is taken off, so that nobody who looks at frames learns it.
    add(
        "egress-passed",
        vec![
            compare(meta(MetaKey::Mark), Operator::EQ, RENDERED_MARK),
            mark(0),
        ],
        true,
    );
    // The kernel's own have no owner, so this fits none of them.
    add(
        "egress-arp-of-users",
        vec![
            of_protocol(ARP),
            compare(meta(MetaKey::Skuid), Operator::NEQ, ROOT),
        ],
        false,
    );
    add("egress-arp", vec![of_protocol(ARP)], true);
    if let Some(server) = bastion.dhcp {
        let to: Vec<IpNet> = vec![IpAddr::from([255; 4]).into(), IpAddr::V4(server).into()];
        let mut statements = vec![of_protocol(IPV4)];
        for condition in [
            Match::Destination(to),
            Match::UdpFrom(vec![68]),
            Match::UdpTo(vec![67]),
        ] {
            statements.extend(conditions::spell(&condition, Hook::Output));
        }
        add("egress-dhcp", statements, true);
    }
    add(
        "egress-keys",
        vec![
            of_protocol(KEYS),
            compare(meta(MetaKey::Skuid), Operator::EQ, ROOT),
        ],
        true,
    );
    add("egress-rest", vec![], false);
}

/// What the frame itself says, behind both addresses. nft's own word for it also asks for the kind
/// of the device that a packet came in by, and these came in by none.
fn of_protocol(number: u32) -> Statement<'static> {
    let field = Payload::PayloadRaw(PayloadRaw {
        base: PayloadBase::LL,
        offset: 96,
        len: 16,
    });
    compare(
        Expression::Named(NamedExpression::Payload(field)),
        Operator::EQ,
        number,
    )
}

fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn compare(left: Expression<'static>, op: Operator, number: u32) -> Statement<'static> {
    Statement::Match(NftMatch {
        left,
        right: Expression::Number(number),
        op,
    })
}
