//! The loop: source to points to database to confirmation.
//!
//! - A message is confirmed after its points are in the database, or it is among the dead letters,
//!   and in the order of arrival: batches may be written out of turn, never confirmed so.
//! - Everything is bounded: one open batch, two on their way, and the source's own window and
//!   memory. While the database is away nothing more is taken.
//! - Told to stop, it takes nothing new, writes what is here, confirms it, says goodbye. What
//!   the database does not take within [`GRACE`] is not confirmed and comes again.

mod batch;
mod status;
mod store;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use crate::config::{Config, Origin};
use crate::database::Database;
use crate::dead_letter::{DeadLetters, LARGEST_FILE};
use crate::fleet::Fleet;
use crate::points::Writer;
use crate::source::broker::Broker;
use crate::source::journal::Journals;
use crate::source::{Chunk, Source};
use batch::{Batch, Limits};
pub use status::{Counters, Status};
use store::{Store, Stored};

/// How long stopping may take.
pub const GRACE: Duration = Duration::from_secs(10);

/// Requests to the database at the same time: one is written while the next is made.
const ON_THEIR_WAY: usize = 2;

const REPORT: Duration = Duration::from_secs(10);

/// Reads the source of the settings until `shutdown`.
///
/// # Errors
/// When the state folder or the settings cannot be used, or the source ends by itself.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<Counters> {
    let letters = DeadLetters::open(&config.state, LARGEST_FILE).context("keeping dead letters")?;
    let database = Database::new(&config.database)?;
    let fleet = Arc::new(Fleet::new(config.site.clone(), config.meters.clone()));
    let kept = Kept {
        letters,
        database,
        fleet: Arc::clone(&fleet),
    };
    match &config.origin {
        Origin::Broker(broker) => {
            let source = Broker::start(broker, fleet);
            collector(source, &config, kept).run(shutdown).await
        }
        Origin::Journals(bastions) => {
            let source = Journals::start(bastions, &config.state);
            collector(source, &config, kept).run(shutdown).await
        }
    }
}

/// What every source's messages end up in.
struct Kept {
    letters: DeadLetters,
    database: Database,
    fleet: Arc<Fleet>,
}

fn collector<S: Source>(source: S, config: &Config, kept: Kept) -> Collector<S> {
    let Kept {
        letters,
        database,
        fleet,
    } = kept;
    let limits = Limits {
        lines: config.database.batch_lines,
        // Half a window is on its way while the other half comes in.
        messages: (source.window() / 2).max(1),
        most: source.most().max(1),
        time: config.database.batch_time,
    };
    let status = Status::new(fleet.site(), &config.origin, &config.state);
    let store = Store::new(database, letters, Arc::clone(&fleet));
    Collector {
        fleet,
        source,
        here: Vec::new().into_iter(),
        limits,
        writer: Writer::default(),
        store: Arc::new(store),
        open: Batch::new(),
        on_their_way: VecDeque::new(),
        counters: Counters::default(),
        status,
    }
}

struct Collector<S: Source> {
    fleet: Arc<Fleet>,
    source: S,
    /// What the source handed on and no batch has yet.
    here: std::vec::IntoIter<Chunk<S::Receipt>>,
    limits: Limits,
    writer: Writer,
    store: Arc<Store>,
    open: Batch<S::Receipt>,
    on_their_way: VecDeque<JoinHandle<Stored<S::Receipt>>>,
    counters: Counters,
    status: Status,
}

impl<S: Source> Collector<S> {
    async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<Counters> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut reports = interval(REPORT);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Set when told to stop.
        let mut deadline: Option<Instant> = None;
        let mut drained = false;
        while !(drained && self.open.is_empty() && self.on_their_way.is_empty()) {
            self.fill();
            let full = self.open.is_full(&self.limits);
            let room = self.on_their_way.len() < ON_THEIR_WAY;
            let pending = room && !self.open.is_empty();
            if pending && (self.open.is_ripe(&self.limits) || drained) {
                self.send();
                continue;
            }
            tokio::select! {
                () = &mut shutdown, if deadline.is_none() => {
                    info!("stopping: nothing new is taken");
                    self.source.stop();
                    deadline = Some(Instant::now() + GRACE);
                }
                stored = front(&mut self.on_their_way) => {
                    self.on_their_way.pop_front();
                    self.stored(stored.context("writing a batch")?);
                }
                () = sleep_until(self.open.due(&self.limits)), if pending => self.send(),
                chunks = self.source.next(), if !full && !drained => match chunks {
                    Some(chunks) => self.here = chunks.into_iter(),
                    None if deadline.is_some() => drained = true,
                    None => bail!("the source ended by itself"),
                },
                _ = reports.tick() => self.report(),
                () = at(deadline) => {
                    let waiting = self.counters.received.saturating_sub(self.counters.confirmed);
                    warn!(waiting, "the database did not take everything in time; what was not written comes again");
                    break;
                }
            }
        }
        for task in &self.on_their_way {
            task.abort();
        }
        self.report();
        self.source.close().await;
        info!("stopped");
        Ok(self.counters)
    }

    /// Takes what is here, as far as there is room. When the batch is not full, nothing is left here.
    fn fill(&mut self) {
        while !self.open.is_full(&self.limits)
            && let Some(chunk) = self.here.next()
        {
            self.open
                .take(chunk, &self.fleet, &mut self.writer, &mut self.counters);
        }
    }

    fn send(&mut self) {
        self.open.close(&self.fleet, &mut self.writer);
        let next = Batch::like(&self.open);
        let batch = std::mem::replace(&mut self.open, next);
        let store = Arc::clone(&self.store);
        self.on_their_way
            .push_back(tokio::spawn(async move { store.store(batch).await }));
    }

    fn stored(&mut self, stored: Stored<S::Receipt>) {
        self.counters.points_written += stored.written;
        self.counters.points_refused += stored.refused;
        self.counters.set_aside += stored.set_aside;
        self.counters.confirmed += stored.messages;
        self.source.confirm(stored.receipts);
    }

    fn report(&mut self) {
        self.counters.source = self.source.tally();
        self.counters.letters_overwritten = self.store.overwritten();
        self.status.report(&self.counters, SystemTime::now());
    }
}

/// The oldest batch, when it is done.
async fn front<T>(tasks: &mut VecDeque<JoinHandle<T>>) -> Result<T, tokio::task::JoinError> {
    match tasks.front_mut() {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
