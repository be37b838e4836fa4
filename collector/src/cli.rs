//! The command line. Its help texts are the manual.
//!
//! Exit codes: 0 done, 1 not done or not in order, 2 wrong usage. Results go to standard output,
//! the log to standard error.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::collect;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::points::{Kind, LARGEST_PAYLOAD, Translation, translate};

const EXAMPLE: &str = concat!(
    "The settings file, for example:\n\n",
    include_str!("../examples/collector.toml")
);

/// Takes the readings of Shelly meters from an MQTT broker and writes them to InfluxDB.
///
/// A reading is acknowledged to the broker only when it is in the database, or set aside with the
/// reason in dead-letters.jsonl. Database, broker and network may stop at any time: the broker
/// keeps what is not acknowledged, and the collector tries again for ever.
///
/// The log goes to standard error; RUST_LOG=debug shows more.
#[derive(Debug, Parser)]
#[command(name = "collector", version, after_long_help = EXAMPLE)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Collect until SIGTERM or SIGINT.
    ///
    /// Every 10 s the counters are logged and written to status.json in the state folder. Told to
    /// stop, it writes and acknowledges what it has within 10 s, and exits with 0.
    Run(Settings),
    /// Check the settings and the password files, and connect to nothing.
    ///
    /// Prints every mistake with file, line, key, value and remedy. Exits with 0 if there is none,
    /// else with 1.
    Check(Settings),
    /// Translate messages from standard input to line protocol, and connect to nothing.
    ///
    /// One message per line: topic, a space or tab, payload, as `mosquitto_sub -v` prints them.
    /// Points go to standard output; what is no reading or not understood is named on standard
    /// error. Exits with 1 if something was not understood.
    Translate(Settings),
}

#[derive(Debug, Args)]
struct Settings {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Does what the command line asks for.
///
/// # Errors
/// When it cannot be done; the chain says why.
pub fn execute(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Run(settings) => {
            let config = Config::load(&settings.config)?;
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("starting the runtime")?
                .block_on(run(config))
        }
        Command::Check(settings) => {
            let config = Config::load(&settings.config)?;
            println!(
                "{}: in order; site: {}, meters: {}",
                settings.config.display(),
                config.site,
                config.meters.len()
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Translate(settings) => {
            let config = Config::load_without_passwords(&settings.config)?;
            let fleet = Fleet::new(config.site, config.meters);
            let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
            translate_lines(&fleet, input, output)
        }
    }
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    info!(
        site = config.site,
        meters = config.meters.len(),
        from = ?config.origin.hosts(),
        database = config.database.url,
        "collecting"
    );
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    collect::run(config, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

fn translate_lines(
    fleet: &Fleet,
    mut input: impl BufRead,
    mut output: impl Write,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line without an end shall not fill the memory.
        let longest = u64::try_from(2 * LARGEST_PAYLOAD)?;
        let read = std::io::Read::take(&mut input, longest)
            .read_until(b'\n', &mut line)
            .context("reading standard input")?;
        if read == 0 {
            return Ok(code);
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            continue;
        }
        let (topic, payload) = split(fleet, text);
        let Some((_, meter)) = fleet.find(topic) else {
            eprintln!("{topic}: no meter of the settings");
            continue;
        };
        let time_ns = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let time_ns = i64::try_from(time_ns.as_nanos())?;
        match translate(meter, fleet.site(), topic, payload.as_bytes(), time_ns) {
            Translation::Points(lines) => output
                .write_all(&lines.text)
                .context("writing standard output")?,
            Translation::NotAReading(Kind::Other) => eprintln!("{topic}: no reading"),
            Translation::NotAReading(Kind::OtherSource) => {
                eprintln!("{topic}: the same sample is read from the meter's other source");
            }
            Translation::NotAReading(Kind::NoValue) => eprintln!("{topic}: no value in it"),
            Translation::NotUnderstood(reason) => {
                eprintln!("{topic}: {reason}");
                code = ExitCode::from(1);
            }
        }
    }
}

/// Topic and payload. A prefix may hold spaces, so the first space behind a known one counts.
fn split<'l>(fleet: &Fleet, line: &'l str) -> (&'l str, &'l str) {
    let mut splits = line.match_indices([' ', '\t']).map(|(at, _)| {
        (
            line.get(..at).unwrap_or(line),
            line.get(at + 1..).unwrap_or(""),
        )
    });
    let first = splits.clone().next().unwrap_or((line, ""));
    splits
        .find(|(topic, _)| fleet.find(topic).is_some())
        .unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::points::tests::meter;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[track_caller]
    fn check(line: &str, expected: (&str, &str)) {
        let mut renamed = meter("shellyem", "shellyem-D3B45C");
        renamed.prefix = "shellies/haus 1".to_owned();
        let fleet = Fleet::new("home".to_owned(), vec![renamed]);
        assert_eq!(split(&fleet, line), expected);
    }

    #[test]
    fn topics_with_spaces_are_split_behind_their_prefix() {
        check(
            "shellies/haus 1/emeter/0/power 5",
            ("shellies/haus 1/emeter/0/power", "5"),
        );
        check(
            "shellies/haus 1/info {\"a\": 1}",
            ("shellies/haus 1/info", "{\"a\": 1}"),
        );
        check("other/topic a b", ("other/topic", "a b"));
        check("topic", ("topic", ""));
    }
}
