//! The policy, spelled for nftables: tables of our own, replaced in one transaction.
//!
//! What the policy passes carries a mark, by which `firewall::egress` knows it at the device. Here
//! it is a fixed one, so that rendering gives the same bytes every time; whoever loads the rules
//! draws another.
//!
//! Whatever else filters on the host (UFW, Docker) is left alone. What the rules mean is said
//! in `site::flow`, and how each condition is written in `firewall::conditions`.

mod conditions;
mod egress;

use std::borrow::Cow;
use std::collections::HashSet;

use nftables::batch::Batch;
use nftables::expr::{Expression, Meta, MetaKey, NamedExpression};
use nftables::schema::{
    Chain, NfCmd, NfListObject, Rule as NftRule, Set, SetFlag, SetType, SetTypeValue, Table,
};
use nftables::stmt::{Accept, Counter, Drop, Mangle, Reject, RejectType, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook, RejectCode};
use serde_json::{Value, json};
use site::Bastion;
use site::flow::{Action, Family, Hook, Match, Policy};
use site::manifest::{EARLY_TABLE, EGRESS_TABLE, RENDERED_MARK, TABLE};

/// The standard priority of a filter.
const PRIORITY: i32 = 0;
/// Sources that are counted at the same time. A full set notices no further source; some 4 MB.
const SOURCES: u32 = 16384;
/// Seconds after which a source that begins nothing more is forgotten. By then the most that it
/// may begin at once is its due again.
const FORGET_AFTER_S: u32 = 120;

/// Commands that put the whole policy in place of whatever our tables held before, the early one
/// among them: there is no moment without one or the other, and where these do not load, the
/// early one stays.
///
/// # Errors
/// When the commands have no JSON form.
pub(super) fn whole(policy: &Policy, bastion: &Bastion) -> Result<Value, serde_json::Error> {
    let mut batch = Batch::new();
    remove(&mut batch, NfFamily::INet, EARLY_TABLE);
    remove(&mut batch, NfFamily::NetDev, EGRESS_TABLE);
    table(&mut batch, TABLE, policy, true);
    egress::table(&mut batch, bastion);
    commands(&batch, policy)
}

/// Commands that put the early part of the policy in place. They ask nothing of the kernel that
/// a plain filter does not.
///
/// # Errors
/// When the commands have no JSON form.
pub(super) fn early(policy: &Policy) -> Result<Value, serde_json::Error> {
    let early = policy.early();
    let mut batch = Batch::new();
    table(&mut batch, EARLY_TABLE, &early, false);
    commands(&batch, &early)
}

fn commands(batch: &Batch<'static>, policy: &Policy) -> Result<Value, serde_json::Error> {
    let mut commands = serde_json::to_value(batch.clone().to_nftables())?;
    let list = commands.get_mut("nftables").and_then(Value::as_array_mut);
    for command in list.into_iter().flatten() {
        limits_of_sets(command, policy);
    }
    Ok(commands)
}

/// Deleting needs the table to be there; adding one that is there does nothing.
fn remove(batch: &mut Batch<'static>, family: NfFamily, name: &'static str) {
    let table = || Table {
        family,
        name: name.into(),
        handle: None,
    };
    batch.add(NfListObject::Table(table()));
    batch.add_cmd(NfCmd::Delete(NfListObject::Table(table())));
}

fn table(batch: &mut Batch<'static>, name: &'static str, policy: &Policy, marks: bool) {
    remove(batch, NfFamily::INet, name);
    batch.add(NfListObject::Table(Table {
        family: NfFamily::INet,
        name: name.into(),
        handle: None,
    }));
    let conditions = policy.rules.iter().flat_map(|rule| &rule.matches);
    for set in conditions.filter_map(|condition| set(name, condition)) {
        batch.add(NfListObject::Set(Box::new(set)));
    }
    for hook in Hook::ALL {
        batch.add(NfListObject::Chain(Chain {
            family: NfFamily::INet,
            table: name.into(),
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
        if marks && leaves(rule.hook) && rule.action == Action::Accept {
            // Over loopback the mark would come to light: a socket may ask for that of what it gets.
            if !rule.matches.contains(&Match::Loopback) {
                statements.push(mark(RENDERED_MARK));
            }
        }
        statements.push(match rule.action {
            Action::Accept => Statement::Accept(Some(Accept {})),
            Action::Drop => Statement::Drop(Some(Drop {})),
            Action::Reject => Statement::Reject(Some(Reject::new(
                Some(RejectType::ICMPX),
                Some(RejectCode::AdminProhibited),
            ))),
        });
        let comment = Some(rule.name.clone().into());
        batch.add(rule_of(
            NfFamily::INet,
            name,
            rule.hook.name(),
            statements,
            comment,
        ));
    }
    // A policy from which the last refusal was taken passes what is left, and so marks it.
    for hook in Hook::ALL {
        if marks && leaves(hook) && !policy.refuses_by_default(hook) {
            let statements = vec![mark(RENDERED_MARK)];
            batch.add(rule_of(NfFamily::INet, name, hook.name(), statements, None));
        }
    }
}

/// Whether what a hook passes leaves the bastion.
fn leaves(hook: Hook) -> bool {
    matches!(hook, Hook::Output | Hook::Forward)
}

fn rule_of(
    family: NfFamily,
    table: &'static str,
    chain: &'static str,
    statements: Vec<Statement<'static>>,
    comment: Option<Cow<'static, str>>,
) -> NfListObject<'static> {
    NfListObject::Rule(NftRule {
        family,
        table: table.into(),
        chain: chain.into(),
        expr: Cow::Owned(statements),
        handle: None,
        index: None,
        comment,
    })
}

fn mark(value: u32) -> Statement<'static> {
    Statement::Mangle(Mangle {
        key: Expression::Named(NamedExpression::Meta(Meta { key: MetaKey::Mark })),
        value: Expression::Number(value),
    })
}

/// The set that a condition asks, as it is when the policy is loaded: empty.
fn set(table: &'static str, condition: &Match) -> Option<Set<'static>> {
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
        table: table.into(),
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

#[cfg(test)]
mod tests {
    use std::fs;

    use site::Site;

    use super::*;

    /// The rules of a rendered policy that leave the bastion: name, and whether they mark and pass.
    fn leaving(policy: &Policy, bastion: &Bastion) -> Vec<(String, bool, bool)> {
        let rendered = whole(policy, bastion).unwrap();
        let commands = rendered.get("nftables").and_then(Value::as_array).unwrap();
        let rules = commands.iter().filter_map(|one| one.pointer("/add/rule"));
        let text = |rule: &Value, key: &str| {
            let text = rule.get(key).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        rules
            .filter(|rule| text(rule, "table") == TABLE && text(rule, "chain") != "input")
            .map(|rule| {
                let has = |kind: &str| {
                    let mut statements = rule.get("expr").unwrap().as_array().unwrap().iter();
                    statements.any(|statement| statement.get(kind).is_some())
                };
                (text(rule, "comment"), has("mangle"), has("accept"))
            })
            .collect()
    }

    #[test]
    fn what_passes_is_marked_and_nothing_else() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../site/examples/home.toml");
        let site = Site::parse("home.toml", &fs::read_to_string(example).unwrap()).unwrap();
        let bastion = site.bastions.first().unwrap();
        let policy = Policy::of(&site, bastion);
        for (name, marks, passes) in leaving(&policy, bastion) {
            assert_eq!(marks, passes && name != "loopback-out", "{name}");
        }
        // What only the chain's own end passes is marked there.
        let marks_the_rest = |name: &str| {
            let policy = policy.without(name).unwrap();
            let rules = leaving(&policy, bastion);
            rules.contains(&(String::new(), true, false))
        };
        assert!(marks_the_rest("refuse-rest-out") && marks_the_rest("refuse-forward"));
        assert!(!marks_the_rest("refuse-lan-v4") && !marks_the_rest("refuse-rest-in"));
    }
}
