//! Compares what is on the machine with what was applied: files, firewall, units and how far they
//! are shut in, packages, listeners, accounts; tries what must be refused; lists what others have
//! put into the way of packets; and asks whether the journal is written.
//!
//! It changes nothing that a packet or a program could notice. A check that cannot be made is
//! named as such; a report without one check that was made is no pass.

mod accounts;
mod foreign;
mod listeners;
pub(crate) mod mqtt;
pub(crate) mod network;
mod probes;
mod sandbox;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value;
use site::answer::Report;
use site::daemon::{REPORT_PATH, SETTINGS_PATH};
use site::flow::Policy;
use site::manifest::{FLOWS_PATH, FileEntry, Manifest, RULESET_PATH, TABLE};

use crate::apply::{applied, attributes};
use crate::bundle::{mode, parse_manifest, sha256};
use crate::daemon::{read, shown};
use crate::host::{Host, read_if_present, read_text};
use crate::{firewall, packages, say, units, watch};

const LISTENERS: &str = "listeners";
/// As in a container: nobody looks after them there.
const NO_SYSTEMD: &str = "this machine is not run by systemd";

/// Verifies this machine and prints the report; with `tell`, keeps the verdict and tells readers
/// of a change.
///
/// # Errors
/// When the report cannot be printed, or the verdict not be kept.
pub fn run(host: &Host, json: bool, tell: bool) -> Result<ExitCode> {
    let report = {
        let _alone = host.lock()?;
        let report = report(host);
        if tell {
            watch::keep(host, &report)?;
        }
        report
    };
    if json {
        say::json(&report)?;
    } else {
        say::line(report.to_string().trim_end());
    }
    Ok(ExitCode::from(report.exit_code()))
}

/// Makes every check and collects one report. The lock must be held.
#[must_use]
pub(crate) fn report(host: &Host) -> Report {
    report_after(host, Compared::Nothing)
}

/// What a plan has compared with what is in place, with the lock held since, and found to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Compared {
    /// Nothing.
    Nothing,
    /// The loaded rules.
    Rules,
    /// Rules, files, units and packages: the plan was empty.
    Everything,
}

/// Makes every check, and takes from a plan what that has compared. The lock must be held.
#[must_use]
pub(crate) fn report_after(host: &Host, compared: Compared) -> Report {
    let everything = compared == Compared::Everything;
    let manifest = applied(host).and_then(|text| {
        parse_manifest(&text.context("no folder was applied to the end; run `bastion apply DIR`")?)
    });
    let mut report = Report::default();
    match &manifest {
        Err(error) => report.add("files", Err(format!("{error:#}"))),
        Ok(manifest) => {
            for entry in &manifest.files {
                let finding = unless(everything, || file(host, entry));
                report.add(&format!("file {}", entry.path), finding);
            }
        }
    }
    let finding = unless(compared >= Compared::Rules, || ruleset(host));
    report.add("firewall", finding);
    report.add("flows", flows(host));
    foreign::add(host, &mut report);
    let nothing = || "there is no manifest to compare with".to_owned();
    match &manifest {
        _ if !host.has_systemd() => {
            for subject in ["units", "packages"] {
                report.skip(subject, NO_SYSTEMD);
            }
        }
        Err(_) => report.add("units", Err(nothing())),
        Ok(manifest) => {
            add_units(host, manifest, everything, &mut report);
            let finding = unless(everything, || lacking(host, manifest));
            report.add("packages", finding);
        }
    }
    match &manifest {
        Err(_) => report.add("accounts", Err(nothing())),
        Ok(Manifest { accounts, .. }) => report.add("accounts", accounts::listed(host, accounts)),
    }
    host.system().ask_network(host, &mut report);
    if let Ok(manifest) = &manifest
        && manifest.files.iter().any(|file| file.path == SETTINGS_PATH)
    {
        report.add("journal", journal(host));
    }
    report
}

/// Whether a part of a finding is about something that the bastion did not bring.
pub(crate) fn is_foreign(subject: &str, part: &str) -> bool {
    foreign::is_about(subject) || subject == LISTENERS && listeners::is_foreign(part)
}

/// What is wrong, or nothing.
type Finding = Result<Option<String>>;

/// Compares, unless that was done and nothing was found.
fn unless(compared: bool, compare: impl FnOnce() -> Finding) -> Finding {
    if compared { Ok(None) } else { compare() }
}

fn file(host: &Host, entry: &FileEntry) -> Finding {
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
    let found = firewall::differences(host, &ruleset)?;
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
        .filter_map(|command| command.get("add")?.get("rule"))
        .filter(|rule| rule.get("table").and_then(Value::as_str) == Some(TABLE))
        .filter_map(|rule| rule.get("comment")?.as_str())
        .collect();
    let listed: Vec<&str> = policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    Ok((rendered != listed)
        .then(|| "the flow list and the ruleset name different rules".to_owned()))
}

/// By the daemon's own report: whether it hears the broker and writes.
fn journal(host: &Host) -> Finding {
    let report = read::report(&host.path(REPORT_PATH))?;
    Ok(read::fault(report.as_ref(), shown::now_s()))
}

/// Whether they run or are off as they shall, and how far those that run are shut in.
fn add_units(host: &Host, manifest: &Manifest, compared: bool, report: &mut Report) {
    let names: Vec<&str> = manifest
        .units
        .iter()
        .map(|unit| unit.name.as_str())
        .collect();
    let faults: Result<Vec<Option<String>>> = if compared {
        Ok(vec![None; names.len()])
    } else {
        units::look(host, &names).map(|found| {
            let pairs = manifest.units.iter().zip(&found);
            pairs.map(|(entry, unit)| unit.fault(entry.state)).collect()
        })
    };
    match faults {
        Err(error) => report.add("units", Err(format!("{error:#}"))),
        Ok(faults) => {
            for (name, fault) in names.iter().zip(faults) {
                report.add(&format!("unit {name}"), Ok::<_, String>(fault));
            }
        }
    }
    sandbox::add(host, manifest, report);
}

fn lacking(host: &Host, manifest: &Manifest) -> Finding {
    let lacking = packages::lacking(host, manifest)?;
    Ok((!lacking.is_empty()).then(|| format!("lacking: {}", packages::words(&lacking))))
}
