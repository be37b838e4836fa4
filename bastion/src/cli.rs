//! The command line. Its help texts are the manual.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Exit code when a command could not do its work.
pub const FAILED: u8 = 1;
/// Exit code of `apply --dry-run` when something would change, and of `verify` when something
/// could not be checked.
pub const UNSETTLED: u8 = 2;

/// Installs and checks a bastion: the machine that takes meters' readings in and reaches nobody.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install a rendered folder: firewall first, then files, then the broker.
    ///
    /// The firewall is loaded in one transaction and read back; without it nothing else is done.
    /// Files are replaced whole. Applying twice changes nothing and says so.
    ///
    /// Exit code: 0 done or nothing to do, 1 failed, 2 with --dry-run when something would change.
    Apply {
        /// The folder, with `manifest.json` and `files/`.
        folder: PathBuf,
        /// Say what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Compare what is on this machine with what was applied last.
    ///
    /// Looks at files, the loaded firewall, listeners and accounts.
    /// Exit code: 0 all held, 1 something is broken, 2 something could not be checked.
    Verify {
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take the meters' messages from the broker into the journal, and serve them to readers.
    ///
    /// Runs until SIGTERM. What is acknowledged to the broker is on disk; what comes while this does
    /// not run waits in the broker, and the ticker's ticks among it say when it came.
    Run {
        /// The settings, as they were rendered.
        #[arg(long, value_name = "FILE", default_value = site::daemon::SETTINGS_PATH)]
        settings: PathBuf,
        /// The password of the daemon's account.
        #[arg(long, value_name = "FILE", default_value = site::daemon::PASSWORD_PATH)]
        password_file: PathBuf,
        /// Where to write the report every few seconds, as JSON.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Say how the journal stands: records, clock, meters, readers.
    ///
    /// Exit code: 0 the daemon is connected and writes, 1 it is not, or there is no report.
    Journal {
        /// The daemon's report.
        #[arg(long, value_name = "FILE", default_value = site::daemon::REPORT_PATH)]
        report: PathBuf,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Publish the time since boot every second, so that waiting messages can be dated.
    ///
    /// Runs until SIGTERM, beside `bastion run` and independent of it.
    Ticker {
        /// Port of the broker's loopback listener.
        #[arg(long, default_value_t = site::flow::MQTT_LOOPBACK_PORT)]
        port: u16,
        /// The password of the ticker's account.
        #[arg(long, value_name = "FILE", default_value = site::daemon::TICKER_PASSWORD_PATH)]
        password_file: PathBuf,
    },
}
