//! The daemon as it runs on a bastion: real processes, and a real broker where `mosquitto` is
//! installed. Judged by sets: what was published against what is served, each value unique.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod broker;
mod clock;
mod fleet;
mod flood;
mod journal;
mod outage;
mod processes;
mod reader;
mod service;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use site::daemon::{FORMAT, Keep, Listened, Settings};

use broker::Mosquitto;
use processes::Process;

/// ns since 1970.
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

/// A broker, and a folder for all that a daemon needs.
struct Bench {
    broker: Mosquitto,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Nothing when there is no broker, which is said.
    fn new() -> Option<Bench> {
        let bench = Bench {
            broker: Mosquitto::start()?,
            folder: tempfile::tempdir().unwrap(),
        };
        bench.settings(|_| {});
        std::fs::write(bench.path("password"), "abcd\n").unwrap();
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the settings: ten meters, one reader.
    fn settings(&self, change: impl FnOnce(&mut Settings)) {
        let meters = (0..10).map(|number| Listened {
            id: format!("meter-{number}"),
            prefix: format!("shellies/meter-{number}"),
            ask: None,
        });
        let mut settings = Settings {
            format: FORMAT,
            port: self.broker.port,
            folder: self.path("journal").display().to_string(),
            window: 1000,
            commit_ms: 200,
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
        change(&mut settings);
        let text = serde_json::to_vec_pretty(&settings).unwrap();
        std::fs::write(self.path("daemon.json"), text).unwrap();
    }

    /// A daemon that the broker has let in.
    fn connected(&self) -> Process {
        let daemon = self.daemon();
        daemon.wait_for("connected to the broker");
        daemon
    }

    fn daemon(&self) -> Process {
        let report = self.path("report.json");
        let arguments = [
            "run",
            "--settings",
            &self.path("daemon.json").display().to_string(),
            "--password-file",
            &self.path("password").display().to_string(),
            "--report",
            &report.display().to_string(),
        ];
        Process::start(&arguments)
    }

    fn ticker(&self) -> Process {
        let ticker = Process::start(&[
            "ticker",
            "--port",
            &self.broker.port.to_string(),
            "--password-file",
            &self.path("password").display().to_string(),
        ]);
        // Its first tick must not come before the session is there to keep it.
        ticker.wait_for("ticking");
        ticker
    }
}

/// Waits for a condition, and says what it waited for in vain.
#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("after 60 s: {what}");
}
