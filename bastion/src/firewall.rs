//! The project's own table in the kernel: loading it in one transaction, and reading it back.
//!
//! What nft prints is never the text that was loaded: sets are sorted, ranges merged, words
//! changed, and differently in each version. So the rendered rules are loaded a second time,
//! as a reference: a table without hooks, which sees no packet. Both are printed by the same
//! nft and can then be compared to the letter. Other tables are never touched.

mod compare;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use site::manifest::TABLE;

use crate::host::Host;
use crate::system::Call;

pub use compare::{ChainState, compare};

use compare::{HOOKED, chains, compare_sets, flags, hooked};

const REFERENCE: &str = "shelly_bastion_reference";

/// Makes sure that a ruleset speaks of nothing but our own table, asks the kernel whether it
/// would take it, and changes nothing.
///
/// # Errors
/// When it speaks of anything else, nft refuses it, or cannot be run.
pub fn check(host: &Host, ruleset: &Value) -> Result<()> {
    reference(ruleset)?;
    nft(host, &["-c", "-j", "-f", "-"], Some(ruleset))
        .map(drop)
        .context("checking the ruleset with nftables")
}

/// Loads a ruleset in one transaction: all of it, or nothing.
///
/// # Errors
/// When nft refuses it or cannot be run.
pub fn load(host: &Host, ruleset: &Value) -> Result<()> {
    nft(host, &["-j", "-f", "-"], Some(ruleset))
        .map(drop)
        .context("loading the ruleset into nftables")
}

/// Every difference between the loaded table and a rendered ruleset, in words; none when equal.
///
/// # Errors
/// When nft cannot be run or does not answer in the expected form.
pub fn differences(host: &Host, ruleset: &Value) -> Result<Vec<String>> {
    let Some(loaded) = list(host, TABLE)? else {
        return Ok(vec![format!("table inet {TABLE} is not loaded")]);
    };
    load(host, &reference(ruleset)?)?;
    let reference = list(host, REFERENCE);
    nft(host, &["delete", "table", "inet", REFERENCE], None)
        .context("removing the reference table")?;
    let reference = reference?.context("nft does not show the reference table")?;
    let mut expected = chains(&reference);
    for chain in &mut expected {
        chain.hooked = rendered_hooks(ruleset, &chain.name);
    }
    let mut found = compare(&expected, &chains(&loaded));
    found.extend(compare_sets(&reference, &loaded));
    found.extend(flags(&loaded));
    Ok(found)
}

/// Removes the reference that a run left which was ended while it compared. It filters nothing.
///
/// # Errors
/// When nft cannot be run.
pub(crate) fn remove_reference(host: &Host) -> Result<()> {
    if list(host, REFERENCE)?.is_some() {
        nft(host, &["delete", "table", "inet", REFERENCE], None)
            .context("removing the reference table")?;
    }
    Ok(())
}

/// Commands that bring the loaded table back as it is now; none when it is not loaded. What a
/// set learnt while it ran is left out: it would be out of date.
///
/// # Errors
/// When nft cannot be run, or would not take the commands.
pub fn restorable(host: &Host) -> Result<Option<Value>> {
    let Some(listing) = list(host, TABLE)? else {
        return Ok(None);
    };
    let commands = restoring(&listing);
    check(host, &commands).context("asking nftables whether it would take its own table again")?;
    Ok(Some(commands))
}

/// Whether our table is loaded.
///
/// # Errors
/// When nft cannot be run.
pub fn is_loaded(host: &Host) -> Result<bool> {
    list(host, TABLE).map(|listing| listing.is_some())
}

/// Takes our table away, if it is there: nothing of ours filters any more.
///
/// # Errors
/// When nft refuses it or cannot be run.
pub fn unload(host: &Host) -> Result<()> {
    let table = json!({"table": {"family": "inet", "name": TABLE}});
    load(
        host,
        &json!({"nftables": [{"add": table}, {"delete": table}]}),
    )
}

/// The users that a ruleset names. nft takes no ruleset with a user that the machine does not know.
#[must_use]
pub fn users(ruleset: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![ruleset];
    while let Some(value) = open.pop() {
        let of_user = value.pointer("/left/meta/key").and_then(Value::as_str) == Some("skuid");
        if let (true, Some(right)) = (of_user, value.get("right")) {
            let listed = right.get("set").unwrap_or(right);
            let names = listed
                .as_array()
                .map_or(std::slice::from_ref(listed), |all| all);
            found.extend(
                names
                    .iter()
                    .filter_map(|name| Some(name.as_str()?.to_owned())),
            );
        }
        match value {
            Value::Array(values) => open.extend(values),
            Value::Object(values) => open.extend(values.values()),
            _ => {}
        }
    }
    found
}

fn restoring(listing: &Value) -> Value {
    let table = json!({"table": {"family": "inet", "name": TABLE}});
    let mut commands = vec![
        json!({"add": table}),
        json!({"delete": table}),
        json!({"add": table}),
    ];
    let objects: Vec<&Value> = listing
        .get("nftables")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    // Rules name chains and sets, so those come first.
    let is_of = |kind: &str, group: usize| match kind {
        "metainfo" | "table" => false,
        "chain" => group == 1,
        "rule" => group == 2,
        _ => group == 0,
    };
    for group in 0..3 {
        for object in objects.iter().filter_map(|object| object.as_object()) {
            for (kind, object) in object.iter().filter(|(kind, _)| is_of(kind, group)) {
                let mut object = object.clone();
                if let Some(fields) = object.as_object_mut() {
                    fields.remove("handle");
                    if compare::learns(fields) {
                        fields.remove("elem");
                    }
                }
                commands.push(json!({"add": {kind: object}}));
            }
        }
    }
    json!({"nftables": commands})
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

/// A table of family `inet` as nft lists it; none when there is none.
pub(crate) fn list(host: &Host, table: &str) -> Result<Option<Value>> {
    let tables = nft(host, &["-j", "list", "tables"], None).context("listing nftables' tables")?;
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
    let listing = nft(host, &["-j", "list", "table", "inet", table], None)
        .with_context(|| format!("listing table {table}"))?;
    serde_json::from_str(&listing)
        .map(Some)
        .with_context(|| format!("reading nftables' listing of {table}"))
}

fn nft(host: &Host, arguments: &[&str], input: Option<&Value>) -> Result<String> {
    let call = Call {
        input: input.map(Value::to_string),
        ..Call::new("nft", arguments)
    };
    host.system()
        .run(&call)
        .context("running nft, of the package nftables")?
        .success(&call)
}

#[cfg(test)]
mod tests;
