//! Writing down what a change would destroy, before it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use site::answer::Event;
use site::manifest::{APPLIED_PATH, RULESET_PATH};
use tracing::info;

use super::arm;
use super::record::{self, FOLDER, FileBefore, LinkBefore, NEW, Record, Saved, UnitBefore, Was};
use crate::bundle::sha256;
use crate::durable;
use crate::host::{Host, read_if_present};
use crate::plan::Change;
use crate::release::{self, IN_PLACE_PATH};
use crate::units::{self, UNITS_FOLDER};
use crate::{firewall, process};

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked<'a> {
    /// The release to put in place.
    pub(crate) release: &'a str,
    /// [`Event::Applied`] or [`Event::Rollback`].
    pub(crate) event: Event,
    /// Who asks.
    pub(crate) by: &'a str,
    /// Seconds for a confirmation.
    pub(crate) window_s: u64,
}

/// Writes the state before down and arms the way back. Nothing of the change was made yet.
///
/// # Errors
/// When something cannot be written or armed: then all is as it was.
pub(crate) fn begin(host: &Host, change: &Change, asked: &Asked<'_>) -> Result<()> {
    ensure!(
        host.has_systemd(),
        "this machine is not run by systemd, so nothing could go back by itself; \
         apply without --confirm-within"
    );
    release::make_state_folder(host)?;
    record::sweep(host)?;
    let folder = host.path(NEW);
    let act = || -> Result<u64> {
        durable::make_folder(host, &folder.join("before"), 0o700)?;
        durable::make_folder(host, &folder.join("safe"), 0o700)?;
        let record = Writer {
            host,
            folder: &folder,
        }
        .write(change, asked)?;
        record::write(host, &folder, &record)?;
        let program = host.system().own_program()?;
        let target = folder.join("bastion");
        durable::write(host, &target, &program, 0o700, durable::own())?;
        durable::rename(host, &folder, &host.path(FOLDER))?;
        durable::sync_folder(&host.path(FOLDER))?;
        Ok(record.deadline_s)
    };
    let deadline_s = act()
        .inspect_err(|_| {
            // The first error is the one that counts.
            let _ = record::sweep(host);
        })
        .context("writing down the state before the change")?;
    if let Err(error) = arm::arm(host, change.manifest(), asked.window_s, deadline_s) {
        // Nothing was changed, so leaving is going back.
        let _ = arm::disarm(host);
        let _ = durable::remove_folder(host, &host.path(FOLDER));
        return Err(error.context("arming the way back; nothing was changed"));
    }
    info!(seconds = asked.window_s, "the way back is armed");
    Ok(())
}

struct Writer<'a> {
    host: &'a Host,
    folder: &'a Path,
}

impl Writer<'_> {
    fn write(&self, change: &Change, asked: &Asked<'_>) -> Result<Record> {
        let host = self.host;
        let mut paths: BTreeSet<&str> = change
            .plan
            .files
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        paths.extend([APPLIED_PATH, IN_PLACE_PATH]);
        let mut files = Vec::new();
        let mut folders = BTreeSet::new();
        for path in paths {
            folders.extend(absent_folders(host, path));
            files.push(FileBefore {
                was: self.was(path, files.len())?,
                path: path.to_owned(),
            });
        }
        self.safe()?;
        let (links, unit_folders) = links(host)?;
        let (pid, started) = process::own();
        let names: Vec<&str> = change
            .plan
            .units
            .iter()
            .map(|unit| unit.name.as_str())
            .collect();
        let units = units::look(host, &names)?
            .iter()
            .zip(&change.plan.units)
            .map(|(unit, change)| UnitBefore {
                name: change.name.clone(),
                active: unit.is_active(),
                action: change.action,
            })
            .collect();
        Ok(Record {
            format: Record::FORMAT,
            release: asked.release.to_owned(),
            event: asked.event,
            by: asked.by.to_owned(),
            version: change.manifest().version.clone(),
            boot: process::boot(),
            deadline_s: process::uptime_s().saturating_add(asked.window_s),
            pid,
            started,
            files,
            folders: folders.into_iter().collect(),
            links,
            unit_folders,
            units,
            firewall: self.firewall()?,
        })
    }

    fn was(&self, path: &str, number: usize) -> Result<Was> {
        let at = self.host.path(path);
        let found = match fs::symlink_metadata(&at) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Was::Absent),
            found => found.with_context(|| format!("looking at {}", at.display()))?,
        };
        if found.is_symlink() {
            return Ok(Was::Link {
                target: link_target(&at)?,
            });
        }
        ensure!(
            found.is_file(),
            "{path} is neither a file nor a link; remove it by hand first"
        );
        let content = fs::read(&at).with_context(|| format!("reading {}", at.display()))?;
        Ok(Was::File {
            saved: self.save(&format!("{number:04}"), &content)?,
            mode: found.permissions().mode() & 0o7777,
            user: found.uid(),
            group: found.gid(),
        })
    }

    fn save(&self, name: &str, content: &[u8]) -> Result<Saved> {
        let path = self.folder.join("before").join(name);
        durable::write_private(self.host, &path, content)?;
        Ok(Saved {
            name: name.to_owned(),
            sha256: sha256(content),
        })
    }

    /// The commands that load the old tables again. Where the loaded one is what its file says,
    /// the file is the surest.
    fn firewall(&self) -> Result<Option<Saved>> {
        let host = self.host;
        if firewall::in_force(host)?.is_none() {
            return Ok(None);
        }
        let file = read_if_present(&host.path(RULESET_PATH))?
            .and_then(|content| serde_json::from_slice::<Value>(&content).ok());
        let same = |ruleset: &Value| {
            firewall::differences(host, ruleset).is_ok_and(|found| found.is_empty())
        };
        let commands = match file {
            Some(ruleset) if same(&ruleset) => Some(ruleset),
            Some(ruleset) => firewall::restorable(host).unwrap_or(Some(ruleset)),
            None => firewall::restorable(host)?,
        };
        let Some(commands) = commands else {
            return Ok(None);
        };
        let text = commands.to_string();
        let safe = self.folder.join("safe/loaded");
        durable::write_private(host, &safe, text.as_bytes())?;
        self.save("firewall", text.as_bytes()).map(Some)
    }

    /// The old rule files once more, for the day on which the record is damaged.
    fn safe(&self) -> Result<()> {
        for (name, path) in super::restore::rule_files(self.host) {
            let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            durable::write_private(self.host, &self.folder.join("safe").join(name), &content)?;
        }
        Ok(())
    }
}

/// The folders above a path that are not there, outermost first.
fn absent_folders(host: &Host, path: &str) -> Vec<String> {
    let above = Path::new(path).ancestors().skip(1);
    above
        .filter_map(Path::to_str)
        .filter(|folder| !host.path(folder).exists())
        .map(ToOwned::to_owned)
        .collect()
}

/// All links below systemd's folder, and its folders. The unit at boot is not among them: it
/// has to stay until the record goes.
pub(super) fn links(host: &Host) -> Result<(Vec<LinkBefore>, Vec<String>)> {
    let (mut links, mut folders) = (Vec::new(), Vec::new());
    let mut open = vec![PathBuf::from(UNITS_FOLDER)];
    while let Some(folder) = open.pop() {
        let Some(name) = folder.to_str() else {
            continue;
        };
        let entries = match fs::read_dir(host.path(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("reading {name}"))?,
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {name}"))?;
            let path = folder.join(entry.file_name());
            let kind = entry
                .file_type()
                .with_context(|| format!("reading {name}"))?;
            let Some(text) = path.to_str() else {
                continue;
            };
            if kind.is_dir() {
                folders.push(text.to_owned());
                open.push(path);
            } else if kind.is_symlink() && !arm::is_ours(&path) {
                links.push(LinkBefore {
                    target: link_target(&entry.path())?,
                    path: text.to_owned(),
                });
            }
        }
    }
    links.sort();
    folders.sort();
    Ok((links, folders))
}

fn link_target(path: &Path) -> Result<String> {
    let target = fs::read_link(path).with_context(|| format!("reading {}", path.display()))?;
    let target = target.into_os_string().into_string();
    target
        .ok()
        .with_context(|| format!("{} leads to a name that is no text", path.display()))
}
