//! The broker as a service: systemd on the Pi; a plain process where there is no systemd.
//!
//! The second form serves containers. Supervision is left to systemd, and to nobody there.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use site::flow::{MQTT_LOOPBACK_PORT, MQTT_PORT};
use site::manifest::MOSQUITTO_CONF_PATH;

const BROKER: &str = "mosquitto";
const START_DEADLINE: Duration = Duration::from_secs(20);
const ONE_LOOK: Duration = Duration::from_millis(50);

/// Who starts and stops the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Services {
    /// `systemctl`.
    Systemd,
    /// A child of our own, found again by its name.
    Process,
}

impl Services {
    /// What this machine has: systemd says so itself by this folder, see `sd_booted(3)`.
    #[must_use]
    pub fn of_this_machine() -> Services {
        if Path::new("/run/systemd/system").is_dir() {
            Services::Systemd
        } else {
            Services::Process
        }
    }

    /// Makes new or changed units known, and lets the policy's unit start at boot.
    ///
    /// # Errors
    /// When systemd refuses.
    pub fn units_changed(self) -> Result<()> {
        match self {
            Services::Systemd => {
                run("systemctl", &["daemon-reload"])?;
                run(
                    "systemctl",
                    &[
                        "enable",
                        "--quiet",
                        "shelly-bastion-policy.service",
                        "mosquitto.service",
                    ],
                )
            }
            Services::Process => Ok(()),
        }
    }

    /// Whether the broker runs.
    ///
    /// # Errors
    /// When the process list cannot be read.
    pub fn broker_runs(self) -> Result<bool> {
        match self {
            Services::Systemd => {
                let status = Command::new("systemctl")
                    .args(["is-active", "--quiet", "mosquitto.service"])
                    .status();
                Ok(status.context("starting systemctl")?.success())
            }
            Services::Process => Ok(broker_process()?.is_some()),
        }
    }

    /// Starts the broker afresh, and waits until both of its listeners answer.
    ///
    /// # Errors
    /// When it cannot be started or does not listen in time.
    pub fn restart_broker(self) -> Result<()> {
        match self {
            Services::Systemd => run("systemctl", &["restart", "mosquitto.service"])?,
            Services::Process => {
                if let Some(pid) = broker_process()? {
                    kill_process(pid, Signal::TERM).context("stopping mosquitto")?;
                    wait_until("mosquitto to end", || Ok(broker_process()? != Some(pid)))?;
                }
                start_process()?;
            }
        }
        wait_until("mosquitto to listen on both ports", || {
            Ok([MQTT_PORT, MQTT_LOOPBACK_PORT].into_iter().all(answers))
        })
    }

    /// Lets the broker read passwords and access rules again. Connections stay, except those
    /// of accounts that no longer pass.
    ///
    /// # Errors
    /// When it does not run or the signal cannot be sent.
    pub fn reload_broker(self) -> Result<()> {
        match self {
            Services::Systemd => run("systemctl", &["reload", "mosquitto.service"]),
            Services::Process => {
                let pid = broker_process()?.context("mosquitto does not run")?;
                kill_process(pid, Signal::HUP)
                    .context("asking mosquitto to read its accounts again")
            }
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The broker's log goes where journald would take it from.
fn start_process() -> Result<()> {
    let log = "/var/log/mosquitto.log";
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening {log}"))?;
    Command::new(BROKER)
        .args(["-c", MOSQUITTO_CONF_PATH])
        .stdin(Stdio::null())
        .stdout(
            output
                .try_clone()
                .with_context(|| format!("opening {log}"))?,
        )
        .stderr(output)
        .process_group(0)
        .spawn()
        .context("starting mosquitto; install the package mosquitto")?;
    Ok(())
}

fn broker_process() -> Result<Option<Pid>> {
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let entry = entry.context("reading /proc")?;
        let Some(number) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end while we look: then it is not the one we look for.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if is_running_broker(&stat) {
            return Ok(Pid::from_raw(number));
        }
    }
    Ok(None)
}

/// `/proc/PID/stat` begins `pid (name) state`; a zombie has ended already.
fn is_running_broker(stat: &str) -> bool {
    stat.split_once(" (")
        .and_then(|(_, rest)| rest.split_once(") "))
        .is_some_and(|(name, rest)| name == BROKER && !rest.starts_with('Z'))
}

fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

fn wait_until(what: &str, condition: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > START_DEADLINE {
            bail!(
                "waited {} s for {what}, in vain; its log says why",
                START_DEADLINE.as_secs()
            );
        }
        std::thread::sleep(ONE_LOOK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_running_broker;

    #[track_caller]
    fn check(stat: &str, expected: bool) {
        assert_eq!(is_running_broker(stat), expected, "{stat}");
    }

    #[test]
    fn finds_the_broker_by_its_name() {
        check("12 (mosquitto) S 1 12", true);
        check("12 (mosquitto) Z 1 12", false);
        check("12 (mosquitto_pub) S 1 12", false);
        check("12 (a (mosquitto) b) S 1 12", false);
        check("", false);
    }
}
