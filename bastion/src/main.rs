//! Reads the command line, runs one command, and ends with its exit code.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use bastion::apply::Options;
use bastion::cli::{Cli, Command, How};
use bastion::daemon::shown;
use bastion::host::Host;
use bastion::{
    apply, cli, firewall, history, open, packages, plan, rollback, serve, status, transaction,
    verify,
};
use clap::Parser as _;
use signal_hook::consts::SIGHUP;
use site::answer::Event;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are answers too. A wrong command line is a failure: clap's own
            // exit code for it means something else here.
            let failed = answer.use_stderr();
            let _ = answer.print();
            return ExitCode::from(if failed { cli::FAILED } else { 0 });
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::new("info"))
        .without_time()
        // When the connection that started us breaks, the work still goes on to its end.
        .log_internal_errors(false)
        .with_target(false)
        .init();
    run(cli).unwrap_or_else(|error| {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "bastion: {error:#}");
        ExitCode::from(cli::FAILED)
    })
}

fn run(cli: Cli) -> Result<ExitCode> {
    // The same when the terminal goes away: a mark that nobody looks at, instead of the end.
    signal_hook::flag::register(SIGHUP, Arc::new(AtomicBool::new(false)))
        .context("keeping on when the terminal goes away")?;
    let host = Host::new(cli.root);
    let options = |how: &'_ How| Options {
        release: None,
        confirm_within: how.confirm_within,
        by: "",
        event: Event::Applied,
        json: how.json,
    };
    match cli.command {
        Command::Plan {
            folder,
            verify,
            json,
        } => plan::run(&host, &folder, verify, json),
        Command::Packages { folder } => packages::run(&host, &folder),
        Command::Apply {
            folder,
            how,
            dry_run: true,
            ..
        } => plan::run(&host, &folder, false, how.json),
        Command::Apply {
            folder,
            release,
            how,
            dry_run: false,
        } => {
            let options = Options {
                release: release.as_deref(),
                by: &how.by,
                ..options(&how)
            };
            apply::run(&host, &folder, &options)
        }
        Command::Confirm { release, json } => transaction::confirm(&host, &release, json),
        Command::Rollback { release, how } => {
            let options = Options {
                by: &how.by,
                ..options(&how)
            };
            rollback::run(&host, release.as_deref(), &options)
        }
        Command::GoBack { boot } => transaction::run(&host, boot),
        Command::History { json } => history::run(&host, json),
        Command::Status { json } => status::run(&host, json),
        Command::Verify { json, tell } => verify::run(&host, json, tell),
        Command::Firewall { device } => firewall::run(&host, device),
        Command::Open {
            time: Some(time), ..
        } => open::run(&host, time),
        Command::Open { time: None, .. } => open::from_boot_file(&host),
        Command::Run {
            settings,
            password_file,
            report,
        } => serve::daemon(&settings, &password_file, report),
        Command::Journal { report, json } => shown::run(&report, json),
        Command::Ticker {
            port,
            password_file,
        } => serve::ticker(port, &password_file),
    }
}
