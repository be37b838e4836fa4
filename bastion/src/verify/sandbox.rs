//! How far each unit's program is shut in: what systemd says is in force, compared with what our
//! unit files ask for, and what the kernel says of the process that runs.
//!
//! Another file beside ours (`systemctl edit`, a package) may loosen a unit without touching a file
//! of ours, and a process may be older than what systemd has read. Whether our files are as they
//! were rendered is asked elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use site::answer::Report;
use site::manifest::{Manifest, UnitState};

use super::Finding;
use crate::host::{Host, read_text};
use crate::units::{self, UNITS_FOLDER};

/// Settings that shut a program in. What our files do not mention is not compared, but for those
/// that would open something: see [`OPENING`].
const CLOSING: [&str; 20] = [
    "User",
    "DynamicUser",
    "NoNewPrivileges",
    "CapabilityBoundingSet",
    "RestrictAddressFamilies",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "PrivateDevices",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectKernelLogs",
    "ProtectControlGroups",
    "ProtectClock",
    "ProtectHostname",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "LockPersonality",
    "MemoryDenyWriteExecute",
];
/// Empty unless our files say otherwise.
const OPENING: [&str; 4] = [
    "AmbientCapabilities",
    "SupplementaryGroups",
    "ReadWritePaths",
    "BindPaths",
];
/// A unit that our files shut in has this.
const MARK: &str = "NoNewPrivileges";
/// Named in the answer, so that blocks are told apart, and the process.
const ABOUT: [&str; 2] = ["Id", "MainPID"];
const CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

type Settings = BTreeMap<String, String>;

/// Adds a check for each unit that our files shut in.
pub(super) fn add(host: &Host, manifest: &Manifest, report: &mut Report) {
    let subject = |name: &str| format!("sandbox of {name}");
    let units = manifest.units.iter();
    let mut shut_in = Vec::new();
    for entry in units.filter(|entry| entry.state == UnitState::Running) {
        let name = entry.name.as_str();
        match wanted(host, manifest, name) {
            Err(error) => report.add(&subject(name), Err(format!("{error:#}"))),
            Ok(wanted) if !wanted.contains_key(MARK) => {}
            Ok(wanted) => shut_in.push((name, wanted)),
        }
    }
    let names: Vec<&str> = shut_in.iter().map(|(name, _)| *name).collect();
    match units::show(host, &names, &[&CLOSING[..], &OPENING, &ABOUT].concat()) {
        Err(error) => report.add("sandboxes", Err(format!("{error:#}"))),
        Ok(found) => {
            for ((name, wanted), unit) in shut_in.iter().zip(&found) {
                report.add(&subject(name), check(host, name, &unit.properties, wanted));
            }
        }
    }
}

/// What our files say about a unit: its own, and what stands beside that of the distribution.
fn wanted(host: &Host, manifest: &Manifest, unit: &str) -> Result<Settings> {
    let own = format!("{UNITS_FOLDER}/{unit}");
    let beside = format!("{own}.d/");
    let mut wanted = Settings::new();
    for file in &manifest.files {
        if file.path == own || file.path.starts_with(&beside) {
            wanted.extend(settings(&read_text(&host.path(&file.path))?));
        }
    }
    Ok(wanted)
}

/// The lines `Name=value` that matter here. Our files say each once.
fn settings(text: &str) -> Settings {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(name, _)| CLOSING.contains(name) || OPENING.contains(name))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn check(host: &Host, unit: &str, shown: &Settings, wanted: &Settings) -> Finding {
    ensure!(
        shown.get("Id").map(String::as_str) == Some(unit),
        "systemctl show does not answer for {unit}"
    );
    let mut faults = loosened(wanted, shown);
    let process = shown.get("MainPID").map_or("0", String::as_str);
    if process != "0" {
        ensure!(
            process.bytes().all(|digit| digit.is_ascii_digit()),
            "systemctl shows no number of a process"
        );
        let path = host.path(&format!("/proc/{process}/status"));
        faults.extend(process_faults(wanted, &read_text(&path)?)?);
    }
    Ok((!faults.is_empty()).then(|| faults.join("; ")))
}

/// Each setting that is not in force as our files ask.
fn loosened(wanted: &Settings, shown: &Settings) -> Vec<String> {
    let closing = CLOSING
        .iter()
        .filter_map(|name| Some((*name, wanted.get(*name)?.as_str())));
    let opening = OPENING
        .iter()
        .map(|name| (*name, wanted.get(*name).map_or("", String::as_str)));
    let differ = closing.chain(opening).filter_map(|(name, wanted)| {
        let is = shown.get(name).map_or("", String::as_str);
        (words(is) != words(wanted)).then(|| {
            let wanted = if wanted.is_empty() { "empty" } else { wanted };
            let is = if is.is_empty() { "empty" } else { is };
            format!("{name} is {is}, shall be {wanted}")
        })
    });
    differ.collect()
}

/// systemd sorts lists and writes capabilities in small letters.
fn words(value: &str) -> BTreeSet<String> {
    value
        .split_whitespace()
        .map(str::to_ascii_lowercase)
        .collect()
}

/// What the kernel says of the process, from `/proc/PID/status`, see proc(5).
fn process_faults(wanted: &Settings, status: &str) -> Result<Vec<String>> {
    let of = |key: &str| {
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.trim())
            .with_context(|| format!("the kernel does not show {key} of the process"))
    };
    let mut faults = Vec::new();
    if of("NoNewPrivs")? != "1" {
        faults.push("its process may gain privileges".to_owned());
    }
    if wanted
        .get("CapabilityBoundingSet")
        .is_some_and(String::is_empty)
    {
        for set in CAPABILITIES {
            if !of(set)?.bytes().all(|digit| digit == b'0') {
                faults.push(format!("its process has capabilities in {set}"));
            }
        }
    }
    let has_user = ["User", "DynamicUser"]
        .iter()
        .any(|name| wanted.contains_key(*name));
    if has_user && of("Uid")?.split_whitespace().any(|uid| uid == "0") {
        faults.push("its process runs as root".to_owned());
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::{Settings, loosened, process_faults, settings};

    const UNIT: &str = "[Service]\nExecStart=/usr/local/sbin/bastion run\nDynamicUser=yes\n\
        NoNewPrivileges=yes\nCapabilityBoundingSet=\nRestrictAddressFamilies=AF_INET AF_UNIX\n";
    const SHOWN: &str = "Id=x.service\nDynamicUser=yes\nNoNewPrivileges=yes\n\
        CapabilityBoundingSet=\nAmbientCapabilities=\nRestrictAddressFamilies=AF_UNIX AF_INET\n\
        ProtectClock=no\nReadWritePaths=\n";

    #[track_caller]
    fn check(from: &str, to: &str, expected: &[&str]) {
        assert!(from.is_empty() || SHOWN.contains(from));
        let text = SHOWN.replace(from, to);
        let shown: Settings = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(loosened(&settings(UNIT), &shown), expected);
    }

    #[test]
    fn what_is_in_force_must_be_what_our_files_ask() {
        check("Id", "Id", &[]);
        check(
            "NoNewPrivileges=yes",
            "NoNewPrivileges=no",
            &["NoNewPrivileges is no, shall be yes"],
        );
        check(
            "CapabilityBoundingSet=",
            "CapabilityBoundingSet=cap_net_raw",
            &["CapabilityBoundingSet is cap_net_raw, shall be empty"],
        );
        check(
            "AF_UNIX AF_INET",
            "AF_UNIX AF_INET AF_PACKET",
            &["RestrictAddressFamilies is AF_UNIX AF_INET AF_PACKET, shall be AF_INET AF_UNIX"],
        );
        check(
            "AmbientCapabilities=",
            "AmbientCapabilities=cap_net_admin",
            &["AmbientCapabilities is cap_net_admin, shall be empty"],
        );
        check(
            "ReadWritePaths=",
            "ReadWritePaths=/etc",
            &["ReadWritePaths is /etc, shall be empty"],
        );
        check(
            "DynamicUser=yes\n",
            "",
            &["DynamicUser is empty, shall be yes"],
        );
    }

    #[test]
    fn the_kernel_is_asked_of_the_process() {
        let status = "Name:\tx\nUid:\t64000\t64000\t64000\t64000\nCapInh:\t0000000000000000\n\
            CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
            CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";
        let check = |from: &str, to: &str| {
            process_faults(&settings(UNIT), &status.replace(from, to))
                .map_err(|error| error.to_string())
        };
        assert_eq!(check("x", "x"), Ok(vec![]));
        for (from, to, fault) in [
            (
                "NoNewPrivs:\t1",
                "NoNewPrivs:\t0",
                "its process may gain privileges",
            ),
            (
                "CapEff:\t0000000000000000",
                "CapEff:\t0000000000002000",
                "its process has capabilities in CapEff",
            ),
            ("\t64000\n", "\t0\n", "its process runs as root"),
        ] {
            assert_eq!(check(from, to), Ok(vec![fault.to_owned()]));
        }
        let unknown = "the kernel does not show CapAmb of the process".to_owned();
        assert_eq!(check("CapAmb", "Other"), Err(unknown));
    }
}
