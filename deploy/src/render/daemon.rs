//! The journal's daemon and its ticker: settings, passwords and units. What they do is left to
//! `bastion`; which accounts they have, to `site`.

use site::daemon::{
    DAEMON_ACCOUNT, FORMAT, JOURNAL_FOLDER, Keep, Listened, PASSWORD_PATH, REPORT_PATH,
    SETTINGS_PATH, Settings, TICKER_ACCOUNT, TICKER_PASSWORD_PATH,
};
use site::flow::MQTT_LOOPBACK_PORT;
use site::manifest::{PROGRAM_PATH, UnitEntry, UnitState};
use site::{Outbound, Site};

use super::mosquitto::WINDOW;
use super::units::{BROKER_UNIT, POLICY_UNIT, SANDBOX};
use super::{RenderError, RenderedFile, json};
use crate::secrets::Secrets;

const DAEMON_UNIT: &str = "shelly-bastion-daemon.service";
const DAEMON_PATH: &str = "/etc/systemd/system/shelly-bastion-daemon.service";
const TICKER_UNIT: &str = "shelly-bastion-ticker.service";
const TICKER_PATH: &str = "/etc/systemd/system/shelly-bastion-ticker.service";

/// A card pays for each commit, a power cut costs what is not yet committed.
const COMMIT_MS: u64 = 1000;
/// A time service that is let out answers within minutes.
const CLOCK_PATIENCE_S: u64 = 600;

pub(super) fn files(site: &Site, secrets: &Secrets) -> Result<Vec<RenderedFile>, RenderError> {
    let password = |path: &str, account: &str| -> Result<RenderedFile, RenderError> {
        Ok(RenderedFile {
            path: path.to_owned(),
            mode: 0o600,
            owner: "root".into(),
            group: "root".into(),
            content: format!("{}\n", secrets.password(account)?.expose()).into_bytes(),
        })
    };
    Ok(vec![
        RenderedFile::public(SETTINGS_PATH, json(SETTINGS_PATH, &settings(site))?),
        password(PASSWORD_PATH, DAEMON_ACCOUNT)?,
        password(TICKER_PASSWORD_PATH, TICKER_ACCOUNT)?,
        RenderedFile::public(DAEMON_PATH, daemon()),
        RenderedFile::public(TICKER_PATH, ticker()),
    ])
}

fn settings(site: &Site) -> Settings {
    Settings {
        format: FORMAT,
        port: MQTT_LOOPBACK_PORT,
        folder: JOURNAL_FOLDER.to_owned(),
        window: WINDOW,
        commit_ms: COMMIT_MS,
        keep: Keep::default(),
        // A plausible year proves nothing: a Pi has no clock of its own.
        trust_clock: false,
        clock_patience_s: clock_patience_s(&site.outbound),
        meters: site.meters.iter().map(Listened::of).collect(),
        readers: site
            .readers
            .iter()
            .map(|reader| reader.name.clone())
            .collect(),
    }
}

/// Where no time service is let out, nobody but a reader can tell the time.
fn clock_patience_s(outbound: &Outbound) -> u64 {
    if outbound.time_servers.is_empty() {
        0
    } else {
        CLOCK_PATIENCE_S
    }
}

/// Started afresh when the program changes, and not the broker: what comes in the meantime waits
/// there.
pub(super) fn units() -> [UnitEntry; 2] {
    let running = |name: &str, restart_for: &[&str]| UnitEntry {
        name: name.to_owned(),
        state: UnitState::Running,
        restart_for: restart_for.iter().map(|path| (*path).to_owned()).collect(),
        reload_for: vec![],
    };
    [
        running(
            DAEMON_UNIT,
            &[PROGRAM_PATH, DAEMON_PATH, SETTINGS_PATH, PASSWORD_PATH],
        ),
        running(
            TICKER_UNIT,
            &[PROGRAM_PATH, TICKER_PATH, TICKER_PASSWORD_PATH],
        ),
    ]
}

/// The folder of the last part of a path that systemd makes for a unit.
fn made_by_systemd(path: &str, below: &str) -> String {
    let inside = path.strip_prefix(below).unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).to_owned()
}

/// Neither needs the other, and both go on trying while the broker is away: so it is named for the
/// order only. `DynamicUser` makes a user that owns nothing but the folders here, and that the
/// firewall lets nowhere.
fn daemon() -> String {
    let state = made_by_systemd(JOURNAL_FOLDER, "/var/lib/");
    let runtime = made_by_systemd(REPORT_PATH, "/run/");
    let command = format!(
        "{PROGRAM_PATH} run --password-file ${{CREDENTIALS_DIRECTORY}}/password --report {REPORT_PATH}"
    );
    let own = format!(
        "\
StateDirectory={state}
StateDirectoryMode=0700
# In memory; gone when the daemon ends, so that no report outlives it.
RuntimeDirectory={runtime}
RuntimeDirectoryMode=0700
# What it then has not acknowledged comes again.
TimeoutStopSec=5
MemoryMax=128M
"
    );
    unit(
        "Shelly Bastion journal: every message on disk, served to readers",
        &command,
        PASSWORD_PATH,
        &own,
    )
}

fn ticker() -> String {
    let command =
        format!("{PROGRAM_PATH} ticker --password-file ${{CREDENTIALS_DIRECTORY}}/password");
    unit(
        "Shelly Bastion ticker: the time for what waits in the broker",
        &command,
        TICKER_PASSWORD_PATH,
        "TimeoutStopSec=5\nMemoryMax=64M\n",
    )
}

/// `ProtectClock` takes away the setting of clocks only: whether the time service has set the clock
/// is read from a file below `/run/systemd/timesync`.
fn unit(says: &str, command: &str, password: &str, own: &str) -> String {
    format!(
        "\
# Written by shelly-bastion; changes made here are lost.
[Unit]
Description={says}
Requires={POLICY_UNIT}
After={POLICY_UNIT} {BROKER_UNIT}
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={command}
LoadCredential=password:{password}
DynamicUser=yes
Restart=always
RestartSec=2
WatchdogSec=60
{own}UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_INET AF_UNIX
{SANDBOX}
[Install]
WantedBy=multi-user.target
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a unit that order it among others.
    fn relations(unit: &str) -> Vec<&str> {
        let kinds = ["Requires=", "Wants=", "BindsTo=", "PartOf=", "After="];
        let lines = unit.lines();
        lines
            .filter(|line| kinds.iter().any(|kind| line.starts_with(kind)))
            .collect()
    }

    #[test]
    fn neither_needs_the_other_and_the_broker_is_not_needed_either() {
        for unit in [daemon(), ticker()] {
            assert_eq!(
                relations(&unit),
                [
                    format!("Requires={POLICY_UNIT}"),
                    format!("After={POLICY_UNIT} {BROKER_UNIT}")
                ]
            );
        }
    }

    /// Whoever has neither the right nor the family cannot write frames past the policy.
    #[test]
    fn neither_has_a_capability_or_a_socket_for_frames() {
        for unit in [daemon(), ticker()] {
            let lines: Vec<&str> = unit.lines().collect();
            for line in [
                "CapabilityBoundingSet=",
                "AmbientCapabilities=",
                "NoNewPrivileges=yes",
                "RestrictAddressFamilies=AF_INET AF_UNIX",
            ] {
                assert!(lines.contains(&line), "{line}");
            }
        }
    }

    #[test]
    fn folders_are_those_that_the_program_knows() {
        let unit = daemon();
        assert_eq!(JOURNAL_FOLDER, "/var/lib/shelly-bastion-journal");
        assert!(unit.contains("\nStateDirectory=shelly-bastion-journal\n"));
        assert!(REPORT_PATH.starts_with("/run/shelly-bastion-daemon/"));
        assert!(unit.contains("\nRuntimeDirectory=shelly-bastion-daemon\n"));
    }

    #[test]
    fn a_new_program_restarts_these_two_and_a_setting_its_own() {
        let [daemon, ticker] = units();
        for unit in [&daemon, &ticker] {
            assert!(unit.restart_for.contains(&PROGRAM_PATH.to_owned()));
            assert!(unit.reload_for.is_empty());
        }
        assert!(daemon.restart_for.contains(&SETTINGS_PATH.to_owned()));
        assert!(!ticker.restart_for.contains(&SETTINGS_PATH.to_owned()));
        assert!(!ticker.restart_for.contains(&PASSWORD_PATH.to_owned()));
    }
}
