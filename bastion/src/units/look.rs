//! How units are, asked of systemd.
//!
//! Whenever systemd shows a unit it writes down all of its some three hundred properties, which
//! takes a Pi a tenth of a second each. So it is asked for a list of those that it has in memory, its
//! folders are looked into for the others and for what starts at boot, and only what is left is
//! shown.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use site::manifest::UnitState;

use super::UNITS_FOLDER;
use crate::host::Host;

const PROPERTIES: [&str; 3] = ["LoadState", "ActiveState", "UnitFileState"];
/// Where systemd leaves a link for each unit that has started something, to a name that is another
/// one for each start. For programs without a bus, so it is asked of nobody.
const STARTS: &str = "/run/systemd/units/invocation:";

/// Where systemd looks for a unit that it does not have in memory, the first one wins: see
/// systemd.unit(5), "System Unit Search Path".
const FOLDERS: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    UNITS_FOLDER,
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// What systemd says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    /// `loaded`, `not-found`, `masked`, ….
    pub(crate) load: String,
    /// `active`, `inactive`, `failed`, `activating`, ….
    pub(crate) active: String,
    /// `enabled`, `disabled`, `static`, `masked`, …; empty when there is no file.
    pub(crate) file: String,
    /// What else was asked for, as systemd writes it.
    pub(crate) properties: BTreeMap<String, String>,
}

impl Unit {
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading")
    }

    pub(super) fn is_masked(&self) -> bool {
        self.load == "masked" || self.file.starts_with("masked")
    }

    /// Neither active nor able to start, or not there at all.
    pub(super) fn is_off(&self) -> bool {
        let stopped = matches!(self.active.as_str(), "inactive" | "failed");
        stopped && (self.load == "not-found" || self.is_masked())
    }

    /// A unit without an `[Install]` section cannot be set to start at boot: others pull it in.
    pub(super) fn starts_at_boot(&self) -> bool {
        matches!(
            self.file.as_str(),
            "enabled" | "static" | "indirect" | "generated" | "alias" | "transient"
        )
    }

    /// In words, when it is not as it should be.
    pub(crate) fn fault(&self, wanted: UnitState) -> Option<String> {
        match wanted {
            UnitState::Off if self.is_off() => None,
            UnitState::Off => Some(format!(
                "is {} and {}, shall be off",
                self.active,
                if self.file.is_empty() {
                    &self.load
                } else {
                    &self.file
                }
            )),
            UnitState::Running if self.load == "not-found" => {
                Some("is not on this machine".to_owned())
            }
            UnitState::Running if !self.is_active() => {
                Some(format!("is {}, shall run", self.active))
            }
            UnitState::Running if !self.starts_at_boot() => {
                Some("runs, but does not start at boot".to_owned())
            }
            UnitState::Running => None,
        }
    }

    /// One that systemd does not have in memory.
    fn at_rest(load: &str, file: &str) -> Unit {
        Unit {
            load: load.to_owned(),
            active: "inactive".to_owned(),
            file: file.to_owned(),
            ..Unit::default()
        }
    }
}

/// How units are, in the order of the names.
///
/// # Errors
/// When systemd does not answer for each.
pub(crate) fn look(host: &Host, names: &[&str]) -> Result<Vec<Unit>> {
    let (in_memory, at_boot) = (in_memory(host, names)?, at_boot(host));
    let known: Vec<Option<Unit>> = names
        .iter()
        .map(|name| match in_memory.get(*name) {
            None => at_rest(host, name),
            Some(unit) => {
                let file = word_for(host, name, unit, at_boot.get(*name).copied())?.to_owned();
                let unit = unit.clone();
                Some(Unit { file, ..unit })
            }
        })
        .collect();
    let asked = names
        .iter()
        .zip(&known)
        .filter(|(_, known)| known.is_none());
    let asked: Vec<&str> = asked.map(|(name, _)| *name).collect();
    let mut shown = show(host, &asked, &[])?.into_iter();
    let found = known.into_iter().map(|unit| unit.or_else(|| shown.next()));
    let found: Option<Vec<Unit>> = found.collect();
    found.context("systemctl show does not answer for each unit")
}

/// Whether a unit that systemd has in memory starts at boot, in systemd's words; nothing when it has
/// to be asked.
fn word_for(
    host: &Host,
    name: &str,
    unit: &Unit,
    at_boot: Option<&'static str>,
) -> Option<&'static str> {
    let own = host.path(&format!("{UNITS_FOLDER}/{name}"));
    match (unit.load.as_str(), masks(&own)) {
        ("not-found", false) => Some(""),
        ("masked", true) => Some("masked"),
        ("loaded", false) => at_boot.or_else(|| is_static(&own).then_some("static")),
        _ => None,
    }
}

/// Another text for each start of a unit, in the order of the names; empty for one that has started
/// nothing.
pub(crate) fn starts(host: &Host, names: &[&str]) -> Vec<String> {
    let each = names.iter().map(|name| {
        let start = fs::read_link(host.path(&format!("{STARTS}{name}")));
        start.map_or_else(
            |_| String::new(),
            |path| path.to_string_lossy().into_owned(),
        )
    });
    each.collect()
}

/// How units are, in the order of the names, asked of systemd at once. For units that are there.
///
/// # Errors
/// When systemd does not answer for each.
pub(crate) fn show(host: &Host, names: &[&str], more: &[&str]) -> Result<Vec<Unit>> {
    // Without a name systemd shows itself.
    if names.is_empty() {
        return Ok(vec![]);
    }
    let properties = [&PROPERTIES, more].concat().join(",");
    let properties = format!("--property={properties}");
    let said = host.run("systemctl", &[&["show", &properties, "--"], names].concat())?;
    let found = parse(&said);
    ensure!(
        found.len() == names.len(),
        "systemctl show answers for {} of {} units",
        found.len(),
        names.len()
    );
    Ok(found)
}

/// Those of the units that systemd has in memory: it runs them, others name them, or both. Whether
/// they start at boot is not among what it lists.
fn in_memory(host: &Host, names: &[&str]) -> Result<BTreeMap<String, Unit>> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let words = ["list-units", "--all", "--full", "--plain", "--no-legend"];
    let said = host.run("systemctl", &[&words[..], &["--"], names].concat())?;
    let lines = said.lines().filter_map(|line| {
        // Some versions mark a failed one with a dot in front.
        let mut words = line.split_whitespace().filter(|word| word.is_ascii());
        let (name, load, active) = (words.next()?, words.next()?, words.next()?);
        let unit = Unit {
            load: load.to_owned(),
            active: active.to_owned(),
            ..Unit::default()
        };
        Some((name.to_owned(), unit))
    });
    Ok(lines.collect())
}

/// The units that start at boot, with what systemd calls that: those with a link in a folder of what
/// another one wants. Asked of systemd, this takes longer than showing them.
fn at_boot(host: &Host) -> BTreeMap<String, &'static str> {
    let mut found = BTreeMap::new();
    for (folder, word) in [("/lib/systemd/system", "static"), (UNITS_FOLDER, "enabled")] {
        for wants in entries(&host.path(folder)) {
            let name = wants.to_string_lossy();
            if name.ends_with(".wants") || name.ends_with(".requires") {
                let units = entries(&wants).into_iter();
                let names = units.filter_map(|unit| unit.file_name()?.to_str().map(str::to_owned));
                found.extend(names.map(|name| (name, word)));
            }
        }
    }
    found
}

/// Whether a unit's file says nothing of when it shall start, as `systemctl enable` reads it.
fn is_static(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| !text.lines().any(|line| line.trim() == "[Install]"))
}

/// What lies in a folder; nothing when it is not there.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// A unit that is not in memory, and for which there is no file, or a mask: what systemd would find
/// if it was asked. Nothing when it has to be.
fn at_rest(host: &Host, name: &str) -> Option<Unit> {
    // The file of `x@y.service` is `x@.service`.
    if name.contains('@') {
        return None;
    }
    let first = FOLDERS.iter().find(|folder| {
        let found = fs::symlink_metadata(host.path(&format!("{folder}/{name}")));
        !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    });
    match first {
        None => Some(Unit::at_rest("not-found", "")),
        Some(&UNITS_FOLDER) if masks(&host.path(&format!("{UNITS_FOLDER}/{name}"))) => {
            Some(Unit::at_rest("masked", "masked"))
        }
        Some(_) => None,
    }
}

/// Whether this is what `systemctl mask` leaves.
pub(super) fn masks(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

/// Blocks of `Key=value`, one per unit, with an empty line between them.
fn parse(said: &str) -> Vec<Unit> {
    let blocks = said.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| {
            let mut unit = Unit::default();
            for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
                let field = match key {
                    "LoadState" => &mut unit.load,
                    "ActiveState" => &mut unit.active,
                    "UnitFileState" => &mut unit.file,
                    _ => unit.properties.entry(key.to_owned()).or_default(),
                };
                value.clone_into(field);
            }
            unit
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Unit, look, parse};
    use crate::fake::{BROKER, Machine, NEEDLESS};

    #[test]
    fn what_systemctl_shows_is_read_in_any_order() {
        let said = "LoadState=loaded\nActiveState=active\n\
                    UnitFileState=enabled\nUser=x=y\n\nLoadState=not-found\nActiveState=inactive\n\
                    UnitFileState=\n";
        let [first, second] = &parse(said)[..] else {
            panic!("two units were shown")
        };
        assert!(first.is_active());
        assert_eq!(first.properties.get("User").unwrap(), "x=y");
        assert_eq!(second, &Unit::at_rest("not-found", ""));
    }

    #[test]
    fn only_what_is_there_is_asked_of_systemd_and_the_answers_stay_in_order() {
        let machine = Machine::new();
        let host = &machine.host;
        let at = |name: &str| format!("/lib/systemd/system/{name}");
        machine.write(&at("asleep.service"), "[Service]\n");
        host.run("systemctl", &["mask", "masked.service"]).unwrap();
        let mut names = vec![
            "absent.service",
            BROKER,
            "masked.service",
            "asleep.service",
            NEEDLESS,
        ];
        let states = |names: &[&str]| -> Vec<(String, String)> {
            let found = look(host, names).unwrap();
            found
                .into_iter()
                .map(|unit| (unit.load, unit.active))
                .collect()
        };
        let mut expected = [
            ("not-found", "inactive"),
            ("loaded", "active"),
            ("masked", "inactive"),
            ("loaded", "inactive"),
            ("loaded", "active"),
        ]
        .map(|(load, active)| (load.to_owned(), active.to_owned()));
        assert_eq!(states(&names), expected);
        names.reverse();
        expected.reverse();
        assert_eq!(states(&names), expected);
        let asked = machine.fake.state().shown.clone();
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        assert_eq!(asked, ["asleep.service", "asleep.service"]);
    }

    #[test]
    fn a_masked_unit_that_still_runs_is_asked_of_systemd() {
        let machine = Machine::new();
        machine.host.run("systemctl", &["mask", NEEDLESS]).unwrap();
        let found = look(&machine.host, &[NEEDLESS]).unwrap();
        assert!(found[0].is_masked() && found[0].is_active() && !found[0].is_off());
    }
}
