//! Live journaling, and catching up with the journal: with all programs, with a collector alone, with
//! a database alone, and with a long cable in between.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;

use crate::database::Database;
use crate::far::cable;
use crate::measure::{Measure, Part, Plan};
use crate::programs::{Program, QUEUED, free_port, influxd, mosquitto};
use crate::progress::Progress;
use crate::sink::{Sink, post};
use crate::{Bench, fleet, peer, queue, settings};

const DAEMON: Plan = Plan {
    rate: 0.0,
    cpu: 0.0,
    memory: 12.0,
};
const COLLECTOR: Plan = Plan {
    rate: 1_000_000.0,
    cpu: 0.5,
    memory: 20.0,
};
const NONE: Plan = Plan {
    rate: 0.0,
    cpu: 0.0,
    memory: 0.0,
};
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Requests at once, as the collector makes them.
const AT_ONCE: usize = 2;

/// A bastion whose journal is full of messages.
struct Bastion<'b> {
    bench: &'b Bench,
    folder: &'b Path,
    port: u16,
    broker: Program,
    daemon: Program,
    rounds: u64,
    messages: u64,
}

/// Adds what was asked for.
pub(crate) fn measure(bench: &Bench, runtime: &Runtime, parts: &mut Vec<Part>) -> Result<()> {
    let ours = ["live", "collector", "database", "catch-up", "far"];
    if !ours.iter().any(|part| bench.wants(part)) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let bastion = Bastion::start(bench, folder.path())?;
    if bench.wants("live") {
        parts.push(peer::measure(bench, bastion.rounds)?);
    }
    parts.push(bastion.live()?);
    if bench.wants("collector") || bench.wants("database") {
        let (part, requests) = bastion.collector()?;
        parts.push(part);
        if bench.wants("database") {
            parts.push(bastion.database(&requests, runtime)?);
        }
    }
    if bench.wants("catch-up") {
        let title = "catch-up: journal into the database";
        parts.push(bastion.catch_up(bastion.port, title, COLLECTOR, runtime)?);
    }
    if bench.wants("far") {
        let title = format!("catch-up over {} ms there and back", ROUND_TRIP.as_millis());
        let plan = Plan {
            rate: 250_000.0,
            ..COLLECTOR
        };
        let port = cable(bastion.port, ROUND_TRIP)?;
        parts.push(bastion.catch_up(port, &title, plan, runtime)?);
    }
    Ok(())
}

impl Bastion<'_> {
    fn start<'b>(bench: &'b Bench, folder: &'b Path) -> Result<Bastion<'b>> {
        let rounds = (bench.messages / (fleet::METERS * fleet::BURST)).max(1);
        let port = free_port()?;
        let broker = mosquitto(&bench.mosquitto, port, QUEUED, folder)?;
        settings::daemon(folder, port)?;
        let mut command = Command::new(bench.programs.join("bastion"));
        command
            .current_dir(folder)
            .args(["run", "--settings", "daemon.json"])
            .args(["--password-file", "password"]);
        let daemon = Program::start("bastion run", &mut command, &folder.join("daemon.log"))?;
        Ok(Bastion {
            bench,
            folder,
            port,
            broker,
            daemon,
            rounds,
            messages: rounds * fleet::METERS * fleet::BURST,
        })
    }

    fn live(&self) -> Result<Part> {
        let mut progress = Progress::new(self.folder.join("journal"));
        let mut asked = 0;
        while !self.folder.join("journal").exists() || progress.newest()? == 0 {
            // No reading; heard once the daemon has subscribed.
            queue::probe(self.port)?;
            sleep(Duration::from_millis(100));
            asked += 1;
            ensure!(asked < 100, "the daemon hears nothing");
        }
        println!(
            "live: {} messages of {} meters",
            self.messages,
            fleet::METERS
        );
        let plan = Plan {
            rate: 200_000.0,
            ..DAEMON
        };
        let measure = Measure::begin()?.with("daemon", &self.daemon, plan)?.with(
            "mosquitto",
            &self.broker,
            NONE,
        )?;
        let time = fleet::publish(self.port, self.rounds, || progress.newest())?;
        measure.end(
            "live: broker into the journal".to_owned(),
            self.messages,
            time,
        )
    }

    /// From the journal into a database that takes everything at once; what was posted.
    fn collector(&self) -> Result<(Part, Vec<Vec<u8>>)> {
        println!("catching up without a database");
        let sink = Sink::start()?;
        settings::collector(self.folder, "bastion", self.port, sink.port)?;
        let mut measure = Measure::begin()?
            .with("daemon", &self.daemon, DAEMON)?
            .with("mosquitto", &self.broker, NONE)?;
        let mut collector = collector(self.bench, self.folder)?;
        measure.add_first("collector", &collector, COLLECTOR);
        let (mut last, mut count) = (measure.began(), 0);
        while count == 0 || last.elapsed() < Duration::from_secs(2) {
            sleep(Duration::from_millis(5));
            collector.runs()?;
            let now = sink.count();
            if now != count {
                (last, count) = (Instant::now(), now);
            }
            ensure!(
                count > 0 || last.elapsed() < Duration::from_secs(60),
                "nothing came"
            );
        }
        let time = last - measure.began();
        let title = "catch-up without a database".to_owned();
        let part = measure.end(title, self.messages, time)?;
        let requests = sink.take();
        println!(
            "{} requests of {} KiB for {} messages",
            requests.len(),
            requests.iter().map(Vec::len).sum::<usize>() / 1024,
            self.messages
        );
        Ok((part, requests))
    }

    /// The same requests into the database, which has nothing else to do.
    fn database(&self, requests: &[Vec<u8>], runtime: &Runtime) -> Result<Part> {
        println!("writing the same requests again");
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let stored = influxd(&self.bench.influxd, port, folder.path())?;
        let database = runtime.block_on(Database::create(port))?;
        let measure = Measure::begin()?.with("influxd", &stored, NONE)?;
        post(port, requests, AT_ONCE)?;
        let time = measure.began().elapsed();
        let part = measure.end("the database alone".to_owned(), self.messages, time)?;
        self.compare(&database, runtime)?;
        Ok(part)
    }

    fn catch_up(&self, port: u16, title: &str, plan: Plan, runtime: &Runtime) -> Result<Part> {
        println!("{title}");
        let folder = tempfile::tempdir()?;
        let database_port = free_port()?;
        let stored = influxd(&self.bench.influxd, database_port, folder.path())?;
        let database = runtime.block_on(Database::create(database_port))?;
        settings::collector(self.folder, "bastion", port, database_port)?;
        let mut measure = Measure::begin()?
            .with("daemon", &self.daemon, DAEMON)?
            .with("mosquitto", &self.broker, NONE)?
            .with("influxd", &stored, NONE)?;
        let mut collector = collector(self.bench, self.folder)?;
        measure.add_first("collector", &collector, plan);
        let time = runtime.block_on(database.settle(measure.began(), &mut collector))?;
        let part = measure.end(title.to_owned(), self.messages, time)?;
        let compared = self.compare(&database, runtime);
        compared.with_context(|| collector.said())?;
        Ok(part)
    }

    fn compare(&self, database: &Database, runtime: &Runtime) -> Result<()> {
        let values = runtime.block_on(database.compare(self.rounds))?;
        println!("stored: {values} values, each as often as it was published, and no other");
        Ok(())
    }
}

/// A collector with the settings that lie in the folder.
pub(crate) fn collector(bench: &Bench, folder: &Path) -> Result<Program> {
    let mut command = Command::new(bench.programs.join("collector"));
    command
        .current_dir(folder)
        .args(["run", "--config", "collector.toml"]);
    Program::start("collector", &mut command, &folder.join("collector.log"))
}
