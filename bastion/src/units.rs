//! Units of systemd: what has to be done so that they are as the manifest says, and doing it. How
//! they are is asked in [`look`](mod@look).
//!
//! Where there is no systemd, only the broker is looked after, see [`crate::service`].

mod look;

use anyhow::Result;
use site::answer::{UnitAction, UnitChange};
use site::manifest::{Manifest, UnitEntry, UnitState};
use tracing::info;

pub(crate) use look::{Unit, look, show, starts};

use crate::host::Host;
use look::masks;

/// Where the units of this machine's administrator lie.
pub(crate) const UNITS_FOLDER: &str = "/etc/systemd/system";

/// What the files of a run say to the units.
pub(crate) struct Files<'a> {
    /// Paths of all files that change, whatever happens to them.
    pub(crate) changed: Vec<&'a str>,
    /// Paths of those that are removed.
    pub(crate) removed: Vec<&'a str>,
    /// Nobody knows what the units have read: an earlier run was cut short.
    pub(crate) unfinished: bool,
}

/// What has to be done, in the order in which it is done.
///
/// # Errors
/// When systemd does not answer.
pub(crate) fn plan(
    host: &Host,
    new: &Manifest,
    before: Option<&Manifest>,
    files: &Files<'_>,
) -> Result<Vec<UnitChange>> {
    let mut changes = Vec::new();
    let names: Vec<&str> = new.units.iter().map(|unit| unit.name.as_str()).collect();
    let found = look(host, &names)?;
    for unit in before.into_iter().flat_map(|before| &before.units) {
        if names.contains(&unit.name.as_str()) {
            continue;
        }
        let own = format!("{UNITS_FOLDER}/{}", unit.name);
        if files.removed.contains(&own.as_str()) {
            // Its file goes, so nothing could stop it later.
            changes.push(change(&unit.name, UnitAction::Stop));
        } else if unit.state == UnitState::Off && masks(&host.path(&own)) {
            changes.push(change(&unit.name, UnitAction::Unmask));
        }
    }
    let actions: Vec<UnitChange> = new
        .units
        .iter()
        .zip(&found)
        .filter_map(|(entry, unit)| Some(change(&entry.name, action(entry, unit, files)?)))
        .collect();
    let (stops, others): (Vec<_>, Vec<_>) = actions
        .into_iter()
        .partition(|change| change.action == UnitAction::Stop);
    changes.extend(stops);
    changes.extend(others);
    Ok(changes)
}

fn change(name: &str, action: UnitAction) -> UnitChange {
    UnitChange {
        name: name.to_owned(),
        action,
    }
}

fn action(entry: &UnitEntry, unit: &Unit, files: &Files<'_>) -> Option<UnitAction> {
    let any = |paths: &[String]| {
        paths
            .iter()
            .any(|path| files.changed.contains(&path.as_str()))
    };
    match entry.state {
        UnitState::Off if unit.is_off() => None,
        UnitState::Off => Some(UnitAction::Stop),
        UnitState::Running if !unit.is_active() => Some(UnitAction::Start),
        UnitState::Running if any(&entry.restart_for) => Some(UnitAction::Restart),
        UnitState::Running if files.unfinished && !entry.restart_for.is_empty() => {
            Some(UnitAction::Restart)
        }
        UnitState::Running if any(&entry.reload_for) => Some(UnitAction::Reload),
        UnitState::Running if !unit.starts_at_boot() => Some(UnitAction::Enable),
        UnitState::Running => None,
    }
}

/// Whether systemd has to read its units again, or its own settings, which lie beside them
/// (`system.conf.d`).
pub(crate) fn must_be_read(files: &Files<'_>) -> bool {
    files.unfinished
        || files
            .changed
            .iter()
            .any(|path| path.starts_with(UNITS_FOLDER))
}

/// Stops the units whose files go: to be called before the files are removed.
///
/// # Errors
/// When systemd refuses.
pub(crate) fn stop_stale(host: &Host, changes: &[UnitChange], new: &Manifest) -> Result<()> {
    for change in changes {
        if change.action == UnitAction::Stop && !names(new, &change.name) {
            info!(unit = %change.name, "stopping, since its file goes");
            host.run("systemctl", &["disable", "--now", "--quiet", &change.name])?;
        }
    }
    Ok(())
}

/// Makes the units as the manifest says.
///
/// What stands on the card is changed first, for all units, and systemd reads it once: each
/// reading costs a small machine seconds, and without `--no-reload` every word below would ask for
/// one of its own.
///
/// # Errors
/// When systemd refuses; the message names the unit.
pub(crate) fn carry_out(
    host: &Host,
    changes: &[UnitChange],
    new: &Manifest,
    read: bool,
) -> Result<()> {
    let of = |wanted: &dyn Fn(UnitAction) -> bool| -> Vec<&str> {
        let fits = |change: &&UnitChange| wanted(change.action);
        let found = changes.iter().filter(fits);
        found.map(|change| change.name.as_str()).collect()
    };
    let mut off = of(&|action| action == UnitAction::Stop);
    off.retain(|name| names(new, name));
    let on = of(&|action| !matches!(action, UnitAction::Stop | UnitAction::Unmask));
    let found = look(host, &on)?;
    let that = |fits: &dyn Fn(&Unit) -> bool| -> Vec<&str> {
        let each = on.iter().zip(&found).filter(|(_, unit)| fits(unit));
        each.map(|(name, _)| *name).collect()
    };
    let mut unmask = of(&|action| action == UnitAction::Unmask);
    unmask.extend(that(&Unit::is_masked));
    let enable = that(&|unit| !unit.starts_at_boot());
    let mut changed = read;
    for (verb, names) in [("mask", &off), ("unmask", &unmask), ("enable", &enable)] {
        if !names.is_empty() {
            info!(units = %names.join(" "), "systemctl {verb}");
            let words = [verb, "--no-reload", "--quiet"];
            host.run("systemctl", &[&words, names.as_slice()].concat())?;
            changed = true;
        }
    }
    if changed {
        host.run("systemctl", &["daemon-reload"])?;
    }
    if !off.is_empty() {
        host.run("systemctl", &[&["stop"], off.as_slice()].concat())?;
        // A timer that ran when it was masked counts as failed from then on. Those that are not
        // there cannot be reset, which is as well.
        drop(host.ask("systemctl", &[&["reset-failed"], off.as_slice()].concat())?);
    }
    for change in changes {
        let name = change.name.as_str();
        let verb = match change.action {
            UnitAction::Start => "start",
            UnitAction::Restart => "restart",
            UnitAction::Reload => "reload",
            UnitAction::Enable | UnitAction::Stop | UnitAction::Unmask => continue,
        };
        info!(unit = name, "systemctl {verb}");
        host.run("systemctl", &[verb, name])?;
    }
    Ok(())
}

fn names(manifest: &Manifest, name: &str) -> bool {
    manifest.units.iter().any(|unit| unit.name == name)
}

#[cfg(test)]
mod tests {
    use site::answer::UnitAction::{self, Enable, Reload, Restart, Start, Stop};
    use site::manifest::{UnitEntry, UnitState};

    use super::{Files, Unit, action, must_be_read};

    fn unit(load: &str, active: &str, file: &str) -> Unit {
        Unit {
            load: load.to_owned(),
            active: active.to_owned(),
            file: file.to_owned(),
            ..Unit::default()
        }
    }

    #[track_caller]
    fn check(state: UnitState, unit: &Unit, changed: &[&str], expected: Option<UnitAction>) {
        let entry = UnitEntry {
            name: "mosquitto.service".to_owned(),
            state,
            restart_for: vec!["/conf".to_owned()],
            reload_for: vec!["/acl".to_owned()],
        };
        let files = Files {
            changed: changed.to_vec(),
            removed: vec![],
            unfinished: false,
        };
        assert_eq!(action(&entry, unit, &files), expected);
        if changed.is_empty() {
            assert_eq!(unit.fault(state).is_some(), expected.is_some(), "{unit:?}");
        }
    }

    #[test]
    fn a_unit_that_shall_run_is_started_enabled_or_told() {
        let runs = unit("loaded", "active", "enabled");
        let check = |unit: &Unit, changed: &[&str], expected| {
            check(UnitState::Running, unit, changed, expected);
        };
        check(&runs, &[], None);
        check(&runs, &["/other"], None);
        check(&runs, &["/conf", "/acl"], Some(Restart));
        check(&runs, &["/acl"], Some(Reload));
        check(&unit("loaded", "active", "static"), &[], None);
        check(&unit("loaded", "active", "disabled"), &[], Some(Enable));
        check(&unit("not-found", "inactive", ""), &[], Some(Start));
        check(
            &unit("loaded", "failed", "enabled"),
            &["/conf"],
            Some(Start),
        );
        check(&unit("masked", "inactive", "masked"), &[], Some(Start));
    }

    #[test]
    fn a_unit_that_shall_be_off_is_stopped_unless_it_cannot_start() {
        let check = |unit: &Unit, expected| check(UnitState::Off, unit, &[], expected);
        check(&unit("not-found", "inactive", ""), None);
        check(&unit("masked", "inactive", "masked"), None);
        check(&unit("masked", "failed", "masked"), None);
        check(&unit("masked", "active", "masked"), Some(Stop));
        check(&unit("loaded", "inactive", "disabled"), Some(Stop));
        check(&unit("loaded", "active", "enabled"), Some(Stop));
    }

    #[test]
    fn systemd_reads_again_what_it_reads_itself() {
        for (path, expected) in [
            ("/etc/systemd/system/a.service.d/b.conf", true),
            ("/etc/systemd/system.conf.d/b.conf", true),
            ("/etc/systemd/journald.conf.d/b.conf", false),
        ] {
            let files = Files {
                changed: vec![path],
                removed: vec![],
                unfinished: false,
            };
            assert_eq!(must_be_read(&files), expected, "{path}");
        }
    }
}
