//! What preflight must see, sprung on the machine itself, one after the other; then taken away.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::deployed::{DEPLOYED, LATER, change_site};
use crate::listing::Listing;
use crate::stage::{Scenario, Stage, scenario};

const A_WHILE: Duration = Duration::from_secs(120);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!("pi::preflight_sees_each_trap", from DEPLOYED, traps).only_in_full()]
}

/// One trap.
struct Trap {
    /// Its name in `docs/preflight.md`.
    name: &'static str,
    /// How it is sprung, at the machine's console.
    spring: &'static str,
    /// How it is taken away.
    mend: &'static str,
}

const fn trap(name: &'static str, spring: &'static str, mend: &'static str) -> Trap {
    Trap { name, spring, mend }
}

/// Those for which nothing may be done.
const REFUSED: [Trap; 12] = [
    trap(
        "disk-full",
        "fallocate -l $(($(df --output=avail -B1 / | tail -n 1) - 100000000)) /root/fill",
        "rm /root/fill",
    ),
    trap(
        "clock-far-off",
        "timedatectl set-ntp false; date -s 2031-01-01",
        "timedatectl set-ntp true",
    ),
    trap(
        "no-sudo",
        "chmod 0700 /usr/bin/sudo; mv /usr/bin/sudo /usr/bin/sudo.away",
        "mv /usr/bin/sudo.away /usr/bin/sudo; chmod 4755 /usr/bin/sudo",
    ),
    trap(
        "sudo-password",
        "mv /etc/sudoers.d/010_pi-nopasswd /root/nopasswd",
        "mv /root/nopasswd /etc/sudoers.d/010_pi-nopasswd",
    ),
    trap(
        "port-taken",
        "systemctl stop mosquitto.service; systemd-run --quiet --collect --unit=lab-taker nc -lk 127.0.0.1 1884",
        "systemctl stop lab-taker.service; systemctl start mosquitto.service",
    ),
    trap(
        "packages-broken",
        "cp /var/lib/dpkg/status /root/status; sed -i '/^Package: nftables$/,/^$/s/^Status: .*/Status: install ok half-configured/' /var/lib/dpkg/status; ! cmp -s /root/status /var/lib/dpkg/status",
        "cp /root/status /var/lib/dpkg/status",
    ),
    trap(
        "other-bastion",
        "cp -a /etc/shelly-bastion/manifest.json /root/manifest; sed -i 's/\"site\": \"lab\"/\"site\": \"another\"/' /etc/shelly-bastion/manifest.json",
        "cp -a /root/manifest /etc/shelly-bastion/manifest.json",
    ),
    trap(
        "second-leg",
        "ip link add leg type dummy; ip link set leg up; ip addr add LAN_ADDRESS/24 dev leg noprefixroute",
        "ip link del leg",
    ),
    trap(
        "ssh-port",
        "echo 'Port 2222' > /etc/ssh/sshd_config.d/port.conf",
        "rm /etc/ssh/sshd_config.d/port.conf",
    ),
    trap(
        "read-only",
        "mount --bind /usr /usr; mount -o remount,ro,bind /usr",
        // What was started meanwhile has files open there.
        "umount --lazy /usr",
    ),
    trap(
        "noexec",
        "mount -t tmpfs -o noexec none /usr/local/sbin",
        "umount /usr/local/sbin",
    ),
    trap(
        "run-full",
        "fallocate -l $(($(df --output=avail -B1 /run | tail -n 1) - 4000000)) /run/fill",
        "rm /run/fill",
    ),
];

/// Those of which a person is told.
const WARNED: [Trap; 5] = [
    trap(
        "failed-units",
        "systemd-run --quiet --unit=lab-fails false; sleep 1",
        "systemctl reset-failed lab-fails.service",
    ),
    trap(
        "broker-files",
        "echo '# mine' > /etc/mosquitto/conf.d/mine.conf",
        "rm /etc/mosquitto/conf.d/mine.conf",
    ),
    trap(
        "other-interface",
        "ip link add other type dummy; ip link set other up; ip addr add 192.0.2.9/24 dev other",
        "ip link del other",
    ),
    trap(
        "foreign-rules",
        "nft add table inet mine; nft 'add chain inet mine input { type filter hook input priority 10; policy drop; }'; nft add rule inet mine input accept",
        "nft delete table inet mine",
    ),
    trap(
        "clock-off",
        "timedatectl set-ntp false; rm -f /run/systemd/timesync/synchronized; date -s @$(($(date +%s) + 3600))",
        "date -s @$(($(date +%s) - 3600)); timedatectl set-ntp true",
    ),
];

async fn traps(stage: &Stage) -> Result<String> {
    let access = stage.again("traps").await?;
    // Something to do, so that a machine that is refused is seen to be left alone.
    change_site(&access, |text| {
        text.replace("location = \"house 0\"", "location = \"a house\"")
    })?;
    let before = Listing::of(stage.machine()).await?;
    let lan = stage.lab.topology.lan.host(77).v4.to_string();
    let sound = stage.deployer(&access, &["pi", "--dry-run"], LATER).await?;
    ensure!(
        !sound.stderr.contains("refused ("),
        "the machine is not sound to begin with: {}",
        sound.stderr
    );
    let mut faults = Vec::new();
    for (traps, refused) in [(&REFUSED[..], true), (&WARNED[..], false)] {
        for Trap { name, spring, mend } in traps {
            let spring = spring.replace("LAN_ADDRESS", &lan);
            let sprung = stage.machine().console(&spring, A_WHILE).await?.success();
            sprung.with_context(|| format!("springing {name}"))?;
            let output = stage.deployer(&access, &["pi", "--dry-run"], LATER).await?;
            let mended = stage.machine().console(mend, A_WHILE).await?.success();
            mended.with_context(|| format!("mending {name}"))?;
            let word = if refused { "refused" } else { "warning" };
            let told = output.stderr.contains(&format!("{word} ({name})"));
            let remedy = output.stderr.contains("remedy:");
            if !told || !remedy || (refused && output.code != 1) || (!refused && output.code == 1) {
                faults.push(format!(
                    "{name}: exit code {}: {}",
                    output.code, output.stderr
                ));
            }
        }
    }
    ensure!(
        faults.is_empty(),
        "promise broken: not seen as they should:\n{}",
        faults.join("\n")
    );
    stage.machine().set_clock().await?;
    before.ensure_same(&Listing::of(stage.machine()).await?, "after all traps")?;
    let after = stage.deployer(&access, &["pi", "--dry-run"], LATER).await?;
    ensure!(
        !after.stderr.contains("refused ("),
        "the machine is not sound at the end: {}",
        after.stderr
    );
    Ok(format!(
        "{} refused and {} warned of, each by name with a remedy and alone; nothing of it was changed",
        REFUSED.len(),
        WARNED.len()
    ))
}
