//! The command line of `deploy`. Its help texts are the manual; `cargo xtask deploy` builds the
//! program for the Pi first, and hands everything else over.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::ending::EXIT_CODES;

/// Turns a machine with SSH into a bastion, and keeps it one.
///
/// Looks at the machine, shows what would change, asks, changes it, and confirms over a new
/// connection. Without that confirmation the machine goes back to the state before by itself. A
/// second run changes nothing.
#[derive(Debug, Parser)]
#[command(
    name = "deploy",
    bin_name = "cargo xtask deploy",
    version = crate::VERSION.as_str(),
    max_term_width = 100,
    after_help = EXIT_CODES
)]
pub struct Cli {
    /// Something else than deploying.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Names of bastions in the site file; the first one there when none is given. One after the
    /// other, up to the first failure.
    pub names: Vec<String>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Bring the packages from this machine's mirror instead of the bastion's. Needs apt here.
    #[arg(long)]
    pub offline: bool,
    /// Take over a machine that serves another site so far.
    #[arg(long)]
    pub take_over: bool,
    /// Write the plan into this file too, as JSON. Of several bastions, the last one's.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Give these accounts a new password. Their meters are shut out until they know it.
    #[arg(long, value_name = "ACCOUNT", num_args = 1..)]
    pub rotate: Vec<String>,
    /// The program for the bastion. `cargo xtask deploy` builds and names it.
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,
    /// Carry this folder instead of rendering one, whatever is in it. For the lab, which shows that
    /// a bad release cannot lock anyone out.
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub release: Option<PathBuf>,
    /// What all commands share.
    #[command(flatten)]
    pub shared: Shared,
}

/// What all commands share.
#[derive(Debug, Args)]
pub struct Shared {
    /// The site file. The secrets file is beside it.
    #[arg(long, value_name = "FILE", default_value = "site.toml", global = true)]
    pub site: PathBuf,
    /// Go ahead without asking. A host key is asked about all the same.
    #[arg(long, global = true)]
    pub yes: bool,
    /// Seconds in which the new connection must come up before the bastion goes back.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(10..=3600),
        global = true
    )]
    pub confirm_within: u64,
    /// Take in a host key that is unknown or another one, after showing both fingerprints.
    #[arg(long, global = true)]
    pub new_host: bool,
    /// Read this in place of your own configuration of ssh.
    #[arg(long, value_name = "FILE", global = true)]
    pub ssh_config: Option<PathBuf>,
    /// Pretend that the bastion's root is this folder. For tests.
    #[arg(long, hide = true, default_value = "", global = true)]
    pub target_root: String,
}

/// Commands beside deploying.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Put an earlier release in place again, the one before by default.
    ///
    /// Needs no file and no download: the bastion keeps its last five releases.
    Rollback {
        /// Which one, as `history` names it.
        id: Option<String>,
        /// Which bastion; the first one of the site file by default.
        #[arg(long, value_name = "NAME")]
        bastion: Option<String>,
    },
    /// Show what was deployed when, by whom, and what became of it.
    History {
        /// Which bastion; the first one of the site file by default.
        #[arg(long, value_name = "NAME")]
        bastion: Option<String>,
    },
    /// Show how a bastion is: version, release, units, checks, clock, disk.
    ///
    /// Exit code 3 when not everything held.
    Status {
        /// Which bastion; the first one of the site file by default.
        #[arg(long, value_name = "NAME")]
        bastion: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["deploy"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn names_and_commands_are_told_apart() {
        let cli = parse("pi barn --dry-run --rotate a b --site x.toml").unwrap();
        assert_eq!(cli.names, ["pi", "barn"]);
        assert_eq!(cli.rotate, ["a", "b"]);
        assert!(cli.dry_run && cli.action.is_none());
        let cli = parse("rollback 20261127T215500Z-1a2b3c4d --bastion pi --yes").unwrap();
        assert!(matches!(
            cli.action,
            Some(Action::Rollback {
                id: Some(_),
                bastion: Some(_)
            })
        ));
        assert!(cli.shared.yes);
        assert!(parse("pi --confirm-within 1").is_err());
        assert!(parse("").unwrap().names.is_empty());
    }
}
