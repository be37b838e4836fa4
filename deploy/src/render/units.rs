//! systemd units: the policy is there before the network, and the broker only with the policy.
//! Those that load rules are in `units::rules`.

mod rules;

use site::manifest::{
    ACL_PATH, MOSQUITTO_CONF_PATH, PASSWD_PATH, PROGRAM_PATH, PackageEntry, UnitEntry, UnitState,
};
use site::{Bastion, Site};

use super::{RenderedFile, daemon, system};

pub(super) use rules::POLICY_UNIT;

use rules::{EARLY_UNIT, EGRESS_UNIT, loaded};

/// What is added to the distribution's broker unit.
pub(super) const BROKER_UNIT: &str = "mosquitto.service";
/// Opens SSH to the LAN for minutes when a file on the boot partition asks for it.
const OPEN_UNIT: &str = "shelly-bastion-open.service";
const OPEN_PATH: &str = "/etc/systemd/system/shelly-bastion-open.service";
/// Compares the bastion with its release, now and then, and tells readers of a change.
const VERIFY_PATH: &str = "/etc/systemd/system/shelly-bastion-verify.service";
const VERIFY_TIMER: &str = "shelly-bastion-verify.timer";
const VERIFY_TIMER_PATH: &str = "/etc/systemd/system/shelly-bastion-verify.timer";
/// The first version that does what the configuration says.
const OLDEST_BROKER: &str = "2.0.11";
const BROKER_PATH: &str = "/etc/systemd/system/mosquitto.service.d/shelly-bastion.conf";

/// What every program of the bastion that hears others goes without. Capabilities and address
/// families are each unit's own.
pub(super) const SANDBOX: &str = "\
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
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
";

/// The packages that the bastion stands on.
pub(super) fn packages(site: &Site) -> Vec<PackageEntry> {
    let mut packages = vec![
        PackageEntry {
            name: "mosquitto".to_owned(),
            at_least: Some(OLDEST_BROKER.to_owned()),
        },
        PackageEntry {
            name: "nftables".to_owned(),
            at_least: None,
        },
    ];
    packages.extend(system::packages(&site.outbound));
    packages
}

/// The units that are looked after.
pub(super) fn managed(site: &Site) -> Vec<UnitEntry> {
    let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    let mut units = vec![
        loaded(EARLY_UNIT),
        loaded(POLICY_UNIT),
        loaded(EGRESS_UNIT),
        UnitEntry {
            name: BROKER_UNIT.to_owned(),
            state: UnitState::Running,
            restart_for: paths(&[MOSQUITTO_CONF_PATH, BROKER_PATH]),
            reload_for: paths(&[PASSWD_PATH, ACL_PATH]),
        },
    ];
    // Behind the broker: it must know their accounts before they come.
    units.extend(daemon::units());
    units.push(UnitEntry {
        name: OPEN_UNIT.to_owned(),
        state: UnitState::Running,
        restart_for: vec![],
        reload_for: vec![],
    });
    units.push(UnitEntry {
        name: VERIFY_TIMER.to_owned(),
        state: UnitState::Running,
        restart_for: paths(&[VERIFY_TIMER_PATH]),
        reload_for: vec![],
    });
    units.extend(system::units(site));
    units
}

pub(super) fn units(bastion: &Bastion) -> Vec<RenderedFile> {
    let mut files = rules::files(&bastion.interface);
    files.extend([
        RenderedFile::public(BROKER_PATH, broker()),
        RenderedFile::public(OPEN_PATH, open()),
        RenderedFile::public(VERIFY_PATH, verify()),
        RenderedFile::public(VERIFY_TIMER_PATH, verify_timer()),
    ]);
    files
}

/// As root, since it asks nft and becomes other users for its probes, and with no more than that.
/// It writes below `/run` alone: the lock, and the verdict. A verdict of "could not tell" is no
/// failure of the unit; a broken one is, so that `systemctl --failed` shows it.
fn verify() -> String {
    format!(
        "\
[Unit]
Description=Shelly Bastion: compares this machine with its release
After={POLICY_UNIT} {BROKER_UNIT}

[Service]
Type=oneshot
ExecStart={PROGRAM_PATH} verify --tell
SuccessExitStatus=2
TimeoutStartSec=300
Nice=10
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_NET_ADMIN CAP_SETUID CAP_SETGID CAP_DAC_READ_SEARCH
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
{SANDBOX}ReadWritePaths=/run
"
    )
}

/// Not at once when it is put in place: the deployment verifies by itself.
fn verify_timer() -> String {
    "\
[Unit]
Description=Shelly Bastion: compares this machine with its release, now and then

[Timer]
OnActiveSec=5min
OnUnitInactiveSec=15min
RandomizedDelaySec=2min

[Install]
WantedBy=timers.target
"
    .to_owned()
}

/// The unit is there without a condition, so that it counts as running, and does nothing when
/// there is no file. Raspberry Pi OS has its boot partition below `/boot/firmware`, older and
/// other systems at `/boot`.
fn open() -> String {
    format!(
        "\
[Unit]
Description=SSH for the LAN for minutes, if a file on the boot partition asks for it
# Not Requires: where the policy does not load, the early rules keep everybody but the admins out.
After=shelly-bastion-policy.service local-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'test ! -e /boot/firmware/shelly-bastion-open && test ! -e /boot/shelly-bastion-open || exec {PROGRAM_PATH} open --from-boot-file'

[Install]
WantedBy=multi-user.target
"
    )
}

/// The distribution's unit starts the broker as root and hands folders over to its user first.
/// The broker needs neither: it binds no low port and writes nothing, so it starts as its user,
/// without a single capability, and into a file system that it cannot change.
fn broker() -> String {
    format!(
        "\
[Unit]
Requires=shelly-bastion-policy.service
After=shelly-bastion-policy.service
StartLimitIntervalSec=0

[Service]
User=mosquitto
Group=mosquitto
# Making and handing over /run/mosquitto and /var/log/mosquitto: not used, and not allowed here.
ExecStartPre=
Restart=always
RestartSec=2
# Each connection of a stranger is a line or two: a flood of them must not wear the card.
LogRateLimitIntervalSec=60s
LogRateLimitBurst=1000
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
{SANDBOX}LimitNOFILE=65536
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever has neither the right nor the family cannot write frames past the policy. And it runs
    /// with the whole policy only: the early rules are another unit's.
    #[test]
    fn the_broker_has_no_capability_or_socket_for_frames() {
        let broker = broker();
        let lines: Vec<&str> = broker.lines().collect();
        for line in [
            "Requires=shelly-bastion-policy.service",
            "After=shelly-bastion-policy.service",
            "User=mosquitto",
            "CapabilityBoundingSet=",
            "AmbientCapabilities=",
            "NoNewPrivileges=yes",
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        ] {
            assert!(lines.contains(&line), "{line}");
        }
    }
}
