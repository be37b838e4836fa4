//! What goes back by itself: a timer while the machine runs, and a unit when it starts.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use site::manifest::Manifest;

use super::record::{BACK, COPIES, DONE, FOLDER};
use crate::durable;
use crate::host::Host;
use crate::units::UNITS_FOLDER;

/// Goes back at boot. It cannot have the timer's name: systemd makes no transient unit where a
/// file of that name lies.
const BOOT_UNIT: &str = "shelly-bastion-go-back.service";
const BOOT_FOLDER: &str = "sysinit.target.wants";
/// Goes back when the time is over; known to systemd alone, so a reboot forgets it.
const WINDOW: &str = "shelly-bastion-window";

/// Arms both, and makes sure that the timer runs. `deadline_s` is the uptime in seconds at which the
/// window of `window_s` seconds is over.
pub(super) fn arm(host: &Host, manifest: &Manifest, window_s: u64, deadline_s: u64) -> Result<()> {
    let path = host.path(&format!("{UNITS_FOLDER}/{BOOT_UNIT}"));
    durable::write(
        host,
        &path,
        boot_unit(manifest).as_bytes(),
        0o644,
        durable::own(),
    )?;
    // A link is all that enabling does. systemd reads it when it starts, and not before.
    durable::link(
        host,
        &boot_link(host),
        Path::new("..").join(BOOT_UNIT).as_path(),
    )?;
    stop_timer(host)?;
    host.run(
        "systemd-run",
        &[
            "--quiet",
            "--collect",
            &format!("--unit={WINDOW}"),
            "--description=Shelly Bastion goes back, since nobody confirmed the change",
            // The uptime: a machine without a clock of its own may jump by years. Seconds from now on
            // would begin anew whenever systemd reloads its units, which a change does. They are
            // here as well, since systemd forgets an uptime that goes by during a reload.
            &format!("--on-boot={deadline_s}s"),
            &format!("--on-active={window_s}s"),
            "--timer-property=AccuracySec=100ms",
            &format!("{FOLDER}/bastion"),
            "go-back",
        ],
    )?;
    let timer = format!("{WINDOW}.timer");
    let answer = host.ask("systemctl", &["is-active", "--quiet", &timer])?;
    ensure!(answer.code == Some(0), "{timer} does not run");
    Ok(())
}

/// Takes both away. May be done again.
pub(super) fn disarm(host: &Host) -> Result<()> {
    if host.has_systemd() {
        stop_timer(host)?;
    }
    let link = boot_link(host);
    durable::remove(host, &link)?;
    if let Some(folder) = link.parent() {
        // Only an empty one goes, and an empty one means nothing.
        let _ = fs::remove_dir(folder);
    }
    durable::remove(host, &host.path(&format!("{UNITS_FOLDER}/{BOOT_UNIT}")))?;
    Ok(())
}

/// Whether a path below systemd's folder belongs to the unit at boot.
pub(super) fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.trim_end_matches(".shelly-bastion-new") == BOOT_UNIT
    })
}

fn boot_link(host: &Host) -> std::path::PathBuf {
    host.path(&format!("{UNITS_FOLDER}/{BOOT_FOLDER}/{BOOT_UNIT}"))
}

/// A timer that is not there is stopped, and systemd says so by failing.
fn stop_timer(host: &Host) -> Result<()> {
    let timer = format!("{WINDOW}.timer");
    host.ask("systemctl", &["stop", "--quiet", &timer])
        .context("stopping the timer")?;
    Ok(())
}

/// Before anything of the bastion's, and before the network. A change that holds, or was undone, and
/// whose last steps were cut short, is brought to its end by the same command.
fn boot_unit(manifest: &Manifest) -> String {
    let own = manifest.units.iter().map(|unit| unit.name.as_str());
    let own: Vec<&str> = own
        .filter(|name| name.starts_with("shelly-bastion"))
        .collect();
    let conditions: Vec<String> = COPIES
        .iter()
        .map(|copy| format!("{FOLDER}/{copy}"))
        .chain([DONE, BACK].map(str::to_owned))
        .map(|path| format!("ConditionPathExists=|{path}"))
        .collect();
    format!(
        "\
[Unit]
Description=Shelly Bastion goes back, since the change was not confirmed before the restart
DefaultDependencies=no
{conditions}
RequiresMountsFor={FOLDER} /etc /usr/local
After=local-fs.target systemd-remount-fs.service
Before=shelly-bastion-policy.service {own}
Before=network-pre.target nftables.service systemd-networkd.service NetworkManager.service
Before=dhcpcd.service networking.service mosquitto.service ssh.service sysinit.target
Wants=network-pre.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
# A start that waits for ever would be a lock-out too.
TimeoutStartSec=90
ExecStart=/bin/sh -c 'for folder in {FOLDER} {BACK} {DONE}; do \
  if [ -x $$folder/bastion ]; then exec $$folder/bastion go-back --boot; fi; done'

[Install]
WantedBy=sysinit.target
",
        conditions = conditions.join("\n"),
        own = own.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::process::Command;

    use crate::bundle::parse_manifest;

    /// systemd itself reads the unit.
    #[test]
    fn systemd_takes_the_unit() {
        let text = fs::read_to_string(crate::fake::one().path().join("manifest.json")).unwrap();
        let unit = super::boot_unit(&parse_manifest(&text).unwrap());
        assert!(
            unit.contains("Before=shelly-bastion-policy.service"),
            "{unit}"
        );
        // Whatever a change was cut short in.
        let left = [
            "transaction/record.json",
            "transaction/record-copy.json",
            "transaction-done",
            "transaction-back",
        ];
        for path in left {
            let condition = format!("\nConditionPathExists=|/var/lib/shelly-bastion/{path}\n");
            assert!(unit.contains(&condition), "{path}: {unit}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(super::BOOT_UNIT);
        fs::write(&path, unit).unwrap();
        let Ok(output) = Command::new("systemd-analyze")
            .arg("verify")
            .arg(&path)
            .output()
        else {
            let _ = writeln!(
                std::io::stderr(),
                "skipped: systemd_takes_the_unit: there is no systemd-analyze"
            );
            return;
        };
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complained}");
        assert!(!complained.contains(super::BOOT_UNIT), "{complained}");
    }
}
