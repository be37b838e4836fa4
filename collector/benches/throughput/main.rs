//! How fast readings travel, measured with the real programs on this machine: from meters through
//! the broker into the journal, and from the journal through the broker into the database. Each
//! program is a process, so that its time and memory are its own. What is stored afterwards is
//! compared with what was published; a rate of something else would mean nothing.
//!
//! Run by `cargo xtask bench`. The limits are those of the project's plan; they are printed beside
//! the figures and not asserted, since a machine that does something else at the same time misses
//! them.

mod database;
mod fleet;
mod programs;
mod progress;
mod telegraf;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use database::Database;
use programs::{Program, Used, free_port, influxd, installed, mosquitto};
use progress::Progress;

/// What was measured of one program.
struct Row {
    what: &'static str,
    messages: u64,
    time: Duration,
    used: Used,
    /// Messages per second, µs of CPU per message, MiB; 0 for none.
    limits: [f64; 3],
}

struct Arguments {
    programs: PathBuf,
    messages: u64,
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments {
        programs: PathBuf::from("target/release"),
        messages: 3_000_000,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut value = || {
            given
                .next()
                .with_context(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "--programs" => arguments.programs = value()?.into(),
            "--messages" => arguments.messages = value()?.parse()?,
            // Said by cargo.
            "--bench" => {}
            _ => anyhow::bail!("unknown: {name}; known: --programs FOLDER, --messages N"),
        }
    }
    Ok(arguments)
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let missing = ["mosquitto", "influxd"].map(|name| (name, installed(name)));
    let [(_, Some(broker)), (_, Some(database))] = missing else {
        let names = missing.iter().filter(|(_, path)| path.is_none());
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        anyhow::bail!(
            "not installed: {} (apt-get install mosquitto influxdb)",
            names.join(", ")
        );
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let folder = tempfile::tempdir()?;
    let mut rows = ours(&arguments, &broker, &database, folder.path(), &runtime)?;
    match installed("telegraf") {
        Some(telegraf) => {
            let folder = tempfile::tempdir()?;
            let run = telegraf::measure(&telegraf, &broker, &database, folder.path());
            rows.push(runtime.block_on(run)?);
        }
        None => println!("skipped: telegraf is not on the PATH"),
    }
    print!("{}", table(&rows));
    Ok(())
}

/// Live journaling, then catching up.
fn ours(
    arguments: &Arguments,
    broker: &Path,
    database: &Path,
    folder: &Path,
    runtime: &tokio::runtime::Runtime,
) -> Result<Vec<Row>> {
    let rounds = (arguments.messages / (fleet::METERS * fleet::BURST)).max(1);
    let messages = rounds * fleet::METERS * fleet::BURST;
    let (port, database_port) = (free_port()?, free_port()?);
    let broker = mosquitto(broker, port, folder)?;
    settings(folder, port, database_port)?;
    let mut command = Command::new(arguments.programs.join("bastion"));
    command
        .current_dir(folder)
        .args(["run", "--settings", "daemon.json"]);
    command.args(["--password-file", "password"]);
    let daemon = Program::start("bastion run", &mut command, &folder.join("daemon.log"))?;
    let mut progress = Progress::new(folder.join("journal"));
    let mut asked = 0;
    while !folder.join("journal").exists() || progress.newest()? == 0 {
        // No reading; heard once the daemon has subscribed.
        telegraf::probe(port)?;
        std::thread::sleep(Duration::from_millis(100));
        asked += 1;
        ensure!(asked < 100, "the daemon hears nothing");
    }
    println!("live: {messages} messages of {} meters", fleet::METERS);
    let before = (daemon.used()?, broker.used()?);
    let time = fleet::publish(port, rounds, &mut progress)?;
    let row = |what, time, used: Used, before: Used, limits| Row {
        what,
        messages,
        time,
        used: Used {
            cpu: used.cpu - before.cpu,
            ..used
        },
        limits,
    };
    let mut rows = vec![
        row(
            "live: daemon",
            time,
            daemon.used()?,
            before.0,
            [200_000.0, 0.0, 12.0],
        ),
        row("live: mosquitto", time, broker.used()?, before.1, [0.0; 3]),
    ];

    let stored = influxd(database, database_port, folder)?;
    let database = runtime.block_on(Database::create(database_port))?;
    let before = (daemon.used()?, broker.used()?, stored.used()?);
    let mut command = Command::new(arguments.programs.join("collector"));
    command
        .current_dir(folder)
        .args(["run", "--config", "collector.toml"]);
    let begin = Instant::now();
    let mut collector = Program::start("collector", &mut command, &folder.join("collector.log"))?;
    println!("catching up");
    let time = runtime.block_on(database.settle(begin, &mut collector))?;
    let nothing = Used {
        cpu: 0.0,
        memory: 0.0,
    };
    rows.extend([
        row(
            "catch-up: collector",
            time,
            collector.used()?,
            nothing,
            [1_000_000.0, 0.5, 20.0],
        ),
        row(
            "catch-up: daemon",
            time,
            daemon.used()?,
            before.0,
            [0.0, 0.0, 12.0],
        ),
        row(
            "catch-up: mosquitto",
            time,
            broker.used()?,
            before.1,
            [0.0; 3],
        ),
        row(
            "catch-up: influxd",
            time,
            stored.used()?,
            before.2,
            [0.0; 3],
        ),
    ]);
    let values = runtime.block_on(database.compare(rounds))?;
    println!("stored: {values} values, each as often as it was published, and no other");
    Ok(rows)
}

fn settings(folder: &Path, port: u16, database_port: u16) -> Result<()> {
    use site::daemon::{FORMAT, Keep, Listened, Settings};
    let password = folder.join("password");
    fs::write(&password, "abcd\n")?;
    fs::set_permissions(password, fs::Permissions::from_mode(0o600))?;
    let meters = (0..fleet::METERS).map(|meter| Listened {
        id: fleet::id(meter),
        prefix: fleet::prefix(meter),
        ask: None,
    });
    let daemon = Settings {
        format: FORMAT,
        port,
        folder: folder.join("journal").display().to_string(),
        window: 1000,
        commit_ms: 1000,
        keep: Keep {
            free_bytes: 0,
            reserve_bytes: 0,
            ..Keep::default()
        },
        trust_clock: true,
        clock_patience_s: 600,
        meters: meters.collect(),
        readers: vec!["collector".to_owned()],
    };
    fs::write(folder.join("daemon.json"), serde_json::to_vec(&daemon)?)?;
    let mut text = format!(
        "site = \"bench\"\nstate = \"state\"\n\n[[bastion]]\nhost = \"127.0.0.1\"\nport = {port}\n\
         account = \"collector\"\npassword_file = \"password\"\n\n\
         [database]\nurl = \"http://127.0.0.1:{database_port}\"\nname = \"bench\"\n"
    );
    for meter in 0..fleet::METERS {
        let (id, prefix) = (fleet::id(meter), fleet::prefix(meter));
        write!(
            text,
            "\n[[meter]]\nid = \"{id}\"\nmodel = \"shellyem3\"\nprefix = \"{prefix}\"\n\
             location = \"l\"\npoint = \"point-{meter}\"\n"
        )?;
    }
    fs::write(folder.join("collector.toml"), text)?;
    fs::create_dir_all(folder.join("state"))?;
    Ok(())
}

/// Figures, and in brackets what part of the limit they are.
fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<22} {:>18} {:>18} {:>18}\n",
        "", "messages/s", "µs CPU/message", "peak MiB"
    );
    for row in rows {
        let messages = u32::try_from(row.messages).map_or(f64::MAX, f64::from);
        let figures = [
            messages / row.time.as_secs_f64(),
            row.used.cpu * 1e6 / messages,
            row.used.memory,
        ];
        let _ = write!(out, "{:<22}", row.what);
        for ((figure, limit), digits) in figures.iter().zip(row.limits).zip([0, 2, 1]) {
            let ratio = match limit {
                0.0 => String::new(),
                limit => format!(" ({:.2})", figure / limit),
            };
            let _ = write!(out, " {:>18}", format!("{figure:.digits$}{ratio}"));
        }
        out.push('\n');
    }
    out.push_str(
        "in brackets: what part of the limit; rates should be above 1, the others below\n",
    );
    out
}
