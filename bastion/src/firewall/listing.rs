//! What nft says is loaded: which tables there are, and what stands in ours. Each question is a
//! program to start, so whether tables are there is asked once for all of them.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::compare::objects;
use super::nft;
use super::tables::{EGRESS, Table, device_in_words};
use crate::host::Host;

/// The tables that are loaded, ours and others.
pub(super) struct Tables(Value);

impl Tables {
    pub(super) fn of(host: &Host) -> Result<Tables> {
        let tables =
            nft(host, &["-j", "list", "tables"], None).context("listing nftables' tables")?;
        let tables = serde_json::from_str(&tables).context("reading nftables' list of tables")?;
        Ok(Tables(tables))
    }

    pub(super) fn have(&self, table: Table) -> bool {
        objects(&self.0).any(|object| {
            let object = object.get("table");
            let is = |key: &str, value: &str| {
                object.and_then(|table| table.get(key)?.as_str()) == Some(value)
            };
            is("family", table.family) && is("name", table.name)
        })
    }
}

/// A table that is there, as nft lists it.
pub(crate) fn listing(host: &Host, table: Table) -> Result<Value> {
    let words = ["-j", "list", "table", table.family, table.name];
    let said = nft(host, &words, None).with_context(|| format!("listing table {}", table.name))?;
    serde_json::from_str(&said)
        .with_context(|| format!("reading nftables' listing of {}", table.name))
}

/// The device of which the egress table holds frames, as nft says in words.
pub(super) fn listed_device(host: &Host) -> Result<Option<String>> {
    let words = nft(host, &["list", "table", EGRESS.family, EGRESS.name], None)
        .context("listing the device's table")?;
    Ok(device_in_words(&words).map(ToOwned::to_owned))
}
