//! What becomes of a message that came in: dated, recognised if it was here before, and handed to
//! the thread that writes, together with others that were read at once.
//!
//! What is handed on stays in the order in which it came, acknowledgements too: the broker may use
//! a packet id twice, and takes an acknowledgement for the older one's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::Publish;
use site::burst::Bursts;
use site::daemon::{Listened, TICK_TOPIC, asks};
use site::prefixes::Prefixes;
use site::publication::Publication;
use site::record::{Id, Record, Request};

use super::budget::Budget;
use super::counters::Counters;
use super::link::{Ack, Link, Settled};
use super::pages::ToPages;
use super::ticker;
use super::writer::{Message, ToWriter};
use crate::clock::Clock;
use crate::clock::ticks::{Dated, Ticks};
use crate::journal::{Resent, content, key};

/// What a message takes beside topic and payload.
const OVERHEAD: usize = 256;
/// A meter is asked again only after this, however often it says that it is there.
const SHORTEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Intake {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) boot: Id,
    pub(super) meters: Arc<Vec<Listened>>,
    pub(super) prefixes: Prefixes,
    /// Place of the last message's meter: those of one come together.
    pub(super) near: usize,
    pub(super) ticks: Ticks,
    pub(super) resent: Resent,
    pub(super) link: Arc<Link>,
    pub(super) counters: Arc<Counters>,
    pub(super) writer: Sender<Vec<ToWriter>>,
    /// What the writer is told next.
    pub(super) told: Vec<ToWriter>,
    pub(super) pages: SyncSender<ToPages>,
    pub(super) budget: Arc<Budget>,
    pub(super) bursts: Bursts,
    /// Messages whose time is not known yet, and what came between them.
    pub(super) held: Vec<Held>,
    /// More than this is not held.
    pub(super) most_held: usize,
    /// When each meter was last asked to say everything.
    pub(super) asked: HashMap<usize, Instant>,
    /// Set when nothing more is taken.
    pub(super) stopped: bool,
}

/// What waits for a time, or behind something that does.
pub(super) enum Held {
    /// A message of this meter.
    Message(usize, Message),
    /// Something that is only acknowledged.
    Ack(Ack),
}

impl Intake {
    /// A connection stands.
    pub(super) fn connected(&mut self, resumed: bool) {
        // What came before belongs to what was before.
        self.release_all();
        if resumed {
            self.resent.connected();
        } else {
            self.resent.forget();
            self.tell(ToWriter::Session);
        }
        self.hand_over();
        let now_ns = self.clock.boot_ns();
        self.counters.connected(now_ns);
        self.ticks.connected(resumed, now_ns);
    }

    /// The broker has these acknowledgements.
    pub(super) fn settled(&mut self, settled: Settled) {
        self.resent.settled(settled.place);
    }

    /// Hands all on that was taken.
    pub(super) fn hand_over(&mut self) {
        if !self.told.is_empty() {
            let room = Vec::with_capacity(self.told.len());
            drop(self.writer.send(std::mem::replace(&mut self.told, room)));
        }
    }

    /// Takes a message that came on a connection. It goes on with [`Intake::hand_over`].
    pub(super) fn take(&mut self, connection: u32, message: &Publish) {
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
            if let Some(tick) = ticker::read(&message.payload, &self.boot) {
                self.counters.ticked(now_ns);
                let dated = self.ticks.tick(tick, now_ns);
                self.release(dated);
                self.tell(ToWriter::Heard(self.ticks.heard_ns()));
            }
        } else if let Some(reader) = asks(topic) {
            self.request(reader, &message.payload);
        } else if let Some(meter) = self.meter(topic) {
            return self.record(meter, ack, message, topic, now_ns);
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
            self.hand_over();
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
        self.release_all();
    }

    /// Hands on what is held, whatever is known of its time.
    pub(super) fn release_all(&mut self) {
        let dated = self.ticks.force(self.clock.boot_ns());
        self.release(dated);
        self.hand_over();
    }

    fn meter(&mut self, topic: &str) -> Option<usize> {
        let found = self.prefixes.find(topic, self.near)?;
        self.near = found;
        Some(found)
    }

    fn record(&mut self, meter: usize, mut ack: Ack, message: &Publish, topic: &str, now_ns: u64) {
        if message.pkid != 0 {
            let content = content(&Record::new(0, 0, topic, &message.payload));
            let key = key(message.pkid, content);
            if message.dup
                && let Some(place) = self.resent.sent_again(key)
            {
                self.counters.sent_again();
                ack.place = place;
                // Behind the first of the two, which must be on disk then.
                return self.acknowledge(ack);
            }
            ack.place = self.resent.arrived(key);
        }
        ack.recorded = true;
        self.counters.heard(meter, now_ns);
        if message.payload.trim_ascii() == b"true" && topic.ends_with("/online") {
            self.ask(meter, SHORTEST_PAUSE);
        }
        let message = Message {
            time_ns: 0,
            spread_ms: 0,
            publication: Publication::new(topic, &message.payload),
            ack,
            size: topic.len() + message.payload.len() + OVERHEAD,
        };
        self.budget.take(message.size);
        match self.ticks.arrival(now_ns) {
            Some(dated) => self.hand_on(meter, message, dated),
            None => self.hold(Held::Message(meter, message)),
        }
    }

    fn hold(&mut self, held: Held) {
        self.held.push(held);
        if self.held.len() >= self.most_held {
            let dated = self.ticks.force(self.clock.boot_ns());
            self.release(dated);
        }
    }

    /// Everything that is held has this time.
    fn release(&mut self, dated: Dated) {
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Message(meter, message) => {
                    self.counters.dated_by_ticks();
                    self.hand_on(meter, message, dated);
                }
                Held::Ack(ack) => self.tell(ToWriter::Acknowledge(ack)),
            }
        }
    }

    fn hand_on(&mut self, meter: usize, mut message: Message, dated: Dated) {
        let time = i64::try_from(dated.time_ns).unwrap_or(i64::MAX);
        let (topic, _) = message.publication.parts();
        let time = self.bursts.time(meter, topic, time);
        message.time_ns = u64::try_from(time).unwrap_or(0);
        message.spread_ms = dated.spread_ms;
        self.tell(ToWriter::Record(message));
    }

    /// Behind all that came before.
    fn acknowledge(&mut self, ack: Ack) {
        match ack.packet {
            0 => {}
            _ if self.held.is_empty() => self.tell(ToWriter::Acknowledge(ack)),
            _ => self.hold(Held::Ack(ack)),
        }
    }

    fn tell(&mut self, what: ToWriter) {
        self.told.push(what);
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
