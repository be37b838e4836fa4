//! Recognises a message that the broker sends again after a connection broke, so that it gets
//! the time that it had: its point is then the same point, and writing it again changes nothing.
//!
//! A packet id alone is no identity: ids are reused, and under load even while still in use. So
//! a message is the same one only if it is flagged as duplicate, has the id and the content, and
//! its acknowledgement may still have been under way. All of this is forgotten when the process
//! ends or the broker loses the session.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// A broken connection is noticed within one and a half times the keep-alive of 30 s.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// What arrived under each packet id last; at most 65,535 entries.
#[derive(Debug, Default)]
pub(super) struct Redelivery {
    seen: HashMap<u16, Seen>,
}

#[derive(Debug)]
struct Seen {
    content: u64,
    time_ns: i64,
    confirmed: Option<Instant>,
}

/// Topic and payload as one number.
pub(super) fn content(topic: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, payload).hash(&mut hasher);
    hasher.finish()
}

impl Redelivery {
    /// The time that a message flagged as duplicate had when it came first.
    pub(super) fn time(&self, id: u16, content: u64, now: Instant) -> Option<i64> {
        let seen = self.seen.get(&id).filter(|seen| seen.content == content)?;
        let under_way = seen
            .confirmed
            .is_none_or(|confirmed| now.saturating_duration_since(confirmed) < UNDER_WAY);
        under_way.then_some(seen.time_ns)
    }

    /// A message came under this id.
    pub(super) fn arrived(&mut self, id: u16, content: u64, time_ns: i64) {
        let seen = Seen {
            content,
            time_ns,
            confirmed: None,
        };
        self.seen.insert(id, seen);
    }

    /// It was acknowledged.
    pub(super) fn confirmed(&mut self, id: u16, content: u64, now: Instant) {
        if let Some(seen) = self.seen.get_mut(&id)
            && seen.content == content
        {
            seen.confirmed = Some(now);
        }
    }

    /// The broker lost the session, and its ids with it.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One message (id 7, content 1, time 100) arrived; is the given one it?
    #[track_caller]
    fn check(id: u16, content: u64, confirmed_before: Option<u64>, expected: Option<i64>) {
        let start = Instant::now();
        let mut redelivery = Redelivery::default();
        redelivery.arrived(7, 1, 100);
        let mut now = start;
        if let Some(seconds) = confirmed_before {
            redelivery.confirmed(7, 1, start);
            now += Duration::from_secs(seconds);
        }
        assert_eq!(redelivery.time(id, content, now), expected);
    }

    #[test]
    fn the_same_message_keeps_its_time() {
        check(7, 1, None, Some(100));
        check(7, 1, Some(1), Some(100));
    }

    #[test]
    fn another_message_is_not_taken_for_it() {
        check(8, 1, None, None);
        check(7, 2, None, None);
        check(7, 1, Some(61), None);
    }

    #[test]
    fn a_lost_session_is_forgotten() {
        let mut redelivery = Redelivery::default();
        redelivery.arrived(7, 1, 100);
        redelivery.forget();
        assert_eq!(redelivery.time(7, 1, Instant::now()), None);
    }
}
