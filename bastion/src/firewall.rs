//! The project's own table in the kernel: loading it in one transaction, and reading it back.
//!
//! What nft prints is never the text that was loaded: sets are sorted, ranges merged, words
//! changed, and differently in each version. So the rendered rules are loaded a second time,
//! as a reference: a table without hooks, which sees no packet. Both are printed by the same
//! nft and can then be compared to the letter. Other tables are never touched.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use site::manifest::TABLE;

const REFERENCE: &str = "shelly_bastion_reference";
/// What makes a chain see packets.
const HOOKED: [&str; 4] = ["type", "hook", "prio", "policy"];

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

/// Makes sure that a ruleset speaks of nothing but our own table, asks the kernel whether it
/// would take it, and changes nothing.
///
/// # Errors
/// When it speaks of anything else, nft refuses it, or cannot be run.
pub fn check(ruleset: &Value) -> Result<()> {
    reference(ruleset)?;
    nft(&["-c", "-j", "-f", "-"], Some(ruleset))
        .map(drop)
        .context("checking the ruleset with nftables")
}

/// Loads a ruleset in one transaction: all of it, or nothing.
///
/// # Errors
/// When nft refuses it or cannot be run.
pub fn load(ruleset: &Value) -> Result<()> {
    nft(&["-j", "-f", "-"], Some(ruleset))
        .map(drop)
        .context("loading the ruleset into nftables")
}

/// Every difference between the loaded table and a rendered ruleset, in words; none when equal.
///
/// # Errors
/// When nft cannot be run or does not answer in the expected form.
pub fn differences(ruleset: &Value) -> Result<Vec<String>> {
    let Some(loaded) = list(TABLE)? else {
        return Ok(vec![format!("table inet {TABLE} is not loaded")]);
    };
    load(&reference(ruleset)?)?;
    let reference = list(REFERENCE);
    nft(&["delete", "table", "inet", REFERENCE], None).context("removing the reference table")?;
    let mut expected = chains(&reference?.context("nft does not show the reference table")?);
    for chain in &mut expected {
        chain.hooked = rendered_hooks(ruleset, &chain.name);
    }
    let mut found = compare(&expected, &chains(&loaded));
    found.extend(flags(&loaded));
    Ok(found)
}

/// A table can be put to sleep by a flag, with every rule in its place. Ours has no flag.
fn flags(listing: &Value) -> Option<String> {
    let objects = listing.get("nftables").and_then(Value::as_array);
    let flags = objects
        .into_iter()
        .flatten()
        .find_map(|object| object.get("table")?.get("flags"))?;
    Some(format!("table inet {TABLE} carries the flags {flags}"))
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

/// The rendered commands, aimed at a table that sees no packet.
fn reference(ruleset: &Value) -> Result<Value> {
    let mut commands = ruleset.clone();
    let list = commands.get_mut("nftables").and_then(Value::as_array_mut);
    for command in list.context("the ruleset has no list `nftables`")? {
        let object = command
            .as_object_mut()
            .and_then(|command| command.values_mut().next())
            .and_then(Value::as_object_mut)
            .and_then(|object| object.iter_mut().next());
        let Some((kind, Value::Object(object))) = object else {
            bail!("the ruleset holds a command that this program does not know");
        };
        let table = if kind == "table" { "name" } else { "table" };
        ensure!(
            object.get(table).and_then(Value::as_str) == Some(TABLE),
            "the ruleset speaks of another table than {TABLE}"
        );
        object.insert(table.to_owned(), json!(REFERENCE));
        if kind == "chain" {
            HOOKED.iter().for_each(|key| drop(object.remove(*key)));
        }
    }
    Ok(commands)
}

fn rendered_hooks(ruleset: &Value, chain: &str) -> Vec<Value> {
    let commands = ruleset
        .get("nftables")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    commands
        .filter_map(|command| command.get("add")?.get("chain"))
        .find(|object| object.get("name").and_then(Value::as_str) == Some(chain))
        .map(hooked)
        .unwrap_or_default()
}

fn hooked(chain: &Value) -> Vec<Value> {
    HOOKED
        .iter()
        .map(|key| chain.get(*key).cloned().unwrap_or_default())
        .collect()
}

/// The chains of a listing. Handles, counters and the program's version change by themselves.
fn chains(listing: &Value) -> Vec<ChainState> {
    let objects: Vec<&Value> = listing
        .get("nftables")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
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

fn list(table: &str) -> Result<Option<Value>> {
    let tables = nft(&["-j", "list", "tables"], None).context("listing nftables' tables")?;
    let tables: Value =
        serde_json::from_str(&tables).context("reading nftables' list of tables")?;
    let there = tables
        .get("nftables")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|object| {
            let object = object.get("table");
            let is = |key: &str, value: &str| {
                object.and_then(|table| table.get(key)?.as_str()) == Some(value)
            };
            is("family", "inet") && is("name", table)
        });
    if !there {
        return Ok(None);
    }
    let listing = nft(&["-j", "list", "table", "inet", table], None)
        .with_context(|| format!("listing table {table}"))?;
    serde_json::from_str(&listing)
        .map(Some)
        .with_context(|| format!("reading nftables' listing of {table}"))
}

fn nft(arguments: &[&str], input: Option<&Value>) -> Result<String> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting nft; install the package nftables")?;
    let handed = match (input, child.stdin.take()) {
        // nft reads all of its input before it answers, so this cannot block for ever.
        (Some(input), Some(mut stdin)) => stdin.write_all(input.to_string().as_bytes()),
        _ => Ok(()),
    };
    let output = child.wait_with_output().context("waiting for nft")?;
    if !output.status.success() {
        bail!(
            "nft {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    // When nft ended early, its own words above say more than a broken pipe.
    handed.context("handing the ruleset to nft")?;
    String::from_utf8(output.stdout).context("nft answered in something that is not text")
}

#[cfg(test)]
mod tests;
