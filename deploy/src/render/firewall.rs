//! The policy, spelled for nftables: one table of our own, replaced in one transaction.
//!
//! Whatever else filters on the host (UFW, Docker) is left alone. What the rules mean is said
//! in `site::flow`, and how each condition is written in `firewall::conditions`.

mod conditions;

use std::borrow::Cow;
use std::collections::HashSet;

use nftables::batch::Batch;
use nftables::schema::{
    Chain, NfCmd, NfListObject, Rule as NftRule, Set, SetFlag, SetType, SetTypeValue, Table,
};
use nftables::stmt::{Accept, Counter, Drop, Reject, RejectType, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook, RejectCode};
use serde_json::{Value, json};
use site::flow::{Action, Family, Hook, Match, Policy};
use site::manifest::TABLE;

/// The standard priority of a filter.
const PRIORITY: i32 = 0;
/// Sources that are counted at the same time. A full set notices no further source; some 4 MB.
const SOURCES: u32 = 16384;
/// Seconds after which a source that begins nothing more is forgotten. By then the most that it
/// may begin at once is its due again.
const FORGET_AFTER_S: u32 = 120;

/// Commands that put the policy in place of whatever the table held before.
///
/// # Errors
/// When the commands have no JSON form.
pub(super) fn ruleset(policy: &Policy) -> Result<Value, serde_json::Error> {
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
    let conditions = policy.rules.iter().flat_map(|rule| &rule.matches);
    for set in conditions.filter_map(set) {
        batch.add(NfListObject::Set(Box::new(set)));
    }
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
        let mut statements: Vec<Statement<'static>> = rule
            .matches
            .iter()
            .flat_map(|condition| conditions::spell(condition, rule.hook))
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
    let mut commands = serde_json::to_value(batch.to_nftables())?;
    let list = commands.get_mut("nftables").and_then(Value::as_array_mut);
    for command in list.into_iter().flatten() {
        limits_of_sets(command, policy);
    }
    Ok(commands)
}

/// The set that a condition asks, as it is when the policy is loaded: empty.
fn set(condition: &Match) -> Option<Set<'static>> {
    let (name, family, counts) = match condition {
        Match::SourceInSet { set, family } => (set, family, false),
        Match::SourceBeyond { set, family, .. } => (set, family, true),
        _ => return None,
    };
    let kind = match family {
        Family::V4 => SetType::Ipv4Addr,
        Family::V6 => SetType::Ipv6Addr,
    };
    // That rules add to a set needs no flag in nft's JSON: older versions refuse the word.
    let flags = if counts {
        HashSet::from([SetFlag::Timeout])
    } else {
        HashSet::from([SetFlag::Interval, SetFlag::Timeout])
    };
    Some(Set {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: name.clone().into(),
        handle: None,
        set_type: SetTypeValue::Single(kind),
        policy: None,
        flags: Some(flags),
        elem: None,
        timeout: counts.then_some(FORGET_AFTER_S),
        gc_interval: None,
        size: counts.then_some(SOURCES),
        comment: None,
    })
}

/// The limit for each element of a set, which the library has no word for, and the flags of a
/// set in one order, so that rendering gives the same bytes every time.
fn limits_of_sets(command: &mut Value, policy: &Policy) {
    let flags = command.pointer_mut("/add/set/flags");
    if let Some(flags) = flags.and_then(Value::as_array_mut) {
        flags.sort_by_key(Value::to_string);
    }
    let statements = command.pointer_mut("/add/rule/expr");
    for statement in statements
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let Some(update) = statement.get_mut("set").and_then(Value::as_object_mut) else {
            continue;
        };
        let name = update.get("set").and_then(Value::as_str);
        let name = name.map(|name| name.trim_start_matches('@').to_owned());
        let mut conditions = policy.rules.iter().flat_map(|rule| &rule.matches);
        let limit = conditions.find_map(|condition| match condition {
            Match::SourceBeyond { set, limit, .. } if Some(set) == name.as_ref() => Some(limit),
            _ => None,
        });
        if let Some(limit) = limit {
            let beyond = Statement::Limit(conditions::limit(*limit, true));
            update.insert("stmt".to_owned(), json!([beyond]));
        }
    }
}
