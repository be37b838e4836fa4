//! What happened to the releases of this machine: one JSON document per line, oldest first.
//!
//! A line that a power cut tore is left out; it never keeps the rest from being read.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use site::answer::{Entry, Event};

use crate::durable;
use crate::host::{Host, read_if_present};
use crate::release;

const PATH: &str = "/var/lib/shelly-bastion/history.jsonl";
/// Older lines are forgotten when there are twice as many.
const KEPT: usize = 500;

/// Prints the history.
///
/// # Errors
/// When it cannot be read.
pub fn run(host: &Host, json: bool) -> Result<ExitCode> {
    let entries = read(host)?;
    if json {
        crate::say::json(&entries)?;
        return Ok(ExitCode::SUCCESS);
    }
    for entry in &entries {
        crate::say::line(&line(entry));
    }
    if entries.is_empty() {
        crate::say::line("nothing happened yet");
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for a person.
pub(crate) fn line(entry: &Entry) -> String {
    let event = match entry.event {
        Event::Applied => "applied",
        Event::Confirmed => "confirmed",
        Event::Back => "taken back",
        Event::Rollback => "put in place again",
        Event::Opened => "SSH opened to the LAN",
    };
    let mut line = format!("{}  {}  {event}", entry.at, entry.release);
    if !entry.by.is_empty() {
        line += &format!(" by {}", entry.by);
    }
    if !entry.reason.is_empty() {
        line += &format!(": {}", entry.reason);
    }
    line
}

/// All lines that can be read.
pub(crate) fn read(host: &Host) -> Result<Vec<Entry>> {
    let content = read_if_present(&host.path(PATH))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let entries = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    Ok(entries.collect())
}

/// Adds a line with the time of now.
pub(crate) fn add(
    host: &Host,
    release: &str,
    event: Event,
    by: &str,
    version: &str,
    reason: &str,
) -> Result<()> {
    let entry = Entry {
        release: release.to_owned(),
        at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        event,
        by: by.to_owned(),
        version: version.to_owned(),
        reason: reason.to_owned(),
    };
    release::make_state_folder(host)?;
    let entries = read(host)?;
    if entries.len() >= 2 * KEPT {
        let lines: Result<Vec<String>, _> = entries
            .iter()
            .skip(entries.len() - KEPT)
            .map(serde_json::to_string)
            .collect();
        let text = lines.context("writing the history")?.join("\n") + "\n";
        durable::write_private(host, &host.path(PATH), text.as_bytes())?;
    }
    let line = serde_json::to_string(&entry).context("writing the history")?;
    durable::append_line(host, &host.path(PATH), &line)
}
