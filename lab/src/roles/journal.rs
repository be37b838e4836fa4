//! The journal's daemon and its ticker on the bastion, started as their units start them on a Pi:
//! each as a user of its own that owns nothing but its folders, without a capability, with its
//! password in a file for it alone.

use std::time::Duration;

use anyhow::{Context as _, Result};
use site::daemon::{
    JOURNAL_FOLDER, PASSWORD_PATH, REPORT_PATH, Report, SETTINGS_PATH, Settings,
    TICKER_PASSWORD_PATH,
};

use super::bastion::LAUNCHER;
use crate::eventually::{Look, eventually};
use crate::node::{Node, Upload};

/// The daemon, by the name under which it was started.
pub const DAEMON: &str = "daemon";
/// The ticker, by the name under which it was started.
pub const TICKER: &str = "ticker";
const UP: Duration = Duration::from_secs(20);

fn users() -> String {
    format!(
        "for name in {DAEMON} {TICKER}; do
             id lab-$name >/dev/null 2>&1 ||
                 useradd --system --user-group --no-create-home --shell /usr/sbin/nologin lab-$name
         done\n"
    )
}

/// The journal's folder, an empty one for the report, and the file by which a time service says that
/// it has set the clock: the containers have the host's.
fn folders() -> String {
    let report = REPORT_PATH
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    format!(
        "rm -rf {report}
         for folder in {JOURNAL_FOLDER} {report}; do
             install -d -m 700 -o lab-{DAEMON} -g lab-{DAEMON} $folder
         done
         mkdir -p /run/systemd/timesync
         touch /run/systemd/timesync/synchronized\n"
    )
}

fn credential(name: &str, from: &str) -> String {
    format!(
        "install -D -m 400 -o lab-{name} -g lab-{name} {from} /run/credentials/{name}/password\n"
    )
}

async fn start(node: &Node, name: &str, arguments: &[&str]) -> Result<()> {
    let user = format!("lab-{name}");
    let dropped = [
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps=-all",
        "--bounding-set=-all",
        LAUNCHER,
    ];
    node.spawn(name, &[&dropped, arguments].concat()).await
}

/// Starts the ticker.
///
/// # Errors
/// When the engine refuses.
pub async fn start_ticker(node: &Node) -> Result<()> {
    node.script(&(users() + &credential(TICKER, TICKER_PASSWORD_PATH)))
        .await?;
    let password = format!("/run/credentials/{TICKER}/password");
    start(node, TICKER, &["ticker", "--password-file", &password]).await
}

/// Starts the daemon, and waits until it hears the broker.
///
/// # Errors
/// When it does not get there; the message carries the end of its log.
pub async fn start_daemon(node: &Node) -> Result<()> {
    node.script(&(users() + &folders() + &credential(DAEMON, PASSWORD_PATH)))
        .await?;
    let password = format!("/run/credentials/{DAEMON}/password");
    let arguments = ["run", "--password-file", &password, "--report", REPORT_PATH];
    start(node, DAEMON, &arguments).await?;
    eventually("the daemon to hear the broker", UP, || async {
        match report(node).await {
            Ok(report) if report.connected => Ok(Look::Done(())),
            found => {
                let log = node.run(&["tail", "-n", "3", "/var/log/daemon.log"]).await;
                let found = found.map(|report| report.connections);
                Ok(Look::NotYet(format!(
                    "{found:?} {}",
                    log.unwrap_or_default()
                )))
            }
        }
    })
    .await
}

/// What the daemon says of itself.
///
/// # Errors
/// When there is no report.
pub async fn report(node: &Node) -> Result<Report> {
    let text = node.run(&["cat", REPORT_PATH]).await?;
    serde_json::from_str(&text).context("reading the daemon's report")
}

/// Changes the daemon's settings for its next start.
///
/// # Errors
/// When there are none.
pub async fn change_settings(node: &Node, change: impl FnOnce(&mut Settings)) -> Result<()> {
    let text = node.run(&["cat", SETTINGS_PATH]).await?;
    let mut settings: Settings =
        serde_json::from_str(&text).context("reading the daemon's settings")?;
    change(&mut settings);
    let content = serde_json::to_vec_pretty(&settings).context("writing the daemon's settings")?;
    node.upload(&[Upload {
        path: SETTINGS_PATH.to_owned(),
        mode: 0o644,
        content,
    }])
    .await
}
