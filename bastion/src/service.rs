//! The broker where there is no systemd: a plain process, found again by its name.
//!
//! This serves containers. On the Pi systemd starts and supervises it, see [`crate::units`].

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use site::flow::{MQTT_LOOPBACK_PORT, MQTT_PORT};
use site::manifest::MOSQUITTO_CONF_PATH;

const BROKER: &str = "mosquitto";
const START_DEADLINE: Duration = Duration::from_secs(20);
const ONE_LOOK: Duration = Duration::from_millis(50);

/// Whether the broker runs.
///
/// # Errors
/// When the process list cannot be read.
pub(crate) fn broker_runs() -> Result<bool> {
    Ok(broker_process()?.is_some())
}

/// Starts the broker afresh, and waits until both of its listeners answer.
///
/// # Errors
/// When it cannot be started or does not listen in time.
pub(crate) fn restart_broker() -> Result<()> {
    if let Some(pid) = broker_process()? {
        kill_process(pid, Signal::TERM).context("stopping mosquitto")?;
        wait_until("mosquitto to end", || Ok(broker_process()? != Some(pid)))?;
    }
    start_process()?;
    wait_for_listeners()
}

/// Waits until both of the broker's listeners answer.
///
/// # Errors
/// When they do not in time.
pub(crate) fn wait_for_listeners() -> Result<()> {
    wait_until("mosquitto to listen on both ports", || {
        Ok([MQTT_PORT, MQTT_LOOPBACK_PORT].into_iter().all(answers))
    })
}

/// Lets the broker read passwords and access rules again. Connections stay, except those
/// of accounts that no longer pass.
///
/// # Errors
/// When it does not run or the signal cannot be sent.
pub(crate) fn reload_broker() -> Result<()> {
    let pid = broker_process()?.context("mosquitto does not run")?;
    kill_process(pid, Signal::HUP).context("asking mosquitto to read its accounts again")
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
