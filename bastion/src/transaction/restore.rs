//! Bringing the state before back. Each part is tried, whatever became of the others; what is
//! as before already is left alone, so all of it may be done again.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use site::answer::{Event, UnitAction};
use site::manifest::{APPLIED_PATH, RULESET_PATH};
use tracing::{info, warn};

use super::record::{self, DAMAGED, FOLDER, FileBefore, Record, Saved, UnitBefore, Was};
use super::{arm, before};
use crate::bundle::sha256;
use crate::durable;
use crate::host::{Host, Owner, read_if_present};
use crate::release::IN_PLACE_PATH;
use crate::system::Call;
use crate::units::UNITS_FOLDER;
use crate::{firewall, history};

/// A broker that does not stop must not keep SSH closed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What went wrong, in words.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn note(&mut self, what: &str, done: Result<()>) {
        if let Err(error) = done {
            warn!("{what}: {error:#}");
            self.0.push(format!("{what}: {error:#}"));
        }
    }
}

/// Brings all of it back; gives what could not be, in words.
pub(super) fn restore(host: &Host, record: &Record, at_boot: bool) -> Vec<String> {
    let mut faults = Faults::default();
    if !at_boot {
        if !had_the_policy(host, record) {
            // The broker must not run without the firewall, not even for a moment.
            stop(host, record, |unit| unit.action != UnitAction::Enable);
        }
        faults.note("firewall", rules(host, record));
        faults.note("firewall", firewall::remove_reference(host));
        stop(host, record, |unit| !unit.active);
    }
    let last = |file: &&FileBefore| [APPLIED_PATH, IN_PLACE_PATH].contains(&file.path.as_str());
    let mut units_changed = false;
    for file in record.files.iter().filter(|file| !last(file)) {
        match self::file(host, file) {
            Ok(changed) => {
                units_changed |= changed && file.path.starts_with(UNITS_FOLDER);
            }
            Err(error) => faults.note(&file.path, Err(error)),
        }
    }
    match links(host, record) {
        Ok(changed) => units_changed |= changed,
        Err(error) => faults.note("units that start at boot", Err(error)),
    }
    if !at_boot || units_changed {
        faults.note(
            "systemd",
            host.run("systemctl", &["daemon-reload"]).map(drop),
        );
    }
    for unit in &record.units {
        faults.note(&unit.name, self::unit(host, unit, at_boot));
    }
    // They say that all is as it was, so they come last.
    for file in record.files.iter().filter(last) {
        if faults.0.is_empty() {
            faults.note(&file.path, self::file(host, file).map(drop));
        }
    }
    for folder in record.folders.iter().rev() {
        // What somebody else put there stays.
        let _ = fs::remove_dir(host.path(folder));
    }
    faults.0
}

fn stop(host: &Host, record: &Record, which: impl Fn(&UnitBefore) -> bool) {
    let names: Vec<&str> = record
        .units
        .iter()
        .filter(|unit| which(unit))
        // What was stopped, or masked before and only unmasked, does not run because of us.
        .filter(|unit| !matches!(unit.action, UnitAction::Stop | UnitAction::Unmask))
        .map(|unit| unit.name.as_str())
        .collect();
    if names.is_empty() {
        return;
    }
    let call = Call {
        patience: STOP_PATIENCE,
        ..Call::new(
            "systemctl",
            &[&["stop", "--quiet", "--"], names.as_slice()].concat(),
        )
    };
    // A unit that is not there cannot be stopped, and need not be.
    if let Err(error) = host.system().run(&call) {
        warn!("stopping units: {error:#}");
    }
}

/// Whether the whole policy was in force, and not the early part of it alone, or nothing.
fn had_the_policy(host: &Host, record: &Record) -> bool {
    let saved = record.firewall.as_ref();
    let content = saved.and_then(|saved| saved_content(host, saved).ok());
    let commands = content.and_then(|content| serde_json::from_slice::<Value>(&content).ok());
    commands.is_some_and(|commands| firewall::makes(&commands, firewall::WHOLE))
}

/// A firewall that cannot be brought back is opened: nobody may stay locked out.
fn rules(host: &Host, record: &Record) -> Result<()> {
    let Some(saved) = &record.firewall else {
        return firewall::unload(host);
    };
    let load = || -> Result<()> {
        let content = saved_content(host, saved)?;
        let commands: Value = serde_json::from_slice(&content).context("reading the old rules")?;
        firewall::load(host, &commands)
    };
    load().or_else(|error| {
        safe_rules(host).with_context(|| format!("{error:#}; and"))?;
        bail!("{error:#}; the copy of the old rules was loaded instead")
    })
}

/// The copy of the old rules, or none at all.
fn safe_rules(host: &Host) -> Result<()> {
    let path = host.path(FOLDER).join("safe/loaded");
    let commands = read_if_present(&path)
        .ok()
        .flatten()
        .and_then(|content| serde_json::from_slice::<Value>(&content).ok());
    if let Some(commands) = commands
        && firewall::load(host, &commands).is_ok()
    {
        return Ok(());
    }
    warn!("the old rules are lost, so the bastion filters nothing until the next apply");
    firewall::unload(host)
}

/// Brings one path back, and says whether that changed something.
fn file(host: &Host, before: &FileBefore) -> Result<bool> {
    let target = host.path(&before.path);
    durable::remove(host, &durable::beside(&target))?;
    match &before.was {
        Was::Absent => durable::remove(host, &target),
        Was::Link { target: to } => {
            if fs::read_link(&target).is_ok_and(|found| found == Path::new(to)) {
                return Ok(false);
            }
            durable::link(host, &target, Path::new(to))?;
            Ok(true)
        }
        Was::File {
            saved,
            mode,
            user,
            group,
        } => {
            let owner = Owner {
                user: *user,
                group: *group,
            };
            if is_as_before(&target, saved, *mode, owner) {
                return Ok(false);
            }
            let content = saved_content(host, saved)?;
            info!(file = %before.path, "bringing back");
            durable::write(host, &target, &content, *mode, owner)
                .or_else(|error| move_back(host, saved, &target, *mode, owner, error))?;
            Ok(true)
        }
    }
}

fn is_as_before(target: &Path, saved: &Saved, mode: u32, owner: Owner) -> bool {
    let Ok(found) = fs::symlink_metadata(target) else {
        return false;
    };
    found.is_file()
        && found.permissions().mode() & 0o7777 == mode
        && (found.uid(), found.gid()) == (owner.user, owner.group)
        && fs::read(target).is_ok_and(|content| sha256(&content) == saved.sha256)
}

/// On a full disk there is no room for a second copy: then the saved one takes its place.
fn move_back(
    host: &Host,
    saved: &Saved,
    target: &Path,
    mode: u32,
    owner: Owner,
    error: anyhow::Error,
) -> Result<()> {
    let _ = durable::remove(host, &durable::beside(target));
    let copy = copy_of(host, saved);
    let act = || -> Result<()> {
        host.system().step()?;
        chown(&copy, Some(owner.user), Some(owner.group))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode))?;
        durable::rename(host, &copy, target)?;
        durable::sync_folder(target)
    };
    act().map_err(|_| error)
}

fn copy_of(host: &Host, saved: &Saved) -> PathBuf {
    host.path(FOLDER).join("before").join(&saved.name)
}

fn saved_content(host: &Host, saved: &Saved) -> Result<Vec<u8>> {
    let path = copy_of(host, saved);
    let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        sha256(&content) == saved.sha256,
        "{} is damaged",
        path.display()
    );
    Ok(content)
}

/// Makes the links below systemd's folder those of before, and says whether that changed one.
fn links(host: &Host, record: &Record) -> Result<bool> {
    let (there, folders) = before::links(host)?;
    let mut changed = false;
    for link in there.iter().filter(|link| !record.links.contains(link)) {
        changed |= durable::remove(host, &host.path(&link.path))?;
    }
    for link in record.links.iter().filter(|link| !there.contains(link)) {
        let (path, to) = (host.path(&link.path), Path::new(&link.target));
        durable::link(host, &path, to)?;
        changed = true;
    }
    for folder in folders.iter().rev() {
        if !record.unit_folders.contains(folder) {
            // Only an empty one goes.
            let _ = fs::remove_dir(host.path(folder));
        }
    }
    Ok(changed)
}

/// At boot systemd is at work already with what it read: it is told, and not waited for.
fn unit(host: &Host, unit: &UnitBefore, at_boot: bool) -> Result<()> {
    let name = unit.name.as_str();
    let verb = match (unit.active, unit.action) {
        (true, UnitAction::Reload) if !at_boot => "reload",
        (true, UnitAction::Enable) | (_, UnitAction::Unmask) => return Ok(()),
        (true, _) if at_boot => "start",
        (true, UnitAction::Stop | UnitAction::Start) => "start",
        (true, UnitAction::Restart | UnitAction::Reload) => "restart",
        (false, _) if at_boot => "stop",
        // Stopped already.
        (false, _) => return Ok(()),
    };
    let mut arguments = vec![];
    if at_boot {
        arguments.push("--no-block");
    }
    arguments.extend([verb, name]);
    let answer = host.ask("systemctl", &arguments)?;
    if answer.code != Some(0) && (at_boot || verb == "reload") {
        // At boot a unit may be gone; and what does not run cannot read its settings again.
        warn!(unit = name, "systemctl {verb}: {}", answer.stderr.trim());
        return Ok(());
    }
    answer
        .success(&Call::new("systemctl", &arguments))
        .map(drop)
}

/// The files with rules, each with its name.
pub(super) fn rule_files(host: &Host) -> Vec<(String, PathBuf)> {
    let ruleset = host.path(RULESET_PATH);
    let folder = ruleset.parent().unwrap_or(&ruleset);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, path)| name.contains(".nft") && path.is_file())
        .collect()
}

/// What is done when nobody can read the record: the rules of before come back, or none are left
/// that could lock anybody out. The rest is left to the next apply, which finds no manifest and
/// goes through all of it. Gives the fault, in words.
///
/// # Errors
/// When the record cannot be set aside.
pub(super) fn safely(host: &Host, fault: &str, at_boot: bool) -> Result<String> {
    warn!("the record of the change is damaged, so only the rules come back: {fault}");
    let mut faults = Faults(vec![format!("the record is damaged: {fault}")]);
    let safe = host.path(FOLDER).join("safe");
    for (name, path) in rule_files(host) {
        let old = fs::read(safe.join(&name)).ok();
        let sound = old.filter(|content| serde_json::from_slice::<Value>(content).is_ok());
        let done = match sound {
            Some(content) => durable::write(host, &path, &content, 0o644, durable::own()),
            None => {
                let mut aside = path.clone().into_os_string();
                aside.push(".set-aside");
                durable::rename(host, &path, Path::new(&aside))
                    .and_then(|()| durable::sync_folder(&path))
            }
        };
        faults.note(&name, done);
    }
    if !at_boot {
        faults.note("firewall", safe_rules(host));
    }
    for path in [APPLIED_PATH, IN_PLACE_PATH] {
        faults.note(path, durable::remove(host, &host.path(path)).map(drop));
    }
    let words = faults.0.join("; ");
    if let Err(error) = history::add(host, "", Event::Back, "", "", &words) {
        warn!("writing the history: {error:#}");
    }
    record::leave(host, DAMAGED)?;
    arm::disarm(host)?;
    Ok(words)
}
