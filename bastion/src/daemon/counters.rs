//! What the daemon counts, and the report made from it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use site::daemon::{Counted, FORMAT, JournalReport, Listened, MeterReport, ReaderReport, Report};

use super::link::Link;
use crate::journal::Reader;

/// Counters that several threads write.
#[derive(Debug, Default)]
pub(super) struct Counters {
    recorded: AtomicU64,
    cut: AtomicU64,
    pages: AtomicU64,
    requests_refused: AtomicU64,
    sent_again: AtomicU64,
    retained: AtomicU64,
    foreign: AtomicU64,
    dated_by_ticks: AtomicU64,
    ticks: AtomicU64,
    sessions_lost: AtomicU64,
    /// When the writing thread was last seen, ns since boot.
    alive_ns: AtomicU64,
    /// When the last message came, ns since boot.
    last_ns: AtomicU64,
    /// When the last tick came, or the broker if that was later, ns since boot.
    tick_ns: AtomicU64,
    meters: Vec<Seen>,
    problem: Mutex<String>,
    pub(super) damaged: u64,
}

#[derive(Debug, Default)]
struct Seen {
    messages: AtomicU64,
    last_ns: AtomicU64,
}

macro_rules! count {
    ($($name:ident),*) => {
        $(pub(super) fn $name(&self) {
            self.$name.fetch_add(1, Relaxed);
        })*
    };
}

impl Counters {
    pub(super) fn new(meters: usize, damaged: u64) -> Counters {
        Counters {
            meters: (0..meters).map(|_| Seen::default()).collect(),
            damaged,
            ..Counters::default()
        }
    }

    count!(
        cut,
        pages,
        requests_refused,
        sent_again,
        retained,
        foreign,
        dated_by_ticks,
        sessions_lost
    );

    pub(super) fn ticked(&self, now_ns: u64) {
        self.ticks.fetch_add(1, Relaxed);
        self.tick_ns.store(now_ns, Relaxed);
    }

    /// Nobody can tick before the broker is there.
    pub(super) fn connected(&self, now_ns: u64) {
        self.tick_ns.store(now_ns, Relaxed);
    }

    pub(super) fn recorded(&self, messages: u32) {
        self.recorded.fetch_add(u64::from(messages), Relaxed);
        self.problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    pub(super) fn problem(&self, problem: &str) {
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        problem.clone_into(&mut known);
    }

    pub(super) fn alive(&self, now_ns: u64) {
        self.alive_ns.store(now_ns, Relaxed);
    }

    pub(super) fn alive_ns(&self) -> u64 {
        self.alive_ns.load(Relaxed)
    }

    pub(super) fn heard(&self, meter: usize, now_ns: u64) {
        self.last_ns.store(now_ns, Relaxed);
        if let Some(seen) = self.meters.get(meter) {
            seen.messages.fetch_add(1, Relaxed);
            seen.last_ns.store(now_ns, Relaxed);
        }
    }

    /// Everything, as it stands at `now_ns` since boot.
    pub(super) fn report(
        &self,
        reader: &Reader,
        boot: site::record::Id,
        meters: &[Listened],
        link: &Link,
        now_ns: u64,
    ) -> Report {
        let since = |last: &AtomicU64| match last.load(Relaxed) {
            0 => None,
            last => Some(now_ns.saturating_sub(last) / 1_000_000_000),
        };
        let extent = reader.extent();
        Report {
            format: FORMAT,
            written_s: now_ns / 1_000_000_000,
            connected: link.is_subscribed(),
            connections: link.connections(),
            sessions_lost: self.sessions_lost.load(Relaxed),
            tick_s: since(&self.tick_ns),
            journal: JournalReport {
                identity: extent.journal,
                oldest: extent.oldest,
                newest: extent.newest,
                served: extent.served,
                bytes: extent.bytes,
                age_s: since(&self.last_ns),
                clock: reader.clock(boot).map(|dated| dated.source),
                damaged: self.damaged,
                trimmed: extent.trimmed,
                problem: self
                    .problem
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone(),
            },
            counted: Counted {
                recorded: self.recorded.load(Relaxed),
                sent_again: self.sent_again.load(Relaxed),
                retained: self.retained.load(Relaxed),
                foreign: self.foreign.load(Relaxed),
                cut: self.cut.load(Relaxed),
                dated_by_ticks: self.dated_by_ticks.load(Relaxed),
                ticks: self.ticks.load(Relaxed),
                requests_refused: self.requests_refused.load(Relaxed),
                pages: self.pages.load(Relaxed),
            },
            meters: meters
                .iter()
                .zip(&self.meters)
                .map(|(meter, seen)| MeterReport {
                    id: meter.id.clone(),
                    seen_s: since(&seen.last_ns),
                    messages: seen.messages.load(Relaxed),
                })
                .collect(),
            readers: reader
                .readers()
                .into_iter()
                .map(|(name, state)| ReaderReport {
                    name,
                    taken: state.taken,
                    missed: state.missed,
                })
                .collect(),
        }
    }
}

/// Replaces the report's file.
pub(super) fn write(report: &Report, path: &Path) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(report)?;
    text.push(b'\n');
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}
