//! The thread that writes: collects messages into groups, commits them, and acknowledges them then.
//! It also fixes the clock and trims. While the disk takes nothing it tries again, and what was not
//! written is not acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use site::publication::Publication;
use site::record::{ClockSource, Id, Record};
use tracing::{error, info, warn};

use super::budget::Budget;
use super::counters::Counters;
use super::link::{Ack, Link};
use super::pages::ToPages;
use crate::clock::{Clock, offset_ns};
use crate::journal::{Group, Journal};

/// How often clock and retention are looked at.
const LOOK: Duration = Duration::from_secs(1);
const TRIM: Duration = Duration::from_secs(10);
const SAVE: Duration = Duration::from_secs(300);
/// How long to wait when the disk takes nothing.
const AGAIN: Duration = Duration::from_secs(1);

/// A message that is to be recorded.
pub(super) struct Message {
    pub(super) time_ns: u64,
    pub(super) spread_ms: u32,
    pub(super) publication: Publication,
    pub(super) ack: Ack,
    /// What it takes of the budget, given back when it is written.
    pub(super) size: usize,
}

/// What the thread is told, in the order in which the broker handed it over.
pub(super) enum ToWriter {
    /// Record this.
    Record(Message),
    /// Acknowledge this, after all before it.
    Acknowledge(Ack),
    /// What comes now arrived after this time.
    Heard(u64),
    /// The broker began another session.
    Session,
    /// A reader's clock: what is added to times since boot.
    Offered(i64),
    /// Write what is here, and end.
    Stop,
}

pub(super) struct Writer {
    pub(super) journal: Journal,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) boot: Id,
    pub(super) session: u64,
    pub(super) commit: Duration,
    /// Messages of a group.
    pub(super) most: u32,
    /// Without a synchronised clock a reader's is taken so long after boot.
    pub(super) clock_patience: Duration,
    pub(super) budget: Arc<Budget>,
    pub(super) link: Arc<Link>,
    pub(super) counters: Arc<Counters>,
    pub(super) pages: SyncSender<ToPages>,
    /// The highest number of which the broker has the acknowledgement.
    pub(super) settled: Arc<AtomicU64>,
}

struct Open {
    group: Group,
    acks: Vec<Ack>,
    /// Bytes of the budget.
    size: usize,
    due: Option<Instant>,
}

impl Writer {
    /// Until told to stop, or nobody is there to tell it.
    pub(super) fn run(mut self, told: &Receiver<Vec<ToWriter>>) {
        let mut open = Open {
            group: Group::new(self.boot, self.session),
            acks: Vec::new(),
            size: 0,
            due: None,
        };
        let (mut looked, mut trimmed, mut saved) = (None, Instant::now(), Instant::now());
        let mut offered = None;
        let mut stop = false;
        while !stop {
            self.alive();
            if looked.is_none_or(|looked: Instant| looked.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                self.fix_clock(offered);
            }
            if trimmed.elapsed() >= TRIM {
                trimmed = Instant::now();
                self.trim();
            }
            if saved.elapsed() >= SAVE {
                saved = Instant::now();
                self.save_readers();
            }
            let wait = open
                .due
                .map_or(LOOK, |due| due.saturating_duration_since(Instant::now()));
            match told.recv_timeout(wait.min(LOOK)) {
                Ok(told) => {
                    for what in told {
                        stop |= self.told(what, &mut open, &mut offered);
                    }
                    self.acknowledge_at_once(&mut open);
                }
                Err(RecvTimeoutError::Disconnected) => stop = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let due = open.due.is_some_and(|due| Instant::now() >= due);
            if due || stop || open.group.count() >= self.most {
                self.commit(&mut open);
            }
        }
        self.save_readers();
    }

    /// Whether to stop.
    fn told(&mut self, what: ToWriter, open: &mut Open, offered: &mut Option<i64>) -> bool {
        match what {
            ToWriter::Record(message) => self.record(message, open),
            ToWriter::Acknowledge(ack) => open.acks.push(ack),
            ToWriter::Heard(heard_ns) => {
                open.group.heard_ns = open.group.heard_ns.max(heard_ns);
            }
            ToWriter::Session => {
                self.commit(open);
                self.session += 1;
                open.group.session = self.session;
                self.settled.store(0, Ordering::Relaxed);
            }
            ToWriter::Offered(offset) => *offered = Some(offset),
            ToWriter::Stop => return true,
        }
        false
    }

    /// What waits for nothing that must be written first.
    fn acknowledge_at_once(&self, open: &mut Open) {
        if open.group.is_empty() && !open.acks.is_empty() {
            self.link.acknowledge(open.acks.drain(..));
        }
    }

    fn record(&mut self, message: Message, open: &mut Open) {
        let (topic, payload) = message.publication.parts();
        let record = Record::new(message.time_ns, message.spread_ms, topic, payload);
        if record.cut_from.is_some() {
            self.counters.cut();
        }
        if !open.group.push(&record, message.ack.packet) {
            self.commit(open);
            // An empty group has room for every message.
            let _ = open.group.push(&record, message.ack.packet);
        }
        open.due.get_or_insert_with(|| Instant::now() + self.commit);
        open.acks.push(message.ack);
        open.size += message.size;
    }

    /// Tries for as long as it takes: what is acknowledged is on disk.
    fn commit(&mut self, open: &mut Open) {
        open.due = None;
        if open.group.is_empty() {
            return;
        }
        open.group.settled = self.settled.load(Ordering::Relaxed);
        let committed = loop {
            self.alive();
            match self.journal.append(&open.group) {
                Ok(committed) => break committed,
                Err(failure) => {
                    error!(%failure, "nothing is acknowledged until this is written; the broker keeps it");
                    self.counters.problem(&failure.to_string());
                    std::thread::sleep(AGAIN);
                    self.trim();
                }
            }
        };
        self.counters.recorded(open.group.count());
        let mut number = committed.first;
        let acks = open.acks.drain(..).map(|mut ack| {
            if ack.recorded {
                ack.number = number;
                number += 1;
            }
            ack
        });
        self.link.acknowledge(acks);
        open.group.clear();
        self.budget.give_back(std::mem::take(&mut open.size));
        // When it is full, the thread has something to do anyhow, and looks at the end.
        drop(self.pages.try_send(ToPages::More));
    }

    fn fix_clock(&mut self, offered: Option<i64>) {
        if self.journal.clock(self.boot).is_some() {
            return;
        }
        let waited = Duration::from_nanos(self.clock.boot_ns());
        let (offset, source) = match offered {
            _ if self.clock.is_synchronised() => {
                (offset_ns(self.clock.as_ref()), ClockSource::Synchronised)
            }
            Some(offset) if waited >= self.clock_patience => (offset, ClockSource::Reader),
            _ => return,
        };
        match self.journal.fix_clock(self.boot, offset, source) {
            Ok(()) => {
                info!(?source, "the wall time of this boot is fixed");
                drop(self.pages.try_send(ToPages::More));
            }
            Err(failure) => warn!(%failure, "the clock cannot be fixed yet"),
        }
    }

    fn trim(&mut self) {
        let known = self.journal.clock(self.boot);
        let now_ns = known.and_then(|dated| {
            let boot = i64::try_from(self.clock.boot_ns()).ok()?;
            u64::try_from(boot.checked_add(dated.offset_ns)?).ok()
        });
        let removed = self.journal.trim(now_ns);
        if removed > 0 {
            info!(
                records = removed,
                "trimmed: too old, too many, or for want of space"
            );
        }
    }

    fn save_readers(&self) {
        if let Err(failure) = self.journal.save_readers() {
            warn!(%failure, "what readers have taken is not remembered");
        }
    }

    fn alive(&self) {
        self.counters.alive(self.clock.boot_ns());
    }
}
