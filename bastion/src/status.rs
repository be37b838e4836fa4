//! How this machine is, in one answer.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use site::answer::{self, Report, Status};
use site::daemon::REPORT_PATH;
use site::manifest::STATE_FOLDER;

use crate::apply::applied;
use crate::bundle::parse_manifest;
use crate::cli::version;
use crate::daemon::read;
use crate::host::Host;
use crate::plan::BROKER_UNIT;
use crate::{history, open, process, release, say, service, transaction, units, verify, watch};

/// Of hundreds, those that are silent for longest; `bastion journal` has all.
const MOST_METERS: usize = 20;

/// Says how the machine is.
///
/// # Errors
/// When the lock cannot be had, or the answer has no JSON form.
pub fn run(host: &Host, json: bool) -> Result<ExitCode> {
    let status = {
        let _alone = host.lock()?;
        of(host)
    };
    if json {
        say::json(&status)?;
    } else {
        print(&status);
    }
    Ok(ExitCode::from(status.verify.exit_code()))
}

/// What cannot be found out is left open; the lock must be held.
fn of(host: &Host) -> Status {
    let verify: Report = verify::report(host);
    Status {
        format: answer::FORMAT,
        version: version().to_owned(),
        release: release::in_place(host).unwrap_or_default(),
        waiting: transaction::waiting(host),
        clock: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        clock_synchronised: clock_is_synchronised(host),
        uptime_s: process::uptime_s(),
        disk: disk(&host.path(STATE_FOLDER)),
        units: unit_states(host),
        verify,
        last: history::read(host).unwrap_or_default().pop(),
        open_s: open::seconds_left(host).unwrap_or_default(),
        restart_due: restart_is_due(host),
        // Whether it is as it should be is said by `verify`.
        journal: read::report(&host.path(REPORT_PATH)).unwrap_or_default(),
        verified: watch::last(host),
    }
}

/// Packages leave this note when they are upgraded; unattended upgrades restart nothing.
fn restart_is_due(host: &Host) -> bool {
    ["/run/reboot-required", "/var/run/reboot-required"]
        .iter()
        .any(|note| host.path(note).exists())
}

fn clock_is_synchronised(host: &Host) -> Option<bool> {
    if !host.has_systemd() {
        return None;
    }
    // The time service's own note; asking for it starts another service first.
    if host.path("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let said = host.run(
        "timedatectl",
        &["show", "--property=NTPSynchronized", "--value"],
    );
    match said.as_deref().map(str::trim) {
        Ok("yes") => Some(true),
        Ok("no") => Some(false),
        _ => None,
    }
}

/// Free and total bytes; of the nearest folder above when there is none yet.
fn disk(folder: &Path) -> (u64, u64) {
    let there = folder.ancestors().find(|folder| folder.exists());
    there
        .and_then(|folder| rustix::fs::statvfs(folder).ok())
        .map_or((0, 0), |found| {
            let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
            (bytes(found.f_bavail), bytes(found.f_blocks))
        })
}

fn unit_states(host: &Host) -> Vec<(String, String)> {
    if !host.has_systemd() {
        let runs = service::broker_runs().unwrap_or_default();
        let state = if runs { "active" } else { "inactive" };
        return vec![(BROKER_UNIT.to_owned(), state.to_owned())];
    }
    let manifest = applied(host).ok().flatten();
    let Some(manifest) = manifest.and_then(|text| parse_manifest(&text).ok()) else {
        return vec![];
    };
    let names: Vec<&str> = manifest
        .units
        .iter()
        .map(|unit| unit.name.as_str())
        .collect();
    let found = units::look(host, &names).unwrap_or_default();
    let pairs = names.iter().zip(found);
    pairs
        .map(|(name, unit)| ((*name).to_owned(), unit.active))
        .collect()
}

fn print(status: &Status) {
    let row = |name: &str, value: String| say::line(&format!("{name:<12} {value}"));
    row("program", status.version.clone());
    let none = || "none".to_owned();
    row("release", status.release.clone().unwrap_or_else(none));
    if let Some((release, left)) = &status.waiting {
        row("waiting", format!("{release}, for {left} s more"));
    }
    let synchronised = match status.clock_synchronised {
        Some(true) => "synchronised",
        Some(false) => "NOT synchronised",
        None => "nobody knows whether synchronised",
    };
    row("clock", format!("{}, {synchronised}", status.clock));
    row("up", format!("{} s", status.uptime_s));
    if status.restart_due {
        row("restart", "due, for upgraded packages".to_owned());
    }
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let (free, total) = status.disk;
    row("disk", format!("{} of {} MiB free", mib(free), mib(total)));
    for (unit, state) in &status.units {
        row("unit", format!("{unit} is {state}"));
    }
    if let Some(journal) = &status.journal {
        for (name, words) in journal.rows(status.uptime_s, MOST_METERS) {
            row("journal", format!("{name:<8} {words}"));
        }
    }
    if let Some(left) = status.open_s {
        row("open", format!("SSH to the whole LAN, for {left} s more"));
    }
    if let Some(last) = &status.last {
        row("last", history::line(last));
    }
    if let Some(verified) = &status.verified {
        row("by itself", verified.to_string());
    }
    say::line(status.verify.to_string().trim_end());
}

#[cfg(test)]
mod tests {
    use super::restart_is_due;
    use crate::fake::Machine;

    #[test]
    fn the_note_of_packages_says_that_a_restart_is_due() {
        for note in ["/run/reboot-required", "/var/run/reboot-required"] {
            let machine = Machine::new();
            assert!(!restart_is_due(&machine.host));
            machine.write(note, "*** System restart required ***\n");
            assert!(restart_is_due(&machine.host), "{note}");
        }
    }
}
