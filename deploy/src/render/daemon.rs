//! The daemon and its ticker: settings, passwords, units.
//!
//! Both get a user of their own from the service manager, see no password but their own, and speak
//! to nobody but the broker on loopback.

use site::Site;
use site::daemon::{
    DAEMON_ACCOUNT, FORMAT, JOURNAL_FOLDER, Keep, Listened, PASSWORD_PATH, REPORT_PATH,
    SETTINGS_PATH, Settings, TICKER_ACCOUNT, TICKER_PASSWORD_PATH,
};
use site::flow::MQTT_LOOPBACK_PORT;
use site::manifest::{PROGRAM_PATH, UnitEntry, UnitState};

use super::{RenderError, RenderedFile, json};
use crate::secrets::Secrets;

const DAEMON_UNIT: &str = "shelly-bastion-daemon.service";
const DAEMON_PATH: &str = "/etc/systemd/system/shelly-bastion-daemon.service";
const TICKER_UNIT: &str = "shelly-bastion-ticker.service";
const TICKER_PATH: &str = "/etc/systemd/system/shelly-bastion-ticker.service";

/// Messages on their way before the first is acknowledged; the broker's own limit is the same.
const WINDOW: u16 = 1000;

pub(super) fn files(site: &Site, secrets: &Secrets) -> Result<Vec<RenderedFile>, RenderError> {
    let settings = Settings {
        format: FORMAT,
        port: MQTT_LOOPBACK_PORT,
        folder: JOURNAL_FOLDER.to_owned(),
        window: WINDOW,
        commit_ms: 1000,
        keep: Keep::default(),
        trust_clock: false,
        clock_patience_s: 600,
        meters: site.meters.iter().map(Listened::of).collect(),
        readers: site
            .readers
            .iter()
            .map(|reader| reader.name.clone())
            .collect(),
    };
    let password = |path: &str, account: &str| -> Result<RenderedFile, RenderError> {
        Ok(RenderedFile {
            path: path.to_owned(),
            mode: 0o600,
            owner: "root",
            group: "root",
            content: format!("{}\n", secrets.password(account)?.expose()).into_bytes(),
        })
    };
    Ok(vec![
        password(PASSWORD_PATH, DAEMON_ACCOUNT)?,
        password(TICKER_PASSWORD_PATH, TICKER_ACCOUNT)?,
        RenderedFile::public(SETTINGS_PATH, json(SETTINGS_PATH, &settings)?),
        RenderedFile::public(DAEMON_PATH, daemon()),
        RenderedFile::public(TICKER_PATH, ticker()),
    ])
}

/// A restart of the daemon loses nothing; of the ticker, the times of what waits in that second.
pub(super) fn units() -> Vec<UnitEntry> {
    let unit = |name: &str, files: &[&str]| UnitEntry {
        name: name.to_owned(),
        state: UnitState::Running,
        restart_for: files.iter().map(|path| (*path).to_owned()).collect(),
        reload_for: vec![],
    };
    vec![
        unit(TICKER_UNIT, &[TICKER_PATH, TICKER_PASSWORD_PATH]),
        unit(
            DAEMON_UNIT,
            &[DAEMON_PATH, PROGRAM_PATH, SETTINGS_PATH, PASSWORD_PATH],
        ),
    ]
}

/// What both may do: nearly nothing.
const SANDBOX: &str = "\
DynamicUser=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
RestrictAddressFamilies=AF_INET AF_UNIX
IPAddressDeny=any
IPAddressAllow=localhost
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077
";

fn daemon() -> String {
    let journal = JOURNAL_FOLDER.trim_start_matches("/var/lib/");
    let runtime = REPORT_PATH
        .trim_start_matches("/run/")
        .trim_end_matches("/report.json");
    format!(
        "\
[Unit]
Description=Shelly Bastion journal
Requires=shelly-bastion-policy.service
After=shelly-bastion-policy.service mosquitto.service
Wants=mosquitto.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={PROGRAM_PATH} run --password-file %d/password --report {REPORT_PATH}
LoadCredential=password:{PASSWORD_PATH}
StateDirectory={journal}
StateDirectoryMode=0700
RuntimeDirectory={runtime}
RuntimeDirectoryMode=0755
# Ready once the broker has granted everything, however long that takes.
TimeoutStartSec=infinity
TimeoutStopSec=20
WatchdogSec=60
Restart=always
RestartSec=1
MemoryMax=64M
# Its threads hand memory to each other; an arena for each would only keep more of it.
Environment=MALLOC_ARENA_MAX=1
{SANDBOX}
[Install]
WantedBy=multi-user.target
"
    )
}

fn ticker() -> String {
    format!(
        "\
[Unit]
Description=Shelly Bastion ticker: dates what waits while the journal's daemon is away
Requires=shelly-bastion-policy.service
After=shelly-bastion-policy.service mosquitto.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={PROGRAM_PATH} ticker --password-file %d/password
LoadCredential=password:{TICKER_PASSWORD_PATH}
Restart=always
RestartSec=1
MemoryMax=32M
{SANDBOX}
[Install]
WantedBy=multi-user.target
"
    )
}
