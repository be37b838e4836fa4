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
}
