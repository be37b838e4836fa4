//! What becomes of a message that came in: dated, recognised if it was here before, and handed to
//! the thread that writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::Publish;
use site::burst::Bursts;
use site::daemon::{Listened, TICK_TOPIC, asks};
use site::record::{Id, Record, Request};
use tokio::sync::Semaphore;

use super::counters::Counters;
use super::link::{Ack, Link, Settled};
use super::pages::ToPages;
use super::ticker;
use super::writer::{Message, ToWriter};
use crate::clock::Clock;
use crate::clock::ticks::{Dated, Ticks};
use crate::journal::{Resent, content};

/// Bytes of messages that are here and not yet on disk. When they are used up nothing is read, and
/// the broker keeps the rest.
pub(super) const BUDGET: usize = 2 * 1024 * 1024;
/// What a message takes beside topic and payload.
const OVERHEAD: usize = 256;
/// A meter is asked again only after this, however often it says that it is there.
const SHORTEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Intake {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) boot: Id,
    pub(super) meters: Arc<Vec<Listened>>,
    pub(super) by_prefix: HashMap<String, usize>,
    pub(super) ticks: Ticks,
    pub(super) resent: Resent,
    pub(super) link: Arc<Link>,
    pub(super) counters: Arc<Counters>,
    pub(super) writer: Sender<ToWriter>,
    pub(super) pages: SyncSender<ToPages>,
    pub(super) budget: Arc<Semaphore>,
    pub(super) bursts: Bursts,
    /// Messages whose time is not known yet.
    pub(super) held: Vec<(usize, Message)>,
    /// More than this is not held.
    pub(super) most_held: usize,
    /// When each meter was last asked to say everything.
    pub(super) asked: HashMap<usize, Instant>,
    /// Set when nothing more is taken.
    pub(super) stopped: bool,
}

impl Intake {
    /// A connection stands.
    pub(super) fn connected(&mut self, resumed: bool) {
        if !resumed {
            self.resent.forget();
            drop(self.writer.send(ToWriter::Session));
        }
        let now_ns = self.clock.boot_ns();
        self.counters.connected(now_ns);
        self.ticks.connected(resumed, now_ns);
    }

    /// The broker has these acknowledgements.
    pub(super) fn settled(&mut self, settled: Settled) {
        self.resent.settled(settled.place);
    }

    /// Takes a message that came on a connection. Waits when there is no room for it.
    pub(super) async fn take(&mut self, connection: u32, message: &Publish) {
        if self.stopped {
            // Not acknowledged: the next daemon gets it.
            return;
        }
        let now_ns = self.clock.boot_ns();
        let ack = Ack {
            connection,
            packet: message.pkid,
            recorded: false,
            place: 0,
            number: 0,
        };
        let topic = str::from_utf8(&message.topic).unwrap_or_default();
        if message.retain {
            self.counters.retained();
        } else if topic == TICK_TOPIC {
            if let Some(tick_ns) = ticker::time_of(&message.payload, &self.boot) {
                self.counters.ticked(now_ns);
                let dated = self.ticks.tick(tick_ns, now_ns);
                self.release(dated);
                drop(self.writer.send(ToWriter::Heard(self.ticks.heard_ns())));
            }
        } else if let Some(reader) = asks(topic) {
            self.request(reader, &message.payload);
        } else if let Some(meter) = self.meter(topic) {
            return self.record(meter, ack, message, topic, now_ns).await;
        } else {
            self.counters.foreign();
        }
        self.acknowledge(ack);
    }

    /// Called a few times per second: nothing is held for ever, and meters are asked when it is time.
    pub(super) fn look(&mut self) {
        let now_ns = self.clock.boot_ns();
        if let Some(dated) = self.ticks.silence(now_ns) {
            self.release(dated);
        }
        for (place, meter) in Arc::clone(&self.meters).iter().enumerate() {
            let every = meter.ask.as_ref().and_then(|ask| ask.every_s);
            if let Some(every) = every {
                self.ask(place, Duration::from_secs(u64::from(every)));
            }
        }
    }

    /// Takes nothing more, and hands on what is held.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        let dated = self.ticks.force(self.clock.boot_ns());
        self.release(dated);
    }

    fn meter(&self, topic: &str) -> Option<usize> {
        let mut ends = topic.match_indices('/').map(|(end, _)| end);
        // A hostile topic may hold tens of thousands of slashes; no prefix does.
        let found = ends
            .by_ref()
            .take(16)
            .find_map(|end| self.by_prefix.get(topic.get(..end)?));
        found.copied()
    }

    async fn record(
        &mut self,
        meter: usize,
        mut ack: Ack,
        message: &Publish,
        topic: &str,
        now_ns: u64,
    ) {
        let content = content(&Record::new(0, 0, topic, &message.payload));
        if message.pkid != 0 {
            if message.dup && self.resent.sent_again(message.pkid, content) {
                self.counters.sent_again();
                // The first of the two may be among those that are held, and must be on disk first.
                let dated = self.ticks.force(now_ns);
                self.release(dated);
                return self.acknowledge(ack);
            }
            ack.place = self.resent.arrived(message.pkid, content);
        }
        ack.recorded = true;
        self.counters.heard(meter, now_ns);
        if message.payload.trim_ascii() == b"true" && topic.ends_with("/online") {
            self.ask(meter, SHORTEST_PAUSE);
        }
        let size = (topic.len() + message.payload.len() + OVERHEAD).min(BUDGET);
        if self.budget.available_permits() < size {
            // What is held may be what takes the room.
            let dated = self.ticks.force(now_ns);
            self.release(dated);
        }
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let Ok(share) = Arc::clone(&self.budget).acquire_many_owned(size).await else {
            return;
        };
        let message = Message {
            time_ns: 0,
            spread_ms: 0,
            topic: topic.to_owned(),
            // A copy of its own: the original shares a read buffer that would stay alive.
            payload: message.payload.to_vec(),
            ack,
            share,
        };
        match self.ticks.arrival(now_ns) {
            Some(dated) => self.hand_on(meter, message, dated),
            None => {
                self.held.push((meter, message));
                if self.held.len() >= self.most_held {
                    let dated = self.ticks.force(now_ns);
                    self.release(dated);
                }
            }
        }
    }

    /// Everything that is held has this time.
    fn release(&mut self, dated: Dated) {
        for (meter, message) in std::mem::take(&mut self.held) {
            self.counters.dated_by_ticks();
            self.hand_on(meter, message, dated);
        }
    }

    fn hand_on(&mut self, meter: usize, mut message: Message, dated: Dated) {
        let time = i64::try_from(dated.time_ns).unwrap_or(i64::MAX);
        let time = self.bursts.time(meter, &message.topic, time);
        message.time_ns = u64::try_from(time).unwrap_or(0);
        message.spread_ms = dated.spread_ms;
        drop(self.writer.send(ToWriter::Record(message)));
    }

    /// Behind all that was handed on before.
    fn acknowledge(&self, ack: Ack) {
        if ack.packet != 0 {
            drop(self.writer.send(ToWriter::Acknowledge(ack)));
        }
    }

    fn request(&self, reader: &str, payload: &[u8]) {
        let asked = Request::decode(payload).ok().and_then(|request| {
            let asked = ToPages::Asked(reader.to_owned(), request);
            self.pages.try_send(asked).ok()
        });
        if asked.is_none() {
            self.counters.requests_refused();
        }
    }

    /// Asks a meter to say everything, unless that was done a short while ago.
    fn ask(&mut self, meter: usize, pause: Duration) {
        let Some(listened) = self.meters.get(meter) else {
            return;
        };
        let Some(ask) = &listened.ask else {
            return;
        };
        let recently = self
            .asked
            .get(&meter)
            .is_some_and(|asked| asked.elapsed() < pause);
        if !recently && self.link.is_connected() {
            self.asked.insert(meter, Instant::now());
            let topic = format!("{}/command", listened.prefix);
            self.link.say(&topic, ask.command.clone().into_bytes());
        }
    }
}
