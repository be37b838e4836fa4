//! Mistakes in the firewall.

use anyhow::{Context as _, Result, ensure};
use deploy::Rendered;
use ipnet::IpNet;
use serde_json::{Value, json};
use site::flow::{Action, Family, Hook, Match, Policy, Rule};
use site::manifest::RULESET_PATH;

use super::{Parts, change};

/// The rules that let SSH in, by the beginning of their names.
const SSH_RULES: &str = "f3-";
/// The one for admins, without its family.
const ADMIN_RULE: &str = "f3-admin";

pub(super) fn no_ssh_rule(parts: &Parts<'_>) -> Result<Rendered> {
    let mut policy = parts.policy();
    let before = policy.rules.len();
    policy
        .rules
        .retain(|rule| !rule.name.starts_with(SSH_RULES));
    ensure!(
        policy.rules.len() < before,
        "no rule lets SSH in to begin with"
    );
    parts.with_policy(&policy)
}

pub(super) fn v6_only(parts: &Parts<'_>) -> Result<Rendered> {
    let name = format!("{ADMIN_RULE}-{}", Family::V4.suffix());
    let policy = parts.policy().without(&name);
    parts.with_policy(&policy.with_context(|| format!("there is no rule {name}"))?)
}

pub(super) fn wrong_admin(parts: &Parts<'_>) -> Result<Rendered> {
    let mut policy = parts.policy();
    let admins = policy
        .rules
        .iter_mut()
        .filter(|rule| rule.name.starts_with(ADMIN_RULE));
    let sources = admins.flat_map(|rule| &mut rule.matches);
    let mut changed = 0;
    for source in sources.filter_map(|condition| match condition {
        Match::Source(networks) => Some(networks),
        _ => None,
    }) {
        for network in source {
            // Addresses for examples in documents: nobody has them.
            let nobody = if network.addr().is_ipv4() {
                "192.0.2.77/32"
            } else {
                "2001:db8::77/128"
            };
            *network = nobody.parse::<IpNet>()?;
            changed += 1;
        }
    }
    ensure!(changed > 0, "no rule names an admin");
    parts.with_policy(&policy)
}

pub(super) fn everything_dropped(parts: &Parts<'_>) -> Result<Rendered> {
    let mut policy = parts.policy();
    drop_behind_loopback(&mut policy, Hook::Input, "lost-in")?;
    drop_behind_loopback(&mut policy, Hook::Output, "lost-out")?;
    parts.with_policy(&policy)
}

fn drop_behind_loopback(policy: &mut Policy, hook: Hook, name: &str) -> Result<()> {
    let loopback = |rule: &Rule| rule.hook == hook && rule.matches == [Match::Loopback];
    let at = policy.rules.iter().position(loopback);
    let at = at.with_context(|| format!("no rule of {} is for loopback", hook.name()))?;
    let rule = Rule {
        name: name.to_owned(),
        flow: "R".to_owned(),
        says: "everything is dropped".to_owned(),
        hook,
        matches: vec![],
        action: Action::Drop,
    };
    policy.rules.insert(at + 1, rule);
    Ok(())
}

pub(super) fn wrong_interface(parts: &Parts<'_>) -> Result<Rendered> {
    let condition = json!({"match": {
        "op": "==", "left": {"meta": {"key": "iifname"}}, "right": "wlan7"
    }});
    with_condition(parts, &condition)
}

pub(super) fn ruleset_does_not_load(parts: &Parts<'_>) -> Result<Rendered> {
    let condition = json!({"match": {
        "op": "==",
        "left": {"payload": {"protocol": "ip", "field": "saddr"}},
        "right": "@nowhere"
    }});
    with_condition(parts, &condition)
}

/// One more condition in each rule for admins, as nft's JSON spells it: the policy has no word
/// for these.
fn with_condition(parts: &Parts<'_>, condition: &Value) -> Result<Rendered> {
    let mut rendered = parts.right()?;
    let mut changed = 0;
    change(&mut rendered, RULESET_PATH, |text| {
        let mut ruleset: Value = serde_json::from_str(&text).unwrap_or_default();
        let commands = ruleset.get_mut("nftables").and_then(Value::as_array_mut);
        for rule in commands
            .into_iter()
            .flatten()
            .filter_map(|one| one.pointer_mut("/add/rule"))
        {
            let name = rule
                .get("comment")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if !name.starts_with(ADMIN_RULE) {
                continue;
            }
            if let Some(conditions) = rule.get_mut("expr").and_then(Value::as_array_mut) {
                conditions.insert(0, condition.clone());
                changed += 1;
            }
        }
        format!("{ruleset:#}\n")
    })?;
    ensure!(changed > 0, "no rule of the ruleset is for admins");
    Ok(rendered)
}
