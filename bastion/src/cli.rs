//! The command line. Its help texts are the manual.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};

/// Exit code when a command could not do its work, or what it did was taken back.
pub const FAILED: u8 = 1;
/// Exit code of `plan` when something would change, and of `verify` and `status` when something
/// could not be checked.
pub const UNSETTLED: u8 = 2;

/// Version, and the git hash of what it was built from where that is known.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let version = env!("CARGO_PKG_VERSION");
        // The project's build command sets it: the program itself cannot know.
        match option_env!("SHELLY_BASTION_GIT") {
            Some(hash) => format!("{version} ({hash})"),
            None => version.to_owned(),
        }
    });
    &VERSION
}

/// Installs and checks a bastion: the machine that takes meters' readings in and reaches nobody.
#[derive(Debug, Parser)]
#[command(version = version(), max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Take this folder for the machine's file system; for tests.
    #[arg(long, global = true, hide = true, default_value = "/")]
    pub root: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what `apply` would change, and change nothing.
    ///
    /// Computed by the same code. Works on a machine that has nothing yet: what packages bring
    /// counts as new. Exit code: 0 nothing would change, 1 failed, 2 something would change.
    Plan {
        /// The folder, with `manifest.json` and `files/`.
        folder: PathBuf,
        /// When nothing would change, verify as well what is in place, without looking twice. The
        /// exit code says nothing of what was found.
        #[arg(long)]
        verify: bool,
        /// Answer with one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Install the packages that a rendered folder needs and this machine lacks.
    ///
    /// From the machine's own sources; from the folder alone, without network, when it brings
    /// `packages/*.deb`. A configuration file that is there already is kept. What apt says goes
    /// to standard error. Exit code: 0 done or nothing to do, 1 failed.
    Packages {
        /// The folder, with `manifest.json` and `files/`.
        folder: PathBuf,
    },
    /// Put a rendered folder in place: firewall first, then files, then units.
    ///
    /// The firewall is loaded in one transaction and read back; without it nothing else is done.
    /// Files are replaced whole. Applying twice changes nothing and says so.
    ///
    /// With --confirm-within, the state before is written down and the way back armed before the
    /// first change. What does not work is taken back at once. What works waits for
    /// `bastion confirm`; without it, after a crash, and after a restart the bastion goes back by
    /// itself. Without the option the change holds at once.
    ///
    /// Exit code: 0 done or nothing to do, 1 failed or taken back, 2 with --dry-run when something
    /// would change.
    Apply {
        /// The folder, with `manifest.json` and `files/`.
        folder: PathBuf,
        /// The release's name; made up from the time when none is given.
        #[arg(long, value_name = "ID")]
        release: Option<String>,
        /// How it is put in place.
        #[command(flatten)]
        how: How,
        /// Say what would change, and change nothing: as `plan`.
        #[arg(long)]
        dry_run: bool,
    },
    /// Keep the release that waits for this, for good.
    ///
    /// Ask over a new connection: that it gets through is what is confirmed.
    /// Exit code: 0 it holds, 1 it does not wait, or was taken back.
    Confirm {
        /// The release's name.
        release: String,
        /// Answer with one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Put an earlier release in place again, from what this machine kept; needs no network.
    ///
    /// Exit code: as for `apply`.
    Rollback {
        /// The release's name; the one before the one in place when none is given.
        release: Option<String>,
        /// How it is put in place.
        #[command(flatten)]
        how: How,
    },
    /// Bring the state before an unconfirmed change back; the timer and the start do this.
    #[command(hide = true)]
    GoBack {
        /// While the machine starts: files and links alone, before anything reads them.
        #[arg(long)]
        boot: bool,
    },
    /// List what happened to the releases of this machine, oldest first.
    History {
        /// Answer with one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Say how this machine is: release, clock, disk, units, journal, and what `verify` finds.
    ///
    /// Exit code: as for `verify`.
    Status {
        /// Answer with one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Compare what is on this machine with what was applied last.
    ///
    /// Looks at files, the loaded firewall, units and their sandbox, packages, listeners and
    /// accounts, and asks the broker to pass one message on and to refuse another, and the daemon
    /// whether it journals. Tries, as each user that matters, to connect to what the policy
    /// refuses: nothing leaves the machine while it holds. Lists the chains, NAT and flowtables of
    /// others; what may lead packets round our rules is `not checked`, since nobody can tell.
    ///
    /// Exit code: 0 all held, 1 something is broken, 2 something could not be checked. What this
    /// machine does not have is `skipped`, and changes nothing about that.
    Verify {
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
        /// Keep the verdict for `status`, and tell readers when it is another than they know:
        /// for the timer.
        #[arg(long)]
        tell: bool,
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
    /// Load the firewall that is in place; the units do this at the start.
    ///
    /// Packets that it passes are marked, by a number drawn anew each time, and what leaves by the
    /// network device without that mark is dropped. Exit code: 0 loaded, 1 failed: what was loaded
    /// before stays.
    Firewall {
        /// The part for the network device alone, which has just appeared.
        #[arg(long)]
        device: bool,
    },
    /// Let the whole LAN in by SSH, for minutes: the way in after the admin's address changed.
    ///
    /// Ask at the bastion's own screen and keyboard or serial line. Where it has none: put an empty
    /// file `shelly-bastion-open` on the boot partition of its card, and start it: SSH is open for
    /// ten minutes then. It is logged, and closes by itself.
    #[command(group = ArgGroup::new("asked").required(true).args(["time", "from_boot_file"]))]
    Open {
        /// For how long, up to an hour: `10m`.
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        time: Option<Duration>,
        /// Only if the file is on the boot partition; for the unit that runs at the start.
        #[arg(long)]
        from_boot_file: bool,
    },
}

/// How a release is put in place.
#[derive(Debug, Args)]
pub struct How {
    /// Go back by itself unless it is confirmed in so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(10..=3600))]
    pub confirm_within: Option<u64>,
    /// Who asks, for the history.
    #[arg(
        long,
        value_name = "WHO",
        default_value = "",
        hide_default_value = true
    )]
    pub by: String,
    /// Answer with one JSON document.
    #[arg(long)]
    pub json: bool,
}
