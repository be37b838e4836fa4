//! How fast readings travel, measured with the real programs on this machine: from meters through
//! the broker into the journal, and from the journal or the broker's queue into the database. Each
//! program is a process, so that its time and memory are its own. What is stored afterwards is
//! compared with what was published; a rate of something else would mean nothing.
//!
//! Run by `cargo xtask bench`. What the project's plan asks for is printed beside the figures and
//! not asserted, since a machine that does something else at the same time misses it.

mod database;
mod far;
mod fleet;
mod journal;
mod measure;
mod peer;
mod programs;
mod progress;
mod queue;
mod settings;
mod sink;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use measure::{Part, table};
use programs::installed;

/// What can be measured for itself.
const PARTS: [&str; 7] = [
    "live",
    "collector",
    "database",
    "catch-up",
    "far",
    "broker",
    "telegraf",
];

/// What was asked for, and what is needed for it.
pub(crate) struct Bench {
    /// Where `bastion` and `collector` are.
    programs: PathBuf,
    mosquitto: PathBuf,
    influxd: PathBuf,
    messages: u64,
    only: Vec<String>,
}

impl Bench {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

fn arguments() -> Result<Bench> {
    let (broker, database) = (installed("mosquitto"), installed("influxd"));
    let (Some(mosquitto), Some(influxd)) = (broker, database) else {
        anyhow::bail!("mosquitto and influxd are needed (apt-get install mosquitto influxdb)");
    };
    let mut bench = Bench {
        programs: PathBuf::from("target/release"),
        mosquitto,
        influxd,
        messages: 3_000_000,
        only: Vec::new(),
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut value = || {
            given
                .next()
                .with_context(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "--programs" => bench.programs = value()?.into(),
            "--messages" => bench.messages = value()?.parse()?,
            "--only" => bench.only.extend(value()?.split(',').map(str::to_owned)),
            // Said by cargo.
            "--bench" => {}
            _ => anyhow::bail!(
                "unknown: {name}; known: --programs FOLDER, --messages N, --only PART,…"
            ),
        }
    }
    for part in &bench.only {
        let known = PARTS.contains(&part.as_str());
        ensure!(known, "unknown part {part}; known: {}", PARTS.join(", "));
    }
    Ok(bench)
}

fn main() -> Result<()> {
    let bench = arguments()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut parts: Vec<Part> = Vec::new();
    let measured = journal::measure(&bench, &runtime, &mut parts)
        .and_then(|()| queue::measure(&bench, &runtime, &mut parts));
    // What was measured before something failed is worth knowing.
    print!("{}", table(&parts));
    measured
}
