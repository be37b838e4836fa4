//! Takes one bastion's pages in their order, hands their records on, and asks for more only then: so
//! a slow database slows the asking, and nothing piles up.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use site::daemon::fetch_topic;
use site::record::{Cursor, Fit, Group, LostWhy, Malformed, Page, Part, Request, Waiting};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::connection::Told;
use super::{Receipt, lock};
use crate::config;
use crate::source::{Chunk, Messages, Packed, Tally};

/// Pages under way: with 50 ms there and back, 16 of them are 20 MB/s.
const PAGES: u8 = 16;
/// When nothing came for so long, it is asked again.
const SILENCE: Duration = Duration::from_secs(5);
/// Bytes of records, unpacked, that are handed on at once, about. A page may hold very many more.
const AT_ONCE: usize = 64 * 1024;
/// How long to leave a bastion alone that sends nonsense.
const PENALTY: Duration = Duration::from_secs(10);

pub(super) struct Taker {
    place: usize,
    bastion: String,
    account: String,
    client: Option<AsyncClient>,
    stream: u64,
    /// The end of what was handed on.
    at: Option<Cursor>,
    /// Number of the newest record, as far as the bastion said.
    newest: u64,
    stored: Arc<Mutex<Option<Cursor>>>,
    tally: Arc<Mutex<Tally>>,
    arrivals: mpsc::Sender<Vec<Chunk<Receipt>>>,
}

/// What of a page can be handed on, and where that ends.
#[derive(Default)]
struct Piece {
    chunks: Vec<Chunk<Receipt>>,
    /// Bytes of it, unpacked.
    size: usize,
    end: Option<Cursor>,
    trimmed: u64,
    damaged: u64,
}

/// What became of a page.
enum Taken {
    /// Its records are handed on.
    Records,
    /// Nobody wants them any more.
    Closed,
    /// Of another stream, or nothing new.
    Nothing,
    /// Something before it got lost.
    Gap,
    /// The cursor does not fit.
    Misfit(Fit),
}

impl Taker {
    pub(super) fn new(
        place: usize,
        settings: &config::Broker,
        at: Option<Cursor>,
        stored: Arc<Mutex<Option<Cursor>>>,
        tally: Arc<Mutex<Tally>>,
        arrivals: mpsc::Sender<Vec<Chunk<Receipt>>>,
    ) -> Taker {
        Taker {
            place,
            bastion: settings.host.clone(),
            account: settings.account.clone(),
            client: None,
            stream: 0,
            at,
            newest: 0,
            stored,
            tally,
            arrivals,
        }
    }

    /// Until nobody wants the records any more.
    pub(super) async fn run(mut self, mut told: mpsc::Receiver<Told>) {
        let mut silent = Instant::now() + SILENCE;
        loop {
            match timeout_at(silent, told.recv()).await {
                Ok(None) => return,
                Ok(Some(Told::Connected(client))) => {
                    self.client = Some(client);
                    self.begin();
                }
                Ok(Some(Told::Head(head))) => {
                    self.newest = head.newest;
                    continue;
                }
                Ok(Some(Told::Page(bytes))) => {
                    if !self.page(&bytes).await {
                        return;
                    }
                }
                // A page or a request may have got lost, or there is nothing new.
                Err(_) if self.at.map_or(0, |at| at.sequence) < self.newest => self.begin(),
                Err(_) => self.ask(),
            }
            silent = Instant::now() + SILENCE;
        }
    }

    /// False when nobody wants the records any more.
    async fn page(&mut self, bytes: &[u8]) -> bool {
        let taken = match Page::decode(bytes) {
            Ok(page) => self.take(&page).await,
            Err(problem) => Err(problem),
        };
        match taken {
            Ok(Taken::Closed) => return false,
            Ok(Taken::Records) => self.ask(),
            Ok(Taken::Nothing) => {}
            Ok(Taken::Gap) => self.begin(),
            Ok(Taken::Misfit(fit)) => {
                warn!(
                    bastion = self.bastion,
                    reason = ?fit,
                    "the cursor does not fit the journal: reading begins again at the oldest record"
                );
                lock(&self.tally).misfits += 1;
                self.at = None;
                self.begin();
            }
            Err(problem) => {
                warn!(bastion = self.bastion, %problem, wait = ?PENALTY, "a page makes no sense");
                lock(&self.tally).malformed += 1;
                sleep(PENALTY).await;
                self.begin();
            }
        }
        true
    }

    /// Begins a stream behind what was handed on.
    fn begin(&mut self) {
        let mut bytes = [0; 8];
        // The number only has to differ from the last one.
        self.stream = match getrandom::fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => self.stream.wrapping_add(1),
        };
        self.ask();
    }

    fn ask(&self) {
        let Some(client) = &self.client else { return };
        let stored = *lock(&self.stored);
        let request = Request {
            stream: self.stream,
            pages: PAGES,
            // Of another journal it says nothing.
            stored: stored
                .filter(|stored| self.at.is_some_and(|at| at.journal == stored.journal))
                .map_or(0, |stored| stored.sequence),
            cursor: self.at,
            clock_ns: now_ns(),
        };
        // Fails when the connection is gone; the next one asks again.
        let topic = fetch_topic(&self.account);
        drop(client.try_publish(topic, QoS::AtMostOnce, false, request.encode()));
    }

    /// Hands on what is in a page, piece by piece. What stands before an error is handed on or not.
    async fn take(&mut self, page: &Page<'_>) -> Result<Taken, Malformed> {
        if page.stream != self.stream {
            return Ok(Taken::Nothing);
        }
        if page.fit != Fit::Fits {
            return Ok(Taken::Misfit(page.fit));
        }
        if self.at.is_some_and(|at| at.journal != page.journal) {
            return Ok(Taken::Misfit(Fit::OtherJournal));
        }
        self.waiting(page.waiting);
        self.newest = page.newest;
        let begin = self.at.map_or(0, |at| at.sequence);
        if page.parts.is_empty() || page.last() <= begin {
            return Ok(Taken::Nothing);
        }
        let mut piece = Piece {
            end: self.at,
            ..Piece::default()
        };
        if page.after > begin {
            // Either the journal begins behind our cursor, or a page got lost.
            if page.after.checked_add(1) != Some(page.oldest) {
                return Ok(Taken::Gap);
            }
            // Of what was there before the first fetch nobody knows.
            piece.trimmed = self.at.map_or(0, |at| page.after - at.sequence);
        }
        let mut expected = page.after.max(begin).saturating_add(1);
        for part in &page.parts {
            let (first, count) = part.numbers();
            if first > expected {
                return Err(Malformed("numbers are missing"));
            }
            let end = first.saturating_add(count);
            match part {
                Part::Group(_) if end <= expected => continue,
                Part::Group(group) => self.group(page, group, begin, &mut piece)?,
                Part::Lost(lost) => {
                    if lost.why == LostWhy::Damaged {
                        piece.damaged += end.saturating_sub(expected);
                    }
                    // There is no record there, and so no digest.
                    piece.end = Some(Cursor {
                        journal: page.journal,
                        sequence: end.saturating_sub(1).max(begin),
                        digest: 0,
                    });
                }
            }
            expected = end.max(expected);
            if piece.size >= AT_ONCE && !self.hand_on(&mut piece).await {
                return Ok(Taken::Closed);
            }
        }
        let open = self.hand_on(&mut piece).await;
        Ok(if open { Taken::Records } else { Taken::Closed })
    }

    /// False when nobody wants it any more.
    async fn hand_on(&mut self, piece: &mut Piece) -> bool {
        let Piece {
            chunks,
            end,
            trimmed,
            damaged,
            ..
        } = std::mem::take(piece);
        piece.end = end;
        self.at = end;
        if trimmed > 0 || damaged > 0 {
            warn!(
                bastion = self.bastion,
                trimmed, damaged, "records are gone from the journal before they were fetched"
            );
            let mut tally = lock(&self.tally);
            tally.trimmed += trimmed;
            tally.damaged += damaged;
        }
        chunks.is_empty() || self.arrivals.send(chunks).await.is_ok()
    }

    /// The records of a group behind `begin`.
    fn group(
        &self,
        page: &Page,
        group: &Group,
        begin: u64,
        piece: &mut Piece,
    ) -> Result<(), Malformed> {
        let known = begin.saturating_add(1).saturating_sub(group.first);
        let (packed, digest) = Packed::check(group, known)?;
        let end = Cursor {
            journal: page.journal,
            sequence: group.first + u64::from(group.block.count) - 1,
            digest,
        };
        piece.size += packed.raw_size();
        piece.end = Some(end);
        piece.chunks.push(Chunk {
            messages: Messages::Packed(packed),
            receipts: vec![Receipt {
                bastion: self.place,
                end,
            }],
        });
        Ok(())
    }

    fn waiting(&self, waiting: Waiting) {
        let now = waiting == Waiting::Clock;
        let mut tally = lock(&self.tally);
        if now && !tally.waiting_for_clock {
            info!(
                bastion = self.bastion,
                "its clock is not set yet: newer records wait for it"
            );
        }
        tally.waiting_for_clock = now;
    }
}

fn now_ns() -> Option<u64> {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    u64::try_from(since.as_nanos()).ok()
}
