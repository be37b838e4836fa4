//! A whole fleet: every meter a task, one ledger and one count of everything, until the time is
//! up or somebody says stop.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fleet::Fleet;
use crate::ledger::{Ledger, LedgerError, Line};
use crate::session;

const PROGRESS: Duration = Duration::from_secs(10);

/// What came of a run. Prints as one JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Summary {
    /// How many there are.
    pub meters: usize,
    /// How many of them were ever connected.
    pub connected: usize,
    /// Writes that carried messages.
    pub bursts: usize,
    /// Ledger entries with `sent`.
    pub readings: usize,
    /// Messages written.
    pub messages: usize,
    /// Connections after each meter's first.
    pub reconnects: usize,
    /// Messages that a full queue or a lost connection kept from being written.
    pub dropped: usize,
    /// Messages that the broker delivered to the meters.
    pub commands: usize,
}

/// What is counted while the fleet runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    Bursts,
    Readings,
    Messages,
    Dropped,
    Commands,
}

/// What the meters of a run share.
#[derive(Debug)]
pub struct Shared {
    started: Instant,
    ledger: Mutex<Ledger>,
    connected: AtomicUsize,
    online: AtomicUsize,
    bursts: AtomicUsize,
    readings: AtomicUsize,
    messages: AtomicUsize,
    reconnects: AtomicUsize,
    dropped: AtomicUsize,
    commands: AtomicUsize,
}

impl Shared {
    fn new(ledger: Ledger) -> Self {
        let zero = AtomicUsize::default;
        Self {
            started: Instant::now(),
            ledger: Mutex::new(ledger),
            connected: zero(),
            online: zero(),
            bursts: zero(),
            readings: zero(),
            messages: zero(),
            reconnects: zero(),
            dropped: zero(),
            commands: zero(),
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn connected(&self, again: bool) {
        let counter = if again {
            &self.reconnects
        } else {
            &self.connected
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.online.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self) {
        self.online.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, what: Count, number: usize) {
        let counter = match what {
            Count::Bursts => &self.bursts,
            Count::Readings => &self.readings,
            Count::Messages => &self.messages,
            Count::Dropped => &self.dropped,
            Count::Commands => &self.commands,
        };
        counter.fetch_add(number, Ordering::Relaxed);
    }

    /// Writes a burst's lines. A few kilobytes into the page cache: not worth a thread.
    pub(crate) fn write(&self, lines: &[Line]) -> Result<(), LedgerError> {
        self.ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(lines)
    }

    fn summary(&self, meters: usize) -> Summary {
        let of = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Summary {
            meters,
            connected: of(&self.connected),
            bursts: of(&self.bursts),
            readings: of(&self.readings),
            messages: of(&self.messages),
            reconnects: of(&self.reconnects),
            dropped: of(&self.dropped),
            commands: of(&self.commands),
        }
    }
}

/// Runs a fleet until its duration is over or `shutdown` is ready; then every meter finishes its
/// burst and says goodbye.
///
/// # Errors
/// When the ledger cannot be created or written.
pub async fn run(
    fleet: Fleet,
    ledger: &Path,
    shutdown: impl Future<Output = ()>,
) -> Result<Summary, LedgerError> {
    let fleet = Arc::new(fleet);
    let shared = Arc::new(Shared::new(Ledger::create(ledger)?));
    let (stop, stopped) = watch::channel(false);
    let mut meters = JoinSet::new();
    let count = fleet.meters.len();
    let mut phase = 0.0;
    for meter in &fleet.meters {
        meters.spawn(session::live(
            fleet.clone(),
            meter.clone(),
            phase,
            shared.clone(),
            stopped.clone(),
        ));
        phase += 1.0 / f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    }

    let over = async {
        match fleet.duration_ms {
            Some(duration) => tokio::time::sleep(Duration::from_millis(duration)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over, shutdown);
    let mut progress = tokio::time::interval(PROGRESS);
    progress.tick().await;
    let mut result = Ok(());
    loop {
        tokio::select! {
            () = &mut over => break,
            () = &mut shutdown => break,
            _ = progress.tick() => report(&shared, count),
            // A meter ends before it is told to only when the ledger fails.
            Some(Ok(Err(error))) = meters.join_next() => {
                result = Err(error);
                break;
            }
        }
    }
    // The receivers live in the tasks; when all have ended there is nobody left to tell.
    stop.send(true).ok();
    while let Some(ended) = meters.join_next().await {
        if let Ok(Err(error)) = ended {
            result = Err(error);
        }
    }
    result.map(|()| shared.summary(count))
}

fn report(shared: &Shared, meters: usize) {
    let Summary {
        bursts,
        readings,
        messages,
        reconnects,
        dropped,
        ..
    } = shared.summary(meters);
    let online = shared.online.load(Ordering::Relaxed);
    eprintln!(
        "{} s: {online} of {meters} meters connected, {bursts} bursts, {messages} messages, \
         {readings} readings, {reconnects} reconnects, {dropped} dropped",
        shared.elapsed().as_secs()
    );
}
