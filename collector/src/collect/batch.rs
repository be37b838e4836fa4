//! Messages that are written and confirmed together.

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
    /// For each line the place of its message.
    pub(super) owners: Vec<usize>,
    pub(super) arrivals: Vec<Arrival<R>>,
    /// Places of messages that were not understood, and why.
    pub(super) not_understood: Vec<(usize, String)>,
    opened: Instant,
}

impl<R> Batch<R> {
    pub(super) fn new() -> Self {
        Self {
            lines: Vec::new(),
            owners: Vec::new(),
            arrivals: Vec::new(),
            not_understood: Vec::new(),
            opened: Instant::now(),
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
        let translation = match (arrival.cut_from, fleet.find(&arrival.topic)) {
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
        };
        match translation {
            Translation::Points(lines) => {
                counters.readings += 1;
                self.lines.extend_from_slice(&lines.text);
                self.owners.extend(std::iter::repeat_n(place, lines.count));
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
}
