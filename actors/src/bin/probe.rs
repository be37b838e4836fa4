//! Attempted connections, each with what came of it; or the listeners at their other end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use actors::probe::{self, Port, Target};
use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Try to connect and say what came of it, one JSON object per target; or listen and count.
///
/// Exit code 0 when every target could be judged, whatever the judgement; 1 when one could not
/// (denied, error) or listening failed; 2 on bad usage.
#[derive(Debug, Parser)]
struct Arguments {
    /// tcp:10.0.0.5:80, udp:[2001:db8::1]:53; with a source port: tcp:10.0.0.5:80,from=1883
    #[arg(
        value_name = "TARGET",
        required_unless_present = "listen",
        conflicts_with = "listen"
    )]
    targets: Vec<Target>,
    /// How long to wait for each target; all are tried at once.
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout_ms: u64,
    /// Listen on these ports of every address until SIGTERM, as tcp:80,tcp:445,udp:123; prints
    /// "listening" when all are bound.
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    listen: Vec<Port>,
    /// Keep the number and the source addresses of connections in this JSON file.
    #[arg(long, value_name = "FILE", requires = "listen")]
    counters: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.listen.is_empty() {
        attempt(arguments).await
    } else {
        listen(arguments).await
    };
    done.unwrap_or_else(|error| {
        eprintln!("probe: {error:#}");
        ExitCode::FAILURE
    })
}

async fn attempt(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let limit = Duration::from_millis(arguments.timeout_ms);
    let start = |target: Target| tokio::spawn(async move { probe::attempt(&target, limit).await });
    let attempts: Vec<_> = arguments.targets.into_iter().map(start).collect();
    let mut code = ExitCode::SUCCESS;
    for attempt in attempts {
        let verdict = attempt.await.context("an attempt broke off")?;
        if !verdict.is_judged() {
            code = ExitCode::FAILURE;
        }
        println!("{}", serde_json::to_string(&verdict)?);
    }
    Ok(code)
}

async fn listen(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    probe::listen(
        &arguments.listen,
        arguments.counters.as_deref(),
        || println!("listening"),
        shutdown,
    )
    .await?;
    Ok(ExitCode::SUCCESS)
}
