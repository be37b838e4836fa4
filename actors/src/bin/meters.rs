//! A simulated fleet of meters against a real broker, with a ledger of what it said.

use std::path::PathBuf;
use std::process::ExitCode;

use actors::fleet::Fleet;
use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Simulate a fleet of meters and keep a ledger of what they said.
///
/// Ends after the fleet file's duration or on SIGTERM, and then prints one JSON object that sums
/// up. Exit code 0 when it ran to its end, whatever the network did; 1 when it could not run.
#[derive(Debug, Parser)]
struct Arguments {
    /// The meters, the broker and the times, as JSON; holds passwords and must be of mode 0600.
    #[arg(long, value_name = "FILE")]
    fleet: PathBuf,
    /// Where to write the ledger, one JSON object per line; what is there is replaced.
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
}

fn main() -> ExitCode {
    match simulate(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meters: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Arguments) -> anyhow::Result<()> {
    let fleet = Fleet::read(&arguments.fleet)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let summary = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        anyhow::Ok(actors::run::run(fleet, &arguments.ledger, shutdown).await?)
    })?;
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}
