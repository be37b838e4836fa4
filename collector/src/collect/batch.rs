//! Messages that are written and confirmed together.
//!
//! A meter says each value in a message of its own, and those of one burst have one time. Neighbours
//! that say something of one series at one time become one line: the database does nothing else
//! with them, and a line costs it much more than a field.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use super::status::Counters;
use crate::fleet::Fleet;
use crate::points::{Kind, Translation, translate};
use crate::source::Arrival;

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) lines: usize,
    pub(super) messages: usize,
    pub(super) time: Duration,
}

/// Messages in the order of arrival, and the lines that they became.
pub(super) struct Batch<R> {
    pub(super) lines: Vec<u8>,
    /// For each line the places of its messages.
    pub(super) owners: Vec<Range<usize>>,
    pub(super) arrivals: Vec<Arrival<R>>,
    /// Places of messages that were not understood, and why.
    pub(super) not_understood: Vec<(usize, String)>,
    opened: Instant,
    /// Where the last line begins.
    last: usize,
}

impl<R> Batch<R> {
    pub(super) fn new() -> Self {
        Self {
            lines: Vec::new(),
            owners: Vec::new(),
            arrivals: Vec::new(),
            not_understood: Vec::new(),
            opened: Instant::now(),
            last: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.owners.len() >= limits.lines || self.arrivals.len() >= limits.messages
    }

    /// When it must be sent, however small it is.
    pub(super) fn due(&self, limits: &Limits) -> Instant {
        self.opened + limits.time
    }

    /// Translates and counts a message. Those that are no readings are here as well, so that
    /// confirmations keep the order.
    pub(super) fn take(&mut self, arrival: Arrival<R>, fleet: &Fleet, counters: &mut Counters) {
        if self.is_empty() {
            self.opened = Instant::now();
        }
        let place = self.arrivals.len();
        counters.received += 1;
        match translated(&arrival, fleet) {
            Translation::Points(lines) => {
                counters.readings += 1;
                if lines.count > 1 || !self.join(place, &lines.text) {
                    self.last = self.lines.len();
                    self.lines.extend_from_slice(&lines.text);
                    let own = std::iter::repeat_n(place..place + 1, lines.count);
                    self.owners.extend(own);
                }
            }
            Translation::NotAReading(Kind::Other) => counters.not_readings += 1,
            Translation::NotAReading(Kind::OtherSource) => counters.other_source += 1,
            Translation::NotAReading(Kind::NoValue) => counters.without_value += 1,
            Translation::NotUnderstood(reason) => {
                counters.not_understood += 1;
                self.not_understood.push((place, reason));
            }
        }
        self.arrivals.push(arrival);
    }

    /// Adds the only field of a line to the last line, if that is of the message before and says
    /// something else of the same series at the same time.
    fn join(&mut self, place: usize, line: &[u8]) -> bool {
        let Some(owners) = self.owners.last_mut().filter(|owners| owners.end == place) else {
            return false;
        };
        let last = self.lines.get(self.last..).unwrap_or_default();
        let (Some(before), Some(new)) = (Parts::of(last), Parts::of(line)) else {
            return false;
        };
        let name = |field: &[u8]| field.iter().position(|byte| *byte == b'=');
        let is_there = |field: &[u8]| {
            let (name, new) = (
                field.get(..name(field)?)?,
                new.fields.get(..name(new.fields)?)?,
            );
            Some(name == new)
        };
        let mut fields = before.fields.split(|byte| *byte == b',');
        if before.series != new.series
            || before.time != new.time
            || new.fields.contains(&b',')
            || fields.any(|field| is_there(field) != Some(false))
        {
            return false;
        }
        self.lines.truncate(self.lines.len() - new.time.len());
        self.lines.push(b',');
        self.lines.extend_from_slice(new.fields);
        self.lines.extend_from_slice(new.time);
        owners.end = place + 1;
        true
    }

    /// The lines of messages that share one, each for itself again; and whose each is.
    pub(super) fn apart(&self, shared: &[Range<usize>], fleet: &Fleet) -> (Vec<u8>, Vec<usize>) {
        let (mut text, mut owners) = (Vec::new(), Vec::new());
        for place in shared.iter().cloned().flatten() {
            if let Some(arrival) = self.arrivals.get(place)
                && let Translation::Points(lines) = translated(arrival, fleet)
            {
                text.extend_from_slice(&lines.text);
                owners.extend(std::iter::repeat_n(place, lines.count));
            }
        }
        (text, owners)
    }
}

fn translated<R>(arrival: &Arrival<R>, fleet: &Fleet) -> Translation {
    match (arrival.cut_from, fleet.find(&arrival.topic)) {
        (Some(size), _) => Translation::NotUnderstood(format!(
            "the message has {size} bytes, and the bastion kept its beginning only"
        )),
        (None, Some((_, meter))) => translate(
            meter,
            fleet.site(),
            &arrival.topic,
            &arrival.payload,
            arrival.time_ns,
        ),
        (None, None) => Translation::NotAReading(Kind::Other),
    }
}

/// One line whose fields are no texts, which might hold anything.
struct Parts<'l> {
    /// Measurement and tags. A space in them stands behind a backslash, and no other backslash is
    /// let in.
    series: &'l [u8],
    fields: &'l [u8],
    /// With the space before and the newline behind.
    time: &'l [u8],
}

impl Parts<'_> {
    fn of(line: &[u8]) -> Option<Parts<'_>> {
        let mut spaces = (1..line.len()).filter(|place| {
            line.get(*place) == Some(&b' ') && line.get(*place - 1) != Some(&b'\\')
        });
        let (first, second) = (spaces.next()?, spaces.next()?);
        if spaces.next().is_some() || line.contains(&b'"') {
            return None;
        }
        Some(Parts {
            series: line.get(..first)?,
            fields: line.get(first + 1..second)?,
            time: line.get(second..)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::tests::meter;

    /// Messages of one meter as (topic below it, payload, time); their lines without tags, and for
    /// each the places of its messages.
    #[track_caller]
    fn check(messages: &[(&str, &str, i64)], expected: &[(&str, Range<usize>)]) {
        let meter = meter("shellyem3", "shellyem3-AABBCC");
        let prefix = meter.prefix.clone();
        let fleet = Fleet::new("my home".to_owned(), vec![meter]);
        let mut batch = Batch::new();
        let mut alone = Vec::new();
        for (topic, payload, time_ns) in messages {
            let arrival = Arrival {
                topic: format!("{prefix}/{topic}"),
                payload: payload.as_bytes().to_vec(),
                time_ns: *time_ns,
                cut_from: None,
                receipt: (),
            };
            if let Translation::Points(lines) = translated(&arrival, &fleet) {
                alone.extend(lines.text);
            }
            batch.take(arrival, &fleet, &mut Counters::default());
        }
        let text = String::from_utf8(batch.lines.clone()).unwrap();
        let short = |line: &str| {
            let (series, rest) = line.split_at(line.find(",site=my\\ home,").unwrap());
            let (_, rest) = rest.split_once("gen=1").unwrap();
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
}
