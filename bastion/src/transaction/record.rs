//! The record of a change: what the machine was like before it, and who makes it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use site::answer::{Event, UnitAction};

use crate::bundle::sha256;
use crate::durable;
use crate::host::{Host, read_if_present};
use crate::process;

/// A change under way.
pub(crate) const FOLDER: &str = "/var/lib/shelly-bastion/transaction";
/// A record that is not whole yet: nothing was changed.
pub(super) const NEW: &str = "/var/lib/shelly-bastion/transaction-new";
/// A change that holds.
pub(super) const DONE: &str = "/var/lib/shelly-bastion/transaction-done";
/// A change that was undone.
pub(super) const BACK: &str = "/var/lib/shelly-bastion/transaction-back";
/// A record that nobody could read, kept for a person to look at.
pub(super) const DAMAGED: &str = "/var/lib/shelly-bastion/transaction-damaged";
/// The change was made and found healthy.
pub(super) const WAITING: &str = "/var/lib/shelly-bastion/transaction/waiting";
/// Two copies: one damaged block of the card must not take both.
pub(super) const COPIES: [&str; 2] = ["record.json", "record-copy.json"];
const REASON: &str = "reason";
const FORMAT: u32 = 1;

/// What the machine was like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) format: u32,
    /// The release that is put in place.
    pub(super) release: String,
    /// How: [`Event::Applied`] or [`Event::Rollback`].
    pub(super) event: Event,
    pub(super) by: String,
    pub(super) version: String,
    /// The boot in which it happens; its clock is the kernel's uptime.
    pub(super) boot: String,
    /// Uptime in seconds at which the time for a confirmation is over.
    pub(super) deadline_s: u64,
    /// The process that makes the change, leader of a group of its own, and the tick of the
    /// kernel's clock in which it began: numbers of processes are used again.
    pub(super) pid: i32,
    pub(super) started: u64,
    pub(super) files: Vec<FileBefore>,
    /// Folders that were not there.
    pub(super) folders: Vec<String>,
    /// All links below systemd's folder: which units start at boot, and which cannot start.
    pub(super) links: Vec<LinkBefore>,
    /// The folders below systemd's folder.
    pub(super) unit_folders: Vec<String>,
    pub(super) units: Vec<UnitBefore>,
    /// File in `before/` with the commands that load the old table, and its hash; none when it
    /// was not loaded.
    pub(super) firewall: Option<Saved>,
}

/// One path, before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileBefore {
    pub(super) path: String,
    pub(super) was: Was,
}

/// What was at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Was {
    Absent,
    File {
        saved: Saved,
        mode: u32,
        user: u32,
        group: u32,
    },
    Link {
        target: String,
    },
}

/// A file in `before/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) name: String,
    pub(super) sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct LinkBefore {
    pub(super) path: String,
    pub(super) target: String,
}

/// A unit that the change touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UnitBefore {
    pub(super) name: String,
    pub(super) active: bool,
    /// What the change does to it.
    pub(super) action: UnitAction,
}

impl Record {
    pub(super) const FORMAT: u32 = FORMAT;

    /// Seconds left for a confirmation; none when they are over, or the machine has started anew.
    pub(super) fn seconds_left(&self) -> Option<u64> {
        if self.boot != process::boot() {
            return None;
        }
        let now = process::uptime_s();
        self.deadline_s.checked_sub(now).filter(|left| *left > 0)
    }
}

/// A document and its hash.
#[derive(Serialize, Deserialize)]
struct Sealed {
    sha256: String,
    record: String,
}

/// What lies at the place of the record.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    Sound(Box<Record>),
    /// Why it cannot be read.
    Damaged(String),
}

impl Found {
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Found::Nothing)
    }
}

pub(super) fn find(host: &Host) -> Found {
    find_in(host, FOLDER)
}

pub(super) fn find_in(host: &Host, folder: &str) -> Found {
    let folder = host.path(folder);
    if !folder.exists() {
        return Found::Nothing;
    }
    let mut faults = Vec::new();
    for copy in COPIES {
        match read(&folder.join(copy)) {
            Ok(record) => return Found::Sound(Box::new(record)),
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    Found::Damaged(faults.join("; "))
}

fn read(path: &Path) -> Result<Record> {
    let name = || {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let sealed: Sealed =
        serde_json::from_slice(&content).with_context(|| format!("{} is damaged", name()))?;
    anyhow::ensure!(
        sha256(sealed.record.as_bytes()) == sealed.sha256,
        "{} is damaged: its hash is another",
        name()
    );
    let record: Record = serde_json::from_str(&sealed.record)
        .with_context(|| format!("{} is of another version", name()))?;
    anyhow::ensure!(
        record.format == FORMAT,
        "{} has format {}",
        name(),
        record.format
    );
    Ok(record)
}

/// Writes both copies into a folder.
pub(super) fn write(host: &Host, folder: &Path, record: &Record) -> Result<()> {
    let record = serde_json::to_string(record).context("writing the record")?;
    let sealed = Sealed {
        sha256: sha256(record.as_bytes()),
        record,
    };
    let text = serde_json::to_vec(&sealed).context("writing the record")?;
    for copy in COPIES {
        durable::write_private(host, &folder.join(copy), &text)?;
    }
    Ok(())
}

/// Ends a change, one way or the other, by one rename.
pub(super) fn leave(host: &Host, to: &str) -> Result<()> {
    let (from, to) = (host.path(FOLDER), host.path(to));
    if to.exists() {
        durable::remove_folder(host, &to)?;
    }
    durable::rename(host, &from, &to)?;
    durable::sync_folder(&to)
}

/// Keeps in mind why the change is undone, for the history.
pub(super) fn keep_reason(host: &Host, reason: &str) -> Result<()> {
    durable::write_private(host, &host.path(FOLDER).join(REASON), reason.as_bytes())
}

pub(super) fn kept_reason(host: &Host, folder: &str) -> String {
    let content = read_if_present(&host.path(folder).join(REASON));
    let content = content.ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&content).into_owned()
}

pub(super) fn is_waiting(host: &Host) -> bool {
    host.path(WAITING).exists()
}

/// Removes a record that never came to be.
pub(super) fn sweep(host: &Host) -> Result<()> {
    if host.path(NEW).exists() {
        durable::remove_folder(host, &host.path(NEW))?;
    }
    Ok(())
}
