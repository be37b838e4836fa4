//! The thread that serves: answers requests with pages and says when there is more. It reads the
//! journal from files of its own, so that nobody who asks holds the writing up.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use site::daemon::{FORMAT, HEAD_TOPIC, Head, page_topic};
use site::record::{Request, Waiting};
use tracing::warn;

use super::counters::Counters;
use super::link::Link;
use super::streams::{Asked, Streams};
use super::writer::ToWriter;
use crate::clock::Clock;
use crate::journal::Reader;

/// Requests that wait. More of them are dropped; readers ask again.
pub(super) const MOST_WAITING: usize = 256;
/// How often it is said that there is more.
const HEADS: Duration = Duration::from_secs(1);
/// Pages for one reader before the others have their turn.
const TURN: usize = 4;

/// What the thread is told.
pub(super) enum ToPages {
    /// A reader asks.
    Asked(String, Request),
    /// There is more, or the broker is connected again.
    More,
    /// End.
    Stop,
}

pub(super) struct Pages {
    pub(super) journal: Reader,
    pub(super) readers: Vec<String>,
    pub(super) link: Arc<Link>,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) writer: Sender<Vec<ToWriter>>,
}

impl Pages {
    /// Until told to stop.
    pub(super) fn run(self, told: &Receiver<ToPages>) {
        let mut streams = Streams::new(&self.readers, self.journal.clone());
        let names = streams.names();
        let mut said = None;
        let mut head_due = true;
        loop {
            match told.recv_timeout(HEADS) {
                Ok(ToPages::Asked(name, request)) => self.asked(&mut streams, &name, &request),
                Ok(ToPages::More) => head_due = true,
                Ok(ToPages::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // One page for each, round and round, as long as there are any.
            for _ in 0..TURN {
                for name in &names {
                    self.serve(&mut streams, name);
                }
            }
            if head_due && said.is_none_or(|said: Instant| said.elapsed() >= HEADS) {
                head_due = false;
                said = Some(Instant::now());
                self.say_head();
            }
        }
    }

    fn asked(&self, streams: &mut Streams, name: &str, request: &Request) {
        if let Some(clock_ns) = request.clock_ns {
            self.offer(clock_ns);
        }
        match streams.asked(name, request, Instant::now()) {
            Ok(Asked::Go) => {}
            Ok(Asked::Answer(page)) => {
                self.link.page(&page_topic(name), page);
            }
            Ok(Asked::Refused) => self.counters.requests_refused(),
            Err(error) => warn!(reader = name, %error, "the journal cannot be read"),
        }
    }

    /// A reader's clock; whether it is needed is the writer's business.
    fn offer(&self, clock_ns: u64) {
        let boot = i64::try_from(self.clock.boot_ns()).ok();
        let offset = i64::try_from(clock_ns)
            .ok()
            .zip(boot)
            .map(|(wall, boot)| wall - boot);
        if let Some(offset) = offset.filter(|offset| *offset > 0) {
            drop(self.writer.send(vec![ToWriter::Offered(offset)]));
        }
    }

    fn serve(&self, streams: &mut Streams, name: &str) {
        match streams.next_page(name) {
            Ok(Some((page, last))) => {
                // Without room nothing is noted as sent, and it is tried again.
                if self.link.page(&page_topic(name), page) {
                    streams.sent(name, last);
                    self.counters.pages();
                }
            }
            Ok(None) => {}
            Err(error) => warn!(reader = name, %error, "the journal cannot be read"),
        }
    }

    fn say_head(&self) {
        let extent = self.journal.extent();
        let waiting = match extent.waiting {
            Waiting::No => "",
            Waiting::Clock => "the clock of the bastion is not set yet",
        };
        let head = Head {
            format: FORMAT,
            journal: extent.journal,
            oldest: extent.oldest,
            newest: extent.served,
            waiting: waiting.to_owned(),
        };
        if let Ok(text) = serde_json::to_vec(&head) {
            self.link.say(HEAD_TOPIC, text);
        }
    }
}
