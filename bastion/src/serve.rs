//! The daemon and the ticker as processes: signals, the service manager, and files that they are told
//! to read. Both need one thread for their connections, whatever the number of cores.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

use crate::clock::{MachineClock, boot_id};
use crate::daemon::{self, Options, Sign, ticker};
use crate::host::read_text;
use crate::journal::Place;

/// Well within what the units allow.
const BEAT: Duration = Duration::from_secs(5);

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// When settings, password or journal cannot be read.
pub fn daemon(settings: &Path, password: &Path, report: Option<PathBuf>) -> Result<ExitCode> {
    let settings = daemon::read_settings(settings)?;
    let folder = PathBuf::from(&settings.folder);
    let options = Options {
        clock: Arc::new(MachineClock::new(settings.trust_clock)),
        boot: boot_id()?,
        // The folder may not be there yet, and then its parent is where it will be.
        place: Place::of(folder.parent().unwrap_or(&folder)),
        password: secret(password)?,
        report,
        settings,
    };
    runtime()?.block_on(async {
        let say = |sign| match sign {
            // Not only once the broker is there: `systemctl start` would wait for it, and a broker
            // that is away for long would get the daemon killed.
            Sign::Open => tell(NotifyState::Ready),
            Sign::Alive => tell(NotifyState::Watchdog),
            Sign::Subscribed => {}
        };
        daemon::run(options, say, told_to_stop()?).await?;
        tell(NotifyState::Stopping);
        Ok(ExitCode::SUCCESS)
    })
}

/// Runs the ticker until SIGTERM or SIGINT.
///
/// # Errors
/// When the password cannot be read.
pub fn ticker(port: u16, password: &Path) -> Result<ExitCode> {
    let (password, boot) = (secret(password)?, boot_id()?);
    let clock = Arc::new(MachineClock::new(true));
    runtime()?.block_on(async {
        tell(NotifyState::Ready);
        let stop = told_to_stop()?;
        tokio::select! {
            () = ticker::run(port, &password, clock, boot, stop) => {}
            () = live() => {}
        }
        tell(NotifyState::Stopping);
        Ok(ExitCode::SUCCESS)
    })
}

/// Tells the service manager for ever that the one thread here still gets round.
async fn live() {
    let mut beats = interval(BEAT);
    loop {
        beats.tick().await;
        tell(NotifyState::Watchdog);
    }
}

fn secret(path: &Path) -> Result<String> {
    Ok(read_text(path)?.trim().to_owned())
}

fn runtime() -> Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.context("starting the runtime")
}

fn told_to_stop() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Without a service manager nobody is told.
fn tell(state: NotifyState) {
    drop(sd_notify::notify(&[state]));
}
