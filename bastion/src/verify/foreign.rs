//! Whatever else stands in the way of a packet: base chains, NAT and flowtables of other tables.
//!
//! Each is listed and judged. A chain can only take away when all that it and the chains behind
//! it do is to look, to count and to say yes or no: a packet that it accepts is still asked of
//! our own chains. Everything else (NAT, marks, copies, queues, flowtables, words that this
//! program does not know) may lead a packet round them: then nobody can tell. The listing is read
//! as plain JSON: a typed one refuses the whole when a single word of somebody else's is new.
//!
//! Not seen here: `tc`, XDP, and rules of routing.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;
use site::answer::Report;

use crate::firewall;
use crate::host::{Host, read_if_present};

const SUBJECT: &str = "other rules";
/// More than UFW and Docker have together.
const MOST: usize = 100;
const LONGEST_NAME: usize = 64;

/// Statements that look, count, or say yes or no. Jumps are followed.
const HARMLESS: [&str; 16] = [
    "match", "counter", "accept", "drop", "reject", "return", "continue", "log", "limit", "quota",
    "ct count", "last", "jump", "goto", "vmap", "set",
];
/// The same among the targets of iptables' extensions.
const HARMLESS_TARGETS: [&str; 3] = ["LOG", "NFLOG", "REJECT"];

/// What lists the tables of the older iptables, which nft does not see.
const LEGACY: [(&str, &str); 3] = [
    ("iptables", "/proc/net/ip_tables_names"),
    ("ip6tables", "/proc/net/ip6_tables_names"),
    ("arptables", "/proc/net/arp_tables_names"),
];

/// Something in the way, and what it does beyond taking away.
#[derive(Debug, PartialEq, Eq)]
struct Hook {
    name: String,
    does: BTreeSet<String>,
}

/// Adds a check for each, or one when there is none.
pub(super) fn add(host: &Host, report: &mut Report) {
    let found = nftables(host).and_then(|mut found| {
        found.extend(legacy(host)?);
        Ok(found)
    });
    let found = match found {
        Ok(found) => found,
        Err(error) => return report.add(SUBJECT, Err(format!("{error:#}"))),
    };
    if found.is_empty() {
        report.add(SUBJECT, Ok::<_, String>(None));
    }
    for hook in found.iter().take(MOST) {
        let subject = format!("{SUBJECT}: {}", hook.name);
        report.add(&subject, judged(hook));
    }
    if found.len() > MOST {
        let more = found.len() - MOST;
        report.add(SUBJECT, Err(format!("{more} more were not judged")));
    }
}

/// Whether a check is one of these.
pub(super) fn is_about(subject: &str) -> bool {
    subject.starts_with(SUBJECT)
}

fn judged(hook: &Hook) -> Result<Option<String>, String> {
    if hook.does.is_empty() {
        return Ok(None);
    }
    let does: Vec<&str> = hook.does.iter().map(String::as_str).collect();
    Err(format!(
        "cannot tell whether it leads packets round our rules: {}",
        does.join(", ")
    ))
}

fn nftables(host: &Host) -> Result<Vec<Hook>> {
    // Without what sets hold: a list of addresses may be long, and says nothing here.
    let listing = host
        .run("nft", &["-j", "-t", "list", "ruleset"])
        .context("listing all rules with nft, of the package nftables")?;
    let listing: Value =
        serde_json::from_str(&listing).context("reading nftables' list of all rules")?;
    let objects = listing.get("nftables").and_then(Value::as_array);
    Ok(hooks(
        objects.context("nftables' list of all rules has no objects")?,
    ))
}

fn legacy(host: &Host) -> Result<Vec<Hook>> {
    let mut found = Vec::new();
    for (program, path) in LEGACY {
        let names = read_if_present(&host.path(path))?.unwrap_or_default();
        let names = String::from_utf8_lossy(&names).into_owned();
        found.extend(names.lines().map(|name| Hook {
            name: format!("{program} (legacy) {}", plain(name)),
            does: ["nft does not see its rules".to_owned()].into(),
        }));
    }
    Ok(found)
}

fn hooks(objects: &[Value]) -> Vec<Hook> {
    let mut found = Vec::new();
    for object in objects {
        if let Some(chain) = object.get("chain").filter(|chain| is_foreign(chain)) {
            found.extend(base_chain(chain, objects));
        }
        if let Some(table) = object.get("flowtable").filter(|table| is_foreign(table)) {
            found.push(Hook {
                name: format!("flowtable {}", place(table, "name")),
                does: ["forwards past the chains".to_owned()].into(),
            });
        }
    }
    found
}

fn is_foreign(object: &Value) -> bool {
    let own = |ours: &firewall::Table| {
        text(object, "family") == ours.family && text(object, "table") == ours.name
    };
    !firewall::OURS.iter().any(own)
}

/// A chain that the kernel calls; others see only what these hand them.
fn base_chain(chain: &Value, objects: &[Value]) -> Option<Hook> {
    chain.get("hook")?;
    let priority = chain.get("prio").and_then(Value::as_i64);
    Some(Hook {
        name: format!(
            "{} ({} at {}, priority {})",
            place(chain, "name"),
            plain(text(chain, "type")),
            plain(text(chain, "hook")),
            priority.unwrap_or_default(),
        ),
        does: does(chain, objects),
    })
}

/// What the rules of a chain do that takes nothing away, and those of the chains behind it.
fn does(chain: &Value, objects: &[Value]) -> BTreeSet<String> {
    let of_table = |object: &&Value| {
        text(object, "family") == text(chain, "family")
            && text(object, "table") == text(chain, "table")
    };
    let in_table = |kind: &'static str| {
        let found = objects.iter().filter_map(move |object| object.get(kind));
        found.filter(of_table)
    };
    let mut does = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = BTreeSet::from([text(chain, "name")]);
    while let Some(name) = open.pop_first() {
        if !seen.insert(name) {
            continue;
        }
        for rule in in_table("rule").filter(|rule| text(rule, "chain") == name) {
            let statements = rule.get("expr").and_then(Value::as_array);
            for statement in statements.into_iter().flatten() {
                does.extend(beyond(statement));
                let jumps = targets(statement);
                open.extend(jumps.named);
                if jumps.anywhere {
                    open.extend(in_table("chain").map(|chain| text(chain, "name")));
                }
            }
        }
    }
    does
}

/// What a statement does, unless it only looks, counts, or says yes or no.
fn beyond(statement: &Value) -> Option<String> {
    let Some((kind, what)) = statement
        .as_object()
        .and_then(|statement| statement.iter().next())
    else {
        return Some("a statement without a name".to_owned());
    };
    if HARMLESS.contains(&kind.as_str()) {
        return None;
    }
    if kind == "xt" {
        let target = text(what, "name");
        return match text(what, "type") {
            "match" => None,
            "target" if HARMLESS_TARGETS.contains(&target) => None,
            "target" => Some(plain(target)),
            _ => Some("an extension that nft does not show".to_owned()),
        };
    }
    Some(plain(kind))
}

/// Chains to which a statement may lead.
#[derive(Default)]
struct Targets<'a> {
    named: Vec<&'a str>,
    /// By a map whose content is not listed.
    anywhere: bool,
}

fn targets(statement: &Value) -> Targets<'_> {
    let mut found = Targets::default();
    let mut open = vec![statement];
    while let Some(value) = open.pop() {
        for jump in ["jump", "goto"] {
            let target = value.get(jump).and_then(|jump| jump.get("target"));
            found.named.extend(target.and_then(Value::as_str));
        }
        let map = value.get("vmap").and_then(|map| map.get("data"));
        found.anywhere |= map.is_some_and(Value::is_string);
        match value {
            Value::Array(values) => open.extend(values),
            Value::Object(values) => open.extend(values.values()),
            _ => {}
        }
    }
    found
}

/// `ip nat OUTPUT`.
fn place(object: &Value, name: &str) -> String {
    ["family", "table", name]
        .map(|key| plain(text(object, key)))
        .join(" ")
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Somebody else chose these names: nothing in them that a terminal obeys, or that ends a part
/// of a finding.
fn plain(name: &str) -> String {
    let safe = |character: char| match character {
        ';' => '?',
        character if character.is_control() => '?',
        character => character,
    };
    name.chars().take(LONGEST_NAME).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{hooks, judged};

    fn chain(table: &str, name: &str, hook: Option<(&str, &str)>) -> Value {
        let mut chain = json!({"family": "ip", "table": table, "name": name});
        if let Some((kind, hook)) = hook {
            chain["type"] = json!(kind);
            chain["hook"] = json!(hook);
            chain["prio"] = json!(-100);
        }
        json!({"chain": chain})
    }

    fn rule(table: &str, chain: &str, statements: &Value) -> Value {
        json!({"rule": {"family": "ip", "table": table, "chain": chain, "expr": statements}})
    }

    /// One base chain with one statement.
    #[track_caller]
    fn check(statement: &Value, expected: Option<&str>) {
        let objects = [
            chain("t", "c", Some(("filter", "input"))),
            rule("t", "c", &json!([{"counter": null}, statement])),
        ];
        let found = hooks(&objects);
        let [hook] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(hook.name, "ip t c (filter at input, priority -100)");
        let judged = judged(hook).err();
        let told = judged
            .as_deref()
            .and_then(|told| told.split_once("rules: "));
        assert_eq!(told.map(|(_, does)| does), expected);
    }

    #[test]
    fn what_only_takes_away_holds() {
        check(&json!({"drop": null}), None);
        check(&json!({"accept": null}), None);
        check(&json!({"reject": {"type": "tcp reset"}}), None);
        check(&json!({"xt": {"type": "match", "name": "comment"}}), None);
        check(&json!({"xt": {"type": "target", "name": "LOG"}}), None);
    }

    #[test]
    fn what_may_lead_round_our_rules_is_named() {
        check(&json!({"dnat": {"addr": "192.168.1.2"}}), Some("dnat"));
        check(&json!({"masquerade": null}), Some("masquerade"));
        check(&json!({"notrack": null}), Some("notrack"));
        check(&json!({"fwd": {"dev": "eth1"}}), Some("fwd"));
        check(
            &json!({"flow": {"op": "add", "flowtable": "@f"}}),
            Some("flow"),
        );
        check(
            &json!({"xt": {"type": "target", "name": "DNAT"}}),
            Some("DNAT"),
        );
        check(
            &json!({"xt": null}),
            Some("an extension that nft does not show"),
        );
        check(&json!({"to\u{1b}morrow": null}), Some("to?morrow"));
        check(&json!("?"), Some("a statement without a name"));
    }

    #[test]
    fn jumps_are_followed_within_the_table_alone() {
        let base = |jump: Value| {
            [
                chain("t", "c", Some(("nat", "output"))),
                rule("t", "c", &json!([jump])),
                chain("t", "behind", None),
                rule("t", "behind", &json!([{"goto": {"target": "last"}}])),
                chain("t", "last", None),
                rule(
                    "t",
                    "last",
                    &json!([{"snat": {"addr": "192.0.2.1"}}, {"jump": {"target": "c"}}]),
                ),
                chain("other", "behind", None),
                rule("other", "behind", &json!([{"dnat": null}])),
            ]
        };
        for (jump, expected) in [
            (json!({"jump": {"target": "behind"}}), "snat"),
            (json!({"vmap": {"data": "@map"}}), "snat"),
            (
                json!({"vmap": {"data": {"set": [[22, {"jump": {"target": "last"}}]]}}}),
                "snat",
            ),
            (
                json!({"vmap": {"data": {"set": [[22, {"drop": null}]]}}}),
                "",
            ),
            (json!({"jump": {"target": "nowhere"}}), ""),
        ] {
            let found = hooks(&base(jump.clone()));
            assert_eq!(found.len(), 1, "{jump}");
            let does: Vec<&String> = found.iter().flat_map(|hook| &hook.does).collect();
            assert_eq!(
                does.into_iter().cloned().collect::<String>(),
                expected,
                "{jump}"
            );
        }
    }

    #[test]
    fn our_own_table_is_left_to_the_comparison_and_a_namesake_is_not() {
        let of = |family: &str| {
            let mut object = chain("shelly_bastion", "input", Some(("filter", "input")));
            object["chain"]["family"] = json!(family);
            hooks(&[object]).len()
        };
        assert_eq!((of("inet"), of("ip")), (0, 1));
    }
}
