//! How the bastion's own system is kept: kernel settings, log, clock, updates, watchdog.
//!
//! Everything is a file of its own beside the distribution's, which stay as they are. Nothing
//! is rendered for logrotate: the broker and this project's programs write to the journal, whose
//! size is bounded here, and Debian's rotation of the broker's log finds no file.

use std::collections::BTreeSet;

use site::flow::{RESOLVER_USER, TIME_USER, package_of_user};
use site::manifest::{PackageEntry, UnitEntry, UnitState};
use site::{Outbound, Site, System};

use super::RenderedFile;

/// Behind the distribution's own `99-sysctl.conf`; the last one wins.
const SYSCTL_PATH: &str = "/etc/sysctl.d/99-zz-shelly-bastion.conf";
const JOURNAL_PATH: &str = "/etc/systemd/journald.conf.d/shelly-bastion.conf";
const MANAGER_PATH: &str = "/etc/systemd/system.conf.d/shelly-bastion.conf";
const TIME_PATH: &str = "/etc/systemd/timesyncd.conf.d/shelly-bastion.conf";
/// Behind `50unattended-upgrades`, whose list of origins it replaces.
const APT_PATH: &str = "/etc/apt/apt.conf.d/60shelly-bastion";

const WRITTEN_BY: &str = "# Written by shelly-bastion; changes made here are lost.\n";

/// Other time services, which would hold the port and set the same clock.
const OTHER_TIME_SERVICES: [&str; 4] = [
    "chrony.service",
    "ntp.service",
    "ntpsec.service",
    "openntpd.service",
];
const APT_TIMERS: [&str; 2] = ["apt-daily.timer", "apt-daily-upgrade.timer"];

pub(super) fn files(site: &Site) -> Vec<RenderedFile> {
    let Site {
        system, outbound, ..
    } = site;
    let mut files = vec![
        RenderedFile::public(SYSCTL_PATH, kernel()),
        RenderedFile::public(JOURNAL_PATH, journal(system)),
        RenderedFile::public(MANAGER_PATH, manager(system)),
    ];
    if !outbound.time_servers.is_empty() {
        files.push(RenderedFile::public(TIME_PATH, time(outbound)));
    }
    if outbound.updates {
        files.push(RenderedFile::public(APT_PATH, apt()));
    }
    files
}

/// The packages of which the policy's users and the files here come. `_apt` is apt's own.
pub(super) fn packages(outbound: &Outbound) -> Vec<PackageEntry> {
    let needed = [
        (
            package_of_user(TIME_USER),
            !outbound.time_servers.is_empty(),
        ),
        (package_of_user(RESOLVER_USER), outbound.resolved),
        (Some("unattended-upgrades"), outbound.updates),
    ];
    let needed = needed.into_iter().filter(|(_, needed)| *needed);
    needed
        .filter_map(|(name, _)| {
            Some(PackageEntry {
                name: name?.to_owned(),
                at_least: None,
            })
        })
        .collect()
}

/// What runs, in the order in which it is started, and what is off.
pub(super) fn units(site: &Site) -> Vec<UnitEntry> {
    let running = |name: &str, restart_for: &[&str]| UnitEntry {
        name: name.to_owned(),
        state: UnitState::Running,
        restart_for: restart_for.iter().map(|path| (*path).to_owned()).collect(),
        reload_for: vec![],
    };
    let off = |name: &str| UnitEntry {
        name: name.to_owned(),
        state: UnitState::Off,
        restart_for: vec![],
        reload_for: vec![],
    };
    let mut units = vec![
        running("systemd-sysctl.service", &[SYSCTL_PATH]),
        running("systemd-journald.service", &[JOURNAL_PATH]),
    ];
    let mut others: Vec<&str> = site.system.off.iter().map(String::as_str).collect();
    if !site.outbound.time_servers.is_empty() {
        units.push(running("systemd-timesyncd.service", &[TIME_PATH]));
        others.extend(OTHER_TIME_SERVICES);
    }
    if site.outbound.updates {
        units.extend(APT_TIMERS.map(|timer| running(timer, &[])));
    } else {
        // They would fail every day, and say so.
        others.extend(APT_TIMERS);
    }
    let mut seen = BTreeSet::new();
    others.retain(|name| {
        let runs = units.iter().any(|unit| unit.name == *name);
        seen.insert(*name) && !runs
    });
    units.extend(others.into_iter().map(off));
    units
}

/// IPv6 keeps what it needs to work: router advertisements and neighbour discovery. A machine
/// without IPv6 has no such keys, and the dash lets them be missing.
fn kernel() -> String {
    format!(
        "\
{WRITTEN_BY}
# No router: the policy refuses forwarding, and the kernel does not do it.
net.ipv4.ip_forward = 0
-net.ipv6.conf.all.forwarding = 0

# Nobody tells this machine other ways, and it tells nobody.
net.ipv4.conf.*.accept_redirects = 0
net.ipv4.conf.*.secure_redirects = 0
net.ipv4.conf.*.send_redirects = 0
net.ipv4.conf.*.accept_source_route = 0
-net.ipv6.conf.*.accept_redirects = 0
-net.ipv6.conf.*.accept_source_route = 0

# What cannot have come from where it says is dropped.
net.ipv4.conf.*.rp_filter = 1
net.ipv4.icmp_echo_ignore_broadcasts = 1

# A flood of half-open connections shuts nobody out.
net.ipv4.tcp_syncookies = 1

kernel.dmesg_restrict = 1
"
    )
}

fn journal(system: &System) -> String {
    format!(
        "\
{WRITTEN_BY}[Journal]
Storage=persistent
SystemMaxUse={}M
RuntimeMaxUse=16M
",
        system.journal_mib
    )
}

fn manager(system: &System) -> String {
    let watchdog = match system.watchdog_s {
        0 => "off".to_owned(),
        seconds => format!("{seconds}s"),
    };
    format!(
        "\
{WRITTEN_BY}[Manager]
# The hardware restarts a machine that hangs. A Pi's watchdog cannot wait longer than 15 s.
RuntimeWatchdogSec={watchdog}
"
    )
}

/// The first, empty line forgets what DHCP has added: the policy would refuse it. An empty
/// fallback would bring the distribution's list back, so it is the same list.
fn time(outbound: &Outbound) -> String {
    let servers = outbound.time_servers.join(" ");
    format!(
        "\
{WRITTEN_BY}[Time]
NTP=
NTP={servers}
FallbackNTP={servers}
"
    )
}

/// The distribution's list of origins names Debian's only, and so matches nothing of Raspbian.
/// Without the options for dpkg, a broker whose configuration is ours would never be upgraded.
fn apt() -> String {
    "\
// Written by shelly-bastion; changes made here are lost.
// The policy lets apt out over IPv4 only, and what does not answer shall not hold it up.
Acquire::ForceIPv4 \"true\";
Acquire::Retries \"3\";
Acquire::http::Timeout \"20\";
Acquire::https::Timeout \"20\";

APT::Periodic::Update-Package-Lists \"1\";
APT::Periodic::Unattended-Upgrade \"1\";
APT::Periodic::AutocleanInterval \"7\";

#clear Unattended-Upgrade::Allowed-Origins;
#clear Unattended-Upgrade::Origins-Pattern;
Unattended-Upgrade::Origins-Pattern {
    \"origin=Debian,codename=${distro_codename},label=Debian\";
    \"origin=Debian,codename=${distro_codename}-updates,label=Debian\";
    \"origin=Debian,codename=${distro_codename}-security,label=Debian-Security\";
    \"origin=Raspbian,codename=${distro_codename},label=Raspbian\";
    \"origin=Raspberry Pi Foundation,codename=${distro_codename},label=Raspberry Pi Foundation\";
};
// Nobody is surprised by a restart; `deploy status` says when one is due.
Unattended-Upgrade::Automatic-Reboot \"false\";
Unattended-Upgrade::Remove-Unused-Kernel-Packages \"true\";
Dpkg::Options {
    \"--force-confdef\";
    \"--force-confold\";
};
"
    .to_owned()
}
