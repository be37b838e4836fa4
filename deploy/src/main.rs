//! The program `deploy`: reads the command line, runs one command, returns its exit code.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use deploy::cli::Cli;
use deploy::ending::{Ending, Now};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Wrong usage is a failure; 2 is a word of its own here.
            let failed = error.use_stderr();
            return ExitCode::from(if failed { Ending::Failed } else { Ending::Done }.code());
        }
    };
    let ended = start(cli).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Ending::Failed
    });
    ExitCode::from(ended.code())
}

fn start(cli: Cli) -> Result<Ending> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting")?;
    let now = Now::default();
    let ended = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("hearing Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("hearing signals")?;
        let mut hangup = signal(SignalKind::hangup()).context("hearing signals")?;
        tokio::select! {
            ended = deploy::run::run(cli, &now) => ended,
            _ = interrupt.recv() => Err(anyhow::anyhow!(now.interrupted())),
            _ = terminate.recv() => Err(anyhow::anyhow!(now.interrupted())),
            _ = hangup.recv() => Err(anyhow::anyhow!(now.interrupted())),
        }
    });
    // A question that is still open on the terminal must not keep the program.
    runtime.shutdown_background();
    ended
}
