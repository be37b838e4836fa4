//! Brings one batch to its end: every line in the database, or its message among the dead letters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tracing::{error, warn};

use super::batch::Batch;
use crate::database::{Database, Refused};
use crate::dead_letter::{DeadLetters, Letter};
use crate::fleet::Fleet;
use crate::patience::Patience;

/// Where batches go.
pub(super) struct Store {
    database: Database,
    letters: Arc<Mutex<DeadLetters>>,
    fleet: Arc<Fleet>,
}

/// What became of a batch.
pub(super) struct Stored<R> {
    /// Of its messages, in the order of arrival.
    pub(super) receipts: Vec<R>,
    /// How many messages that were.
    pub(super) messages: u64,
    /// Lines in the database.
    pub(super) written: u64,
    /// Lines that the database refused.
    pub(super) refused: u64,
    /// Messages among the dead letters.
    pub(super) set_aside: u64,
}

impl Store {
    pub(super) fn new(database: Database, letters: DeadLetters, fleet: Arc<Fleet>) -> Self {
        Self {
            database,
            letters: Arc::new(Mutex::new(letters)),
            fleet,
        }
    }

    /// How many dead letters were overwritten.
    pub(super) fn overwritten(&self) -> u64 {
        self.letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .overwritten()
    }

    /// Waits as long as it takes.
    pub(super) async fn store<R>(&self, mut batch: Batch<R>) -> Stored<R> {
        let lines = Bytes::from(std::mem::take(&mut batch.lines));
        let refused = self.database.write(lines).await;
        let mut lines = refused.len();
        let (mut blamed, text, owners) = self.blamed(&batch, refused);
        if !owners.is_empty() {
            for Refused { line, reason } in self.database.write(text.into()).await {
                blamed.extend(owners.get(line).map(|owner| (*owner, reason)));
                lines += 1;
            }
        }
        let letters = self.letters(&batch, &blamed);
        let set_aside = count(letters.len());
        self.keep(letters).await;
        Stored {
            written: count((batch.owners.len() + owners.len()).saturating_sub(lines)),
            refused: count(blamed.len()),
            set_aside,
            messages: count(batch.messages()),
            receipts: batch.receipts,
        }
    }

    /// The messages whose lines are refused, and why. One that is refused together with others is
    /// no proof against any of them: lines that say each for itself, and whose they are.
    fn blamed<R>(
        &self,
        batch: &Batch<R>,
        refused: Vec<Refused>,
    ) -> (Vec<(usize, String)>, Vec<u8>, Vec<usize>) {
        let (mut blamed, mut shared) = (Vec::new(), Vec::new());
        for Refused { line, reason } in refused {
            match batch.owners.get(line) {
                Some(owners) if owners.len() > 1 => shared.push(owners.clone()),
                Some(owners) => blamed.push((owners.start, reason)),
                None => {}
            }
        }
        let (text, owners) = batch.apart(&shared, &self.fleet);
        (blamed, text, owners)
    }

    /// One letter for each message that has a reason, however many of its lines were refused.
    fn letters<R>(&self, batch: &Batch<R>, blamed: &[(usize, String)]) -> Vec<Letter> {
        let mut reasons: BTreeMap<usize, String> = batch.not_understood.iter().cloned().collect();
        for (message, reason) in blamed {
            reasons
                .entry(*message)
                .or_insert_with(|| format!("the database refuses it: {reason}"));
        }
        let mut letters = Vec::new();
        batch.visit(reasons.keys().copied(), |place, message| {
            let meter = self.fleet.find(message.topic);
            letters.push(Letter {
                time_ns: message.time_ns,
                meter: meter.map(|(_, meter)| meter.id.clone()),
                topic: message.topic.to_owned(),
                payload: message.payload.to_vec(),
                reason: reasons.get(&place).cloned().unwrap_or_default(),
            });
        });
        letters
    }

    /// Nothing is confirmed before this is done, so a full disk stops the collector, not a reading.
    async fn keep(&self, letters: Vec<Letter>) {
        let Some(first) = letters.first() else {
            return;
        };
        warn!(
            messages = letters.len(),
            topic = first.topic,
            reason = first.reason,
            "set aside; the reason is that of the first"
        );
        let letters = Arc::new(letters);
        let mut patience = Patience::new();
        loop {
            let (file, letters) = (Arc::clone(&self.letters), Arc::clone(&letters));
            let kept = tokio::task::spawn_blocking(move || {
                file.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .keep(&letters)
            });
            let problem = match kept.await {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure.to_string(),
                Err(broken) => broken.to_string(),
            };
            let wait = patience.next_wait();
            error!(
                problem,
                ?wait,
                "dead letters cannot be kept, and nothing is confirmed until they are; look at the disk of the state folder"
            );
            tokio::time::sleep(wait).await;
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
