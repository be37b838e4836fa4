//! Compares what is on the machine with what was applied: files, firewall, listeners, accounts.
//!
//! It changes nothing that a packet or a program could notice. A check that cannot be made is
//! named as such; a report without one check that was made is no pass.

mod accounts;
mod listeners;
mod report;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value;
use site::flow::Policy;
use site::manifest::{FLOWS_PATH, Manifest, RULESET_PATH};

pub use report::{Check, Report, Verdict};

use crate::apply::{applied, attributes};
use crate::bundle::{mode, parse_manifest, sha256};
use crate::firewall;
use crate::host::{Host, read_if_present, read_text};

/// Verifies this machine and prints the report.
///
/// # Errors
/// When the report cannot be printed.
pub fn run(host: &Host, json: bool) -> Result<ExitCode> {
    let report = verify(host);
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report).context("printing the report")?
        );
    } else {
        print!("{report}");
    }
    Ok(ExitCode::from(report.exit_code()))
}

/// Makes every check and collects one report.
#[must_use]
pub fn verify(host: &Host) -> Report {
    let manifest = applied(host).and_then(|text| {
        parse_manifest(&text.context("no folder was applied to the end; run `bastion apply DIR`")?)
    });
    let mut report = Report::default();
    match &manifest {
        Err(error) => report.add("files", Err(anyhow::anyhow!("{error:#}"))),
        Ok(manifest) => {
            for entry in &manifest.files {
                report.add(&format!("file {}", entry.path), file(host, entry));
            }
        }
    }
    report.add("firewall", host.lock().and_then(|_lock| ruleset(host)));
    report.add("flows", flows(host));
    report.add("listeners", listeners::check());
    match &manifest {
        Err(_) => report.add(
            "accounts",
            Err(anyhow::anyhow!("there is no manifest to compare with")),
        ),
        Ok(Manifest { accounts, .. }) => report.add("accounts", accounts::listed(host, accounts)),
    }
    report.add("anonymous login", accounts::anonymous_is_refused());
    report.add("health login", accounts::health_is_accepted(host));
    report
}

/// What is wrong, or nothing.
type Finding = Result<Option<String>>;

fn file(host: &Host, entry: &site::manifest::FileEntry) -> Finding {
    let path = host.path(&entry.path);
    let Some(content) = read_if_present(&path)? else {
        return Ok(Some("is missing".to_owned()));
    };
    if sha256(&content) != entry.sha256 {
        return Ok(Some("content differs from what was applied".to_owned()));
    }
    attributes(&path, mode(entry)?, host.owner(&entry.owner, &entry.group)?)
}

fn ruleset(host: &Host) -> Finding {
    let text = read_text(&host.path(RULESET_PATH))?;
    let ruleset: Value = serde_json::from_str(&text).context("reading the applied ruleset")?;
    let found = firewall::differences(&ruleset)?;
    Ok((!found.is_empty()).then(|| found.join("; ")))
}

/// The flow list and the ruleset file must name the same rules in the same order.
fn flows(host: &Host) -> Finding {
    let policy: Policy = serde_json::from_str(&read_text(&host.path(FLOWS_PATH))?)
        .context("reading the flow list")?;
    let ruleset = fs::read(host.path(RULESET_PATH)).context("reading the applied ruleset")?;
    let ruleset: Value = serde_json::from_slice(&ruleset).context("reading the applied ruleset")?;
    let commands = ruleset
        .get("nftables")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let rendered: Vec<&str> = commands
        .filter_map(|command| command.get("add")?.get("rule")?.get("comment")?.as_str())
        .collect();
    let listed: Vec<&str> = policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    Ok((rendered != listed)
        .then(|| "the flow list and the ruleset name different rules".to_owned()))
}
