//! Messages that are written and confirmed together.
//!
//! A meter says each value in a message of its own, and those of one burst have one time. Neighbours
//! that say something of one series at one time become one line: the database does nothing else
//! with them, and a line costs it much more than a field.

use std::ops::Range;
use std::time::Duration;

use site::Meter;
use tokio::time::Instant;

use super::status::Counters;
use crate::fleet::Fleet;
use crate::points::{Kind, Point, Points, Translation, Writer, read};
use crate::source::{Chunk, Message, Messages};

/// Bytes of room beyond what the last batch took: batches differ a little.
const SPARE: usize = 32 * 1024;

/// When a batch is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Lines that make it full.
    pub(super) lines: usize,
    /// Messages that are worth a request.
    pub(super) messages: usize,
    /// Messages that make it full.
    pub(super) most: usize,
    pub(super) time: Duration,
}

/// Messages in the order of arrival, and the lines that they became.
pub(super) struct Batch<R> {
    /// Complete once the batch is closed.
    pub(super) lines: Vec<u8>,
    /// For each line the places of its messages.
    pub(super) owners: Vec<Range<usize>>,
    chunks: Vec<Messages>,
    /// How many messages are in them.
    messages: usize,
    pub(super) receipts: Vec<R>,
    /// Places of messages that were not understood, and why.
    pub(super) not_understood: Vec<(usize, String)>,
    opened: Instant,
    /// The place in the fleet of the last message's meter.
    near: usize,
    /// The last line, which the next message may add to.
    last: Option<Last>,
}

/// A point that is not yet a line.
struct Last {
    meter: usize,
    time_ns: i64,
    point: Point,
}

impl<R> Batch<R> {
    /// With room for as much as another one took: growing step by step takes more memory.
    pub(super) fn like(other: &Self) -> Self {
        Self {
            lines: Vec::with_capacity(other.lines.len() + SPARE),
            owners: Vec::with_capacity(other.owners.len() + SPARE / 64),
            ..Self::new()
        }
    }

    pub(super) fn new() -> Self {
        Self {
            lines: Vec::new(),
            owners: Vec::new(),
            chunks: Vec::new(),
            messages: 0,
            receipts: Vec::new(),
            not_understood: Vec::new(),
            opened: Instant::now(),
            near: 0,
            last: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// How many messages are in it.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// Nothing more may be added.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.owners.len() >= limits.lines || self.messages >= limits.most
    }

    /// It is sent when it can be, and grows until then.
    pub(super) fn is_ripe(&self, limits: &Limits) -> bool {
        self.messages >= limits.messages || self.is_full(limits)
    }

    /// When it must be sent, however small it is.
    pub(super) fn due(&self, limits: &Limits) -> Instant {
        self.opened + limits.time
    }

    /// Translates and counts messages. Those that are no readings are here as well, so that
    /// confirmations keep the order.
    pub(super) fn take(
        &mut self,
        chunk: Chunk<R>,
        fleet: &Fleet,
        writer: &mut Writer,
        counters: &mut Counters,
    ) {
        if self.is_empty() {
            self.opened = Instant::now();
        }
        let mut messages = chunk.messages;
        messages.each(|message| {
            self.one(&message, fleet, writer, counters);
            self.messages += 1;
        });
        messages.pack();
        self.chunks.push(messages);
        self.receipts.extend(chunk.receipts);
    }

    /// The next message.
    fn one(
        &mut self,
        message: &Message,
        fleet: &Fleet,
        writer: &mut Writer,
        counters: &mut Counters,
    ) {
        let place = self.messages;
        counters.received += 1;
        let (found, says) = read_one(message, fleet, self.near);
        match (found, says) {
            (Some((meter, _)), Translation::Points(points)) => {
                counters.readings += 1;
                self.near = meter;
                let alone = points.len() == 1;
                for point in points {
                    let new = Last {
                        meter,
                        time_ns: message.time_ns,
                        point,
                    };
                    if !(alone && self.join(place, &new)) {
                        self.close(fleet, writer);
                        self.last = Some(new);
                        self.owners.push(place..place + 1);
                    }
                }
            }
            (_, Translation::NotAReading(Kind::OtherSource)) => counters.other_source += 1,
            (_, Translation::NotAReading(Kind::NoValue)) => counters.without_value += 1,
            (_, Translation::NotUnderstood(reason)) => {
                counters.not_understood += 1;
                self.not_understood.push((place, reason));
            }
            (_, Translation::NotAReading(Kind::Other)) | (None, _) => counters.not_readings += 1,
        }
    }

    /// Shows the messages at these places, which go up.
    pub(super) fn visit(
        &self,
        places: impl Iterator<Item = usize>,
        mut show: impl FnMut(usize, &Message),
    ) {
        let mut places = places.peekable();
        let mut first = 0;
        for messages in &self.chunks {
            let end = first + messages.count();
            if places.peek().is_some_and(|place| *place < end) {
                let mut place = first;
                messages.each(|message| {
                    while places.next_if(|wanted| *wanted <= place).is_some() {
                        show(place, &message);
                    }
                    place += 1;
                });
            }
            first = end;
        }
    }

    /// Adds a point to the last one, if that is of the message before and says something else of the
    /// same series at the same time.
    fn join(&mut self, place: usize, new: &Last) -> bool {
        let (Some(last), Some(owners)) = (&mut self.last, self.owners.last_mut()) else {
            return false;
        };
        let joins = owners.end == place
            && last.meter == new.meter
            && last.time_ns == new.time_ns
            && last.point.join(&new.point);
        if joins {
            owners.end = place + 1;
        }
        joins
    }

    /// Writes the last line: nothing can be added to it any more.
    pub(super) fn close(&mut self, fleet: &Fleet, writer: &mut Writer) {
        if let Some(last) = self.last.take()
            && let Some(meter) = fleet.meters().get(last.meter)
        {
            let of = (last.meter, meter);
            writer.write(&mut self.lines, of, fleet.site(), &last.point, last.time_ns);
        }
    }

    /// The lines of messages that share one, each for itself again; and whose each is.
    pub(super) fn apart(&self, shared: &[Range<usize>], fleet: &Fleet) -> (Vec<u8>, Vec<usize>) {
        let (mut text, mut owners) = (Vec::new(), Vec::new());
        let mut writer = Writer::default();
        self.visit(shared.iter().cloned().flatten(), |place, message| {
            if let (Some(meter), Translation::Points(points)) = read_one(message, fleet, 0) {
                for point in &points {
                    writer.write(&mut text, meter, fleet.site(), point, message.time_ns);
                    owners.push(place);
                }
            }
        });
        (text, owners)
    }
}

/// Whose a message is, and what it says; `near` is the place of the meter that is looked at first.
fn read_one<'f>(
    message: &Message,
    fleet: &'f Fleet,
    near: usize,
) -> (Option<(usize, &'f Meter)>, Translation<Points>) {
    let found = fleet.find_near(message.topic, near);
    let says = match (message.cut_from, found) {
        (Some(size), _) => Translation::NotUnderstood(format!(
            "the message has {size} bytes, and the bastion kept its beginning only"
        )),
        (None, Some((_, meter))) => read(meter, message.topic, message.payload),
        (None, None) => Translation::NotAReading(Kind::Other),
    };
    (found, says)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::tests::meter;
    use crate::points::translate;
    use crate::source::Owned;

    /// Messages of one meter as (topic below it, payload, time); their lines without tags, and for
    /// each the places of its messages.
    #[track_caller]
    fn check(messages: &[(&str, &str, i64)], expected: &[(&str, Range<usize>)]) {
        let meter = meter("shellyem3", "shellyem3-AABBCC");
        let prefix = meter.prefix.clone();
        let fleet = Fleet::new("my home".to_owned(), vec![meter]);
        let mut batch = Batch::new();
        let mut alone = Vec::new();
        let mut writer = Writer::default();
        for (topic, payload, time_ns) in messages {
            let topic = format!("{prefix}/{topic}");
            let owned = Owned::new(&topic, payload.as_bytes(), *time_ns);
            let chunk = Chunk {
                messages: Messages::Each(vec![owned]),
                receipts: vec![()],
            };
            let meter = fleet.meters().first().unwrap();
            let says = translate(meter, "my home", &topic, payload.as_bytes(), *time_ns);
            if let Translation::Points(lines) = says {
                alone.extend(lines.text);
            }
            let mut counters = Counters::default();
            batch.take(chunk, &fleet, &mut writer, &mut counters);
        }
        batch.close(&fleet, &mut writer);
        let text = String::from_utf8(batch.lines.clone()).unwrap();
        let short = |line: &str| {
            let (series, rest) = line.split_at(line.find(",device=").unwrap());
            let (_, rest) = rest.split_once("site=my\\ home").unwrap();
            format!("{series}{rest}")
        };
        let lines: Vec<String> = text.lines().map(short).collect();
        let expected_lines: Vec<&str> = expected.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, expected_lines);
        let owners: Vec<Range<usize>> = expected.iter().map(|(_, owners)| owners.clone()).collect();
        assert_eq!(batch.owners, owners);
        let (apart, _) = batch.apart(&owners, &fleet);
        assert_eq!(apart, alone, "each for itself again");
    }

    #[test]
    fn what_neighbours_say_of_one_series_is_one_line() {
        check(
            &[
                ("emeter/0/power", "1.5", 7),
                ("emeter/0/pf", "0.5", 7),
                ("emeter/0/voltage", "230", 7),
                ("emeter/0/total", "9", 7),
                ("emeter/0/total_returned", "8", 7),
                ("emeter/1/power", "2", 7),
            ],
            &[
                ("power,channel=0 active_w=1.5,pf=0.5,voltage_v=230 7", 0..3),
                ("energy,channel=0 import_wh=9,export_wh=8 7", 3..5),
                ("power,channel=1 active_w=2 7", 5..6),
            ],
        );
    }

    #[test]
    fn what_is_of_another_time_or_said_twice_is_another_line() {
        check(
            &[
                ("emeter/0/power", "1", 7),
                ("emeter/0/pf", "1", 8),
                ("emeter/0/pf", "2", 8),
            ],
            &[
                ("power,channel=0 active_w=1 7", 0..1),
                ("power,channel=0 pf=1 8", 1..2),
                ("power,channel=0 pf=2 8", 2..3),
            ],
        );
    }

    #[test]
    fn what_stands_between_two_keeps_them_apart() {
        check(
            &[
                ("emeter/0/power", "1", 7),
                ("relay/0", "off", 7),
                ("emeter/0/pf", "1", 7),
            ],
            &[
                ("power,channel=0 active_w=1 7", 0..1),
                ("power,channel=0 pf=1 7", 2..3),
            ],
        );
    }

    #[test]
    fn a_batch_is_ripe_before_it_is_full() {
        let limits = Limits {
            lines: 10,
            messages: 2,
            most: 4,
            time: Duration::from_secs(1),
        };
        let meter = meter("shellyem3", "shellyem3-AABBCC");
        let topic = format!("{}/relay/0", meter.prefix);
        let fleet = Fleet::new("home".to_owned(), vec![meter]);
        let mut batch = Batch::new();
        for count in 1..=4 {
            let chunk = Chunk {
                messages: Messages::Each(vec![Owned::new(&topic, b"off", 7)]),
                receipts: vec![count],
            };
            let (mut writer, mut counters) = (Writer::default(), Counters::default());
            batch.take(chunk, &fleet, &mut writer, &mut counters);
            let is = (batch.is_ripe(&limits), batch.is_full(&limits));
            assert_eq!(is, (count >= 2, count >= 4), "{count}");
        }
        assert_eq!(batch.receipts, [1, 2, 3, 4]);
    }
}
