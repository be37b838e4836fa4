//! A line with delay and loss, for packets that the machine's rules hand over.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::weather::{Weather, blow};
use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Hold packets of a kernel's queue for a while and drop some, until SIGTERM; then print how many,
/// as JSON.
///
/// Prints "ready" first. Exit code 0 when told to stop, 1 when the queue cannot be read, 2 on bad
/// usage.
#[derive(Debug, Parser)]
struct Arguments {
    /// The queue, as in `iptables -j NFQUEUE --queue-num`.
    #[arg(long, value_name = "NUMBER")]
    queue: u16,
    /// How long each packet takes.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    delay_ms: u64,
    /// How many of a hundred packets are dropped.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    loss_percent: u8,
    /// Chooses which.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weather: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let weather = Weather {
        queue: arguments.queue,
        delay: Duration::from_millis(arguments.delay_ms),
        loss_percent: arguments.loss_percent,
        seed: arguments.seed,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let mut blowing =
        tokio::task::spawn_blocking(move || blow(weather, &told, || println!("ready")));
    let done = tokio::select! {
        done = &mut blowing => done,
        _ = terminate.recv() => {
            stop.store(true, Ordering::Relaxed);
            blowing.await
        }
    };
    let done = done.context("the weather broke off")??;
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}
