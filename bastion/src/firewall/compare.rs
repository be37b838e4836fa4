//! Two listings of a table, compared in words: chains, rules, sets.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What makes a chain see packets.
pub(super) const HOOKED: [&str; 4] = ["type", "hook", "prio", "policy"];

/// A chain and its rules, as nft prints them, without what changes by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainState {
    /// Name of the chain.
    pub name: String,
    /// Type, hook, priority and policy, in the order of [`HOOKED`].
    pub hooked: Vec<Value>,
    /// Name (the comment) and normalised expressions of each rule.
    pub rules: Vec<(String, Value)>,
}

/// Compares chain by chain and rule by rule: what is missing, too much, moved or changed.
#[must_use]
pub fn compare(expected: &[ChainState], loaded: &[ChainState]) -> Vec<String> {
    let mut found = Vec::new();
    for chain in expected {
        let Some(there) = loaded.iter().find(|there| there.name == chain.name) else {
            found.push(format!("chain {} is missing", chain.name));
            continue;
        };
        if there.hooked != chain.hooked {
            let print = |values: &[Value]| {
                values
                    .iter()
                    .map(Value::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            found.push(format!(
                "chain {} is {}, expected {}",
                chain.name,
                print(&there.hooked),
                print(&chain.hooked)
            ));
        }
        compare_rules(chain, there, &mut found);
    }
    for chain in loaded {
        if !expected.iter().any(|known| known.name == chain.name) {
            found.push(format!("chain {} is not ours", chain.name));
        }
    }
    found
}

fn compare_rules(expected: &ChainState, loaded: &ChainState, found: &mut Vec<String>) {
    let before = found.len();
    for (name, expression) in &expected.rules {
        let same: Vec<_> = loaded
            .rules
            .iter()
            .filter(|(there, _)| there == name)
            .collect();
        match same.as_slice() {
            [] => found.push(format!(
                "rule {name} is missing from chain {}",
                expected.name
            )),
            [(_, there)] if there != expression => found.push(format!("rule {name} was changed")),
            [_] => {}
            _ => found.push(format!("rule {name} is there {} times", same.len())),
        }
    }
    for (name, _) in &loaded.rules {
        if !expected.rules.iter().any(|(known, _)| known == name) {
            let name = if name.is_empty() {
                "without a name"
            } else {
                name
            };
            found.push(format!(
                "rule {name} in chain {} is not ours",
                expected.name
            ));
        }
    }
    if found.len() == before && expected.rules != loaded.rules {
        found.push(format!(
            "the rules of chain {} stand in another order",
            expected.name
        ));
    }
}

pub(super) fn hooked(chain: &Value) -> Vec<Value> {
    HOOKED
        .iter()
        .map(|key| chain.get(*key).cloned().unwrap_or_default())
        .collect()
}

/// The objects of a listing, or the commands of a ruleset.
pub(crate) fn objects(listing: &Value) -> impl Iterator<Item = &Value> {
    let list = listing.get("nftables").and_then(Value::as_array);
    list.into_iter().flatten()
}

/// The chains of a listing. Handles, counters and the program's version change by themselves.
pub(super) fn chains(listing: &Value) -> Vec<ChainState> {
    let objects: Vec<&Value> = objects(listing).collect();
    let text = |object: &Value, key: &str| {
        object
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let rules = |chain: &str| {
        objects
            .iter()
            .filter_map(|object| object.get("rule"))
            .filter(|rule| text(rule, "chain") == chain)
            .map(|rule| (text(rule, "comment"), without_counts(rule.get("expr"))))
            .collect()
    };
    objects
        .iter()
        .filter_map(|object| object.get("chain"))
        .map(|chain| {
            let name = text(chain, "name");
            ChainState {
                rules: rules(&name),
                hooked: hooked(chain),
                name,
            }
        })
        .collect()
}

fn without_counts(expression: Option<&Value>) -> Value {
    let mut expression = expression.cloned().unwrap_or_default();
    for statement in expression.as_array_mut().into_iter().flatten() {
        if let Some(counter) = statement.get_mut("counter") {
            *counter = Value::Null;
        }
    }
    expression
}

/// A table can be put to sleep by a flag, with every rule in its place. Ours have no flag.
pub(super) fn flags(listing: &Value) -> Option<String> {
    let objects = listing.get("nftables").and_then(Value::as_array);
    let table = objects
        .into_iter()
        .flatten()
        .find_map(|object| object.get("table"))?;
    let flags = table.get("flags")?;
    let name = table.get("name").and_then(Value::as_str)?;
    Some(format!("table {name} carries the flags {flags}"))
}

/// Compares the sets that have a name. What a set learns while it runs makes no difference.
pub(super) fn compare_sets(expected: &Value, loaded: &Value) -> Vec<String> {
    let (expected, loaded) = (sets(expected), sets(loaded));
    let mut found = Vec::new();
    for (name, set) in &expected {
        match loaded.get(name) {
            None => found.push(format!("set {name} is missing")),
            Some(there) if there != set => found.push(format!("set {name} was changed")),
            Some(_) => {}
        }
    }
    let foreign = loaded.keys().filter(|name| !expected.contains_key(*name));
    found.extend(foreign.map(|name| format!("set {name} is not ours")));
    found
}

/// Whether elements come and go in a set by themselves.
pub(super) fn learns(set: &Map<String, Value>) -> bool {
    let flags = set.get("flags").and_then(Value::as_array);
    flags
        .into_iter()
        .flatten()
        .any(|flag| flag == "timeout" || flag == "dynamic")
}

fn sets(listing: &Value) -> BTreeMap<String, Map<String, Value>> {
    let objects = listing.get("nftables").and_then(Value::as_array);
    let named = objects.into_iter().flatten().filter_map(|object| {
        let object = object.get("set").or_else(|| object.get("map"))?;
        let mut set = object.as_object()?.clone();
        let name = set.get("name")?.as_str()?.to_owned();
        for changing in ["handle", "table"] {
            set.remove(changing);
        }
        if learns(&set) {
            set.remove("elem");
        }
        Some((name, set))
    });
    named.collect()
}
