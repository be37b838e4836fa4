//! Reads the command line, runs one command, and ends with its exit code.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use bastion::cli::{Cli, Command};
use bastion::daemon::shown;
use bastion::host::Host;
use bastion::{apply, cli, processes, verify};
use clap::Parser as _;
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
    let host = Host::new("/");
    let outcome = match cli.command {
        Command::Apply { folder, dry_run } => apply::run(&host, &folder, dry_run),
        Command::Verify { json } => verify::run(&host, json),
        Command::Run {
            settings,
            password_file,
            report,
        } => processes::daemon(&settings, &password_file, report),
        Command::Journal { report, json } => shown::run(&report, json),
        Command::Ticker {
            port,
            password_file,
        } => processes::ticker(port, &password_file),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bastion: {error:#}");
        ExitCode::from(cli::FAILED)
    })
}
