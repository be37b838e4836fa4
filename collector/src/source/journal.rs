//! Fetches from the journals of bastions: records behind a cursor, page after page.
//!
//! The time of a message is that of its arrival at the bastion, and is the same each time it is
//! fetched. So fetching again, or fetching twice side by side, gives the same points, and a cursor
//! that got lost costs only work.
//!
//! The cursor of a bastion is written after the database took everything up to it, atomically and
//! synced. One that does not fit the journal (another card, an older copy) is said, and reading begins
//! again at the oldest record. What was trimmed before it was fetched is counted.
//!
//! Nothing waits in the broker: requests and pages go at QoS 0, and what gets lost is asked for again.
//! A page is hostile input; a bastion that sends nonsense holds up nobody but itself.

mod connection;
mod cursor;
mod pages;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use site::record::Cursor;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

use super::{Chunk, Source, Tally};
use crate::config;
use cursor::CursorFile;
use pages::Taker;

/// Pieces of pages whose records are here and wait for their turn.
const PIECES_HERE: usize = 2;
/// Messages that are handed on before one must be confirmed: memory is what bounds them.
const WINDOW: usize = 64_000;

/// Stands for the messages of a group until they are confirmed.
#[derive(Debug)]
pub struct Receipt {
    bastion: usize,
    /// The cursor behind them.
    end: Cursor,
}

/// Journals that are being read.
pub struct Journals {
    arrivals: mpsc::Receiver<Vec<Chunk<Receipt>>>,
    bastions: Vec<Bastion>,
}

struct Bastion {
    file: CursorFile,
    stored: Arc<Mutex<Option<Cursor>>>,
    tally: Arc<Mutex<Tally>>,
    tasks: [JoinHandle<()>; 2],
}

impl Journals {
    /// Starts reading; connects, and connects again, for as long as it lives. Cursors are kept in the
    /// folder `state`.
    #[must_use]
    pub fn start(settings: &[config::Broker], state: &Path) -> Journals {
        let (sender, arrivals) = mpsc::channel(PIECES_HERE);
        let bastions = settings.iter().enumerate().map(|(place, settings)| {
            let (file, known) = CursorFile::open(state, &settings.host);
            let stored = Arc::new(Mutex::new(known));
            let tally = Arc::new(Mutex::new(Tally::default()));
            let (events, told) = mpsc::channel(connection::EVENTS);
            let taker = Taker::new(
                place,
                settings,
                known,
                Arc::clone(&stored),
                Arc::clone(&tally),
                sender.clone(),
            );
            let polling = connection::poll(settings.clone(), Arc::clone(&tally), events);
            Bastion {
                file,
                stored,
                tally,
                tasks: [tokio::spawn(polling), tokio::spawn(taker.run(told))],
            }
        });
        Journals {
            bastions: bastions.collect(),
            arrivals,
        }
    }
}

impl Source for Journals {
    type Receipt = Receipt;

    async fn next(&mut self) -> Option<Vec<Chunk<Receipt>>> {
        self.arrivals.recv().await
    }

    fn confirm(&mut self, receipts: Vec<Receipt>) {
        for receipt in receipts {
            if let Some(bastion) = self.bastions.get_mut(receipt.bastion) {
                *lock(&bastion.stored) = Some(receipt.end);
                bastion.file.set(receipt.end);
            }
        }
        for bastion in &mut self.bastions {
            bastion.file.save_now_and_then();
        }
    }

    fn window(&self) -> usize {
        WINDOW
    }

    fn most(&self) -> usize {
        WINDOW / 2
    }

    fn tally(&self) -> Tally {
        let tallies = self.bastions.iter().map(|bastion| *lock(&bastion.tally));
        tallies.reduce(Tally::and).unwrap_or_default()
    }

    fn stop(&mut self) {
        for bastion in &self.bastions {
            bastion.tasks.iter().for_each(JoinHandle::abort);
        }
        self.arrivals.close();
    }

    async fn close(mut self) {
        for bastion in &mut self.bastions {
            if let Err(problem) = bastion.file.save() {
                warn!(%problem, "the cursor cannot be kept: some of what is stored is fetched again");
            }
        }
    }
}

/// Nothing panics while it holds the lock, so a poisoned one holds good data.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
