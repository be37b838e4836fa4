//! The project's own tables in the kernel: loading them in one transaction, and reading them back.
//!
//! There are three. The early one is in force before the network, and until the whole policy is
//! loaded; the whole one takes its place in the same transaction, so one that does not load
//! leaves the early one where it is. The third holds frames of the device that the policy has not
//! passed, known by a mark that is drawn anew whenever the policy is loaded.
//!
//! What nft prints is never the text that was loaded: sets are sorted, ranges merged, words
//! changed, and differently in each version. So the rendered rules are loaded a second time,
//! as a reference: a table without hooks, which sees no packet. Both are printed by the same
//! nft and can then be compared to the letter. Other tables are never touched.

mod compare;
mod listing;
mod run;
mod tables;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use site::manifest::RENDERED_MARK;
use tracing::warn;

use crate::host::Host;
use crate::system::Call;

pub use compare::{ChainState, compare};
pub(crate) use listing::listing;
pub use run::run;
pub(crate) use tables::{EARLY, EGRESS, OURS, Table, WHOLE, makes};

pub(crate) use compare::objects;
use compare::{chains, compare_sets, flags};
use listing::{Tables, listed_device};
use tables::Transaction;

/// Makes sure that a ruleset speaks of nothing but our own tables, asks the kernel whether it
/// would take it, and changes nothing.
///
/// # Errors
/// When it speaks of anything else, nft refuses it, or cannot be run.
pub fn check(host: &Host, ruleset: &Value) -> Result<()> {
    tables::ensure_ours(ruleset)?;
    let transaction = Transaction {
        mark: RENDERED_MARK,
        with_egress: device_is_there(host, ruleset),
        egress_is_there: Tables::of(host)?.have(EGRESS),
    };
    let commands = transaction.of(ruleset)?;
    nft(host, &["-c", "-j", "-f", "-"], Some(&commands))
        .map(drop)
        .context("checking the ruleset with nftables")
}

/// Puts a ruleset in place of whatever our tables hold, in one transaction: all of it, or nothing.
///
/// The one exception is the device's table: where nft takes the rest alone, the rest is loaded,
/// since the device may be gone at any moment. Reading back then finds it missing.
///
/// # Errors
/// When nft refuses it or cannot be run.
pub fn load(host: &Host, ruleset: &Value) -> Result<()> {
    // The device's table must carry the policy's mark, whoever loads it at the same time.
    let _alone = host.lock_firewall()?;
    let mut transaction = Transaction {
        mark: draw_mark()?,
        with_egress: device_is_there(host, ruleset),
        egress_is_there: Tables::of(host)?.have(EGRESS),
    };
    if transaction.with_egress {
        match change(host, &transaction.of(ruleset)?) {
            Ok(()) => return Ok(()),
            Err(error) => warn!("without the device's table, since nft refuses: {error:#}"),
        }
        transaction.with_egress = false;
    }
    change(host, &transaction.of(ruleset)?)
}

/// Loads the table of the device, which has appeared, for the policy that is loaded.
///
/// # Errors
/// When no policy is loaded, nft refuses, or cannot be run.
pub fn load_device(host: &Host, ruleset: &Value) -> Result<()> {
    let _alone = host.lock_firewall()?;
    ensure!(is_loaded(host)?, "the policy is not loaded");
    let loaded = listing(host, WHOLE)?;
    let mark = tables::mark(&loaded).context("the loaded policy marks nothing")?;
    change(host, &tables::egress_alone(ruleset, mark)?)
}

/// Gives nft commands as they are, in one transaction.
///
/// # Errors
/// When nft refuses them or cannot be run.
pub(crate) fn change(host: &Host, commands: &Value) -> Result<()> {
    nft(host, &["-j", "-f", "-"], Some(commands))
        .map(drop)
        .context("loading the ruleset into nftables")
}

/// A mark that nobody can know. It is no secret from whoever may list the rules.
fn draw_mark() -> Result<u32> {
    loop {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).context("drawing the mark of what the policy passes")?;
        let mark = u32::from_ne_bytes(bytes);
        if ![0, RENDERED_MARK].contains(&mark) {
            return Ok(mark);
        }
    }
}

fn device_is_there(host: &Host, ruleset: &Value) -> bool {
    tables::device(ruleset).is_some_and(|device| host.path("/sys/class/net").join(device).exists())
}

/// Every difference between the loaded tables and a rendered ruleset, in words; none when equal.
///
/// # Errors
/// When nft cannot be run or does not answer in the expected form.
pub fn differences(host: &Host, ruleset: &Value) -> Result<Vec<String>> {
    let found = of_loaded(host, ruleset)?;
    Ok(found.unwrap_or_else(|| vec![not_loaded()]))
}

pub(crate) fn not_loaded() -> String {
    format!("table inet {} is not loaded", WHOLE.name)
}

/// The same, and nothing at all when the policy is not loaded.
pub(crate) fn of_loaded(host: &Host, ruleset: &Value) -> Result<Option<Vec<String>>> {
    let there = Tables::of(host)?;
    if !there.have(WHOLE) {
        return Ok(None);
    }
    let loaded = listing(host, WHOLE)?;
    let mark = tables::mark(&loaded).unwrap_or(RENDERED_MARK);
    let mut found = Vec::new();
    if mark == RENDERED_MARK && tables::marks(ruleset) {
        found.push(
            "the mark of what the policy passes is the rendered one, and no secret".to_owned(),
        );
    }
    if there.have(EARLY) {
        found.push(format!(
            "table inet {} is loaded beside it, and refuses more than the policy",
            EARLY.name
        ));
    }
    let mut both = vec![(WHOLE, loaded)];
    match (tables::device(ruleset), there.have(EGRESS)) {
        (None, false) => {}
        (None, true) => found.push(format!("table netdev {} is not ours", EGRESS.name)),
        // Where there is no device, nothing leaves by it.
        (Some(_), _) if !device_is_there(host, ruleset) => {}
        (Some(device), false) => found.push(format!(
            "table netdev {} of {device} is not loaded",
            EGRESS.name
        )),
        (Some(device), true) => {
            both.push((EGRESS, listing(host, EGRESS)?));
            if listed_device(host)?.as_deref() != Some(device.as_str()) {
                found.push(format!("chain egress holds another device than {device}"));
            }
        }
    }
    let mut differ = of_tables(host, ruleset, &both, mark)?;
    differ.append(&mut found);
    Ok(Some(differ))
}

/// Differences of tables as they are listed. Each start of nft costs a small machine a tenth of a
/// second, so all references come and go in one transaction.
fn of_tables(
    host: &Host,
    ruleset: &Value,
    loaded: &[(Table, Value)],
    mark: u32,
) -> Result<Vec<String>> {
    let tables: Vec<Table> = loaded.iter().map(|(table, _)| *table).collect();
    change(host, &tables::references(ruleset, &tables, mark)?)?;
    let references = tables.iter().map(|table| table.reference());
    let listed: Result<Vec<Value>> = references
        .clone()
        .map(|reference| listing(host, reference))
        .collect();
    let away: Vec<Value> = references.flat_map(Table::removal).collect();
    change(host, &json!({"nftables": away})).context("removing what was compared with")?;
    let mut found = Vec::new();
    for ((table, loaded), reference) in loaded.iter().zip(&listed?) {
        let mut expected = chains(reference);
        for chain in &mut expected {
            chain.hooked = tables::rendered_hooks(ruleset, *table, &chain.name);
        }
        found.extend(compare(&expected, &chains(loaded)));
        found.extend(compare_sets(reference, loaded));
        found.extend(flags(loaded));
    }
    Ok(found)
}

/// Takes away those of the tables that are there.
fn remove(host: &Host, tables: &[Table]) -> Result<()> {
    let there = Tables::of(host)?;
    let there = tables.iter().filter(|table| there.have(**table));
    let commands: Vec<Value> = there.flat_map(|table| table.removal()).collect();
    if commands.is_empty() {
        return Ok(());
    }
    change(host, &json!({"nftables": commands}))
}

/// Removes the references that a run left which was ended while it compared. They filter nothing.
///
/// # Errors
/// When nft cannot be run.
pub(crate) fn remove_reference(host: &Host) -> Result<()> {
    remove(host, &[WHOLE.reference(), EGRESS.reference()])
}

/// A ruleset that brings our tables back as they are now; none when none is loaded.
///
/// # Errors
/// When nft cannot be run, or would not take the commands.
pub fn restorable(host: &Host) -> Result<Option<Value>> {
    let there = Tables::of(host)?;
    let mut commands = Vec::new();
    for table in OURS.into_iter().filter(|table| there.have(*table)) {
        let device = if table == EGRESS {
            listed_device(host)?
        } else {
            None
        };
        let listed = listing(host, table)?;
        commands.extend(tables::restoring(&listed, device.as_deref()));
    }
    if commands.is_empty() {
        return Ok(None);
    }
    let commands = json!({"nftables": commands});
    check(host, &commands).context("asking nftables whether it would take its own table again")?;
    Ok(Some(commands))
}

/// Whether the whole policy is loaded.
///
/// # Errors
/// When nft cannot be run.
pub fn is_loaded(host: &Host) -> Result<bool> {
    Ok(Tables::of(host)?.have(WHOLE))
}

/// The table that says who is let in, the whole one or the early one, as nft lists it; none when
/// nothing of ours filters.
///
/// # Errors
/// When nft cannot be run.
pub(crate) fn in_force(host: &Host) -> Result<Option<(Table, Value)>> {
    let there = Tables::of(host)?;
    let table = [WHOLE, EARLY].into_iter().find(|table| there.have(*table));
    table
        .map(|table| Ok((table, listing(host, table)?)))
        .transpose()
}

/// Takes our tables away, as far as they are there: nothing of ours filters any more.
///
/// # Errors
/// When nft refuses it or cannot be run.
pub fn unload(host: &Host) -> Result<()> {
    let _alone = host.lock_firewall()?;
    remove(host, &OURS)
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
