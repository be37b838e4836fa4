//! The time of a message that carries none. A meter says what it measured at one instant in a
//! burst of messages, so the messages of one burst share one time and become one point.
//!
//! A burst of a meter ends when one of its topics comes again, half a second after it began, or
//! when it is longer than any meter's. So two messages of one topic never share a time, and no
//! reading overwrites another.

use std::collections::HashMap;

use crate::record::checksum;

const LONGEST_NS: i64 = 500_000_000;
/// The largest burst recorded, a connecting 3EM, has under 30 topics.
const MOST_TOPICS: usize = 64;

/// The open burst of each meter.
#[derive(Debug, Default)]
pub struct Bursts {
    open: HashMap<usize, Burst>,
}

#[derive(Debug)]
struct Burst {
    time_ns: i64,
    /// Checksums of the topics that were in it: few, so that looking at each is the quickest. Should
    /// two be the same, a burst ends early, and no reading overwrites another.
    topics: Vec<u64>,
}

impl Bursts {
    /// The time of a message that is here at `now_ns`.
    #[must_use]
    pub fn time(&mut self, meter: usize, topic: &str, now_ns: i64) -> i64 {
        let burst = self.open.entry(meter).or_insert_with(|| Burst {
            time_ns: now_ns,
            topics: Vec::new(),
        });
        let topic = checksum(topic.as_bytes());
        let age = now_ns.saturating_sub(burst.time_ns);
        // A clock that was set far back begins a burst as well.
        let young = (-LONGEST_NS..LONGEST_NS).contains(&age);
        let full = burst.topics.len() >= MOST_TOPICS;
        if !young {
            burst.time_ns = now_ns;
            burst.topics.clear();
        } else if full || burst.topics.contains(&topic) {
            // A clock may stand still between two messages, or go back a little.
            burst.time_ns = now_ns.max(burst.time_ns.saturating_add(1));
            burst.topics.clear();
        }
        burst.topics.push(topic);
        burst.time_ns
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const MS: i64 = 1_000_000;

    /// Messages as (meter, topic, time of receipt), and the times that they get.
    #[track_caller]
    fn check(messages: &[(usize, &str, i64)], expected: &[i64]) {
        let mut bursts = Bursts::default();
        let times: Vec<i64> = messages
            .iter()
            .map(|(meter, topic, now)| bursts.time(*meter, topic, *now))
            .collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn a_burst_shares_the_time_of_its_first_message() {
        check(&[(0, "a", 0), (0, "b", MS), (0, "c", 499 * MS)], &[0, 0, 0]);
    }

    #[test]
    fn a_burst_ends_half_a_second_after_it_began() {
        check(
            &[(0, "a", 0), (0, "b", 300 * MS), (0, "c", 500 * MS)],
            &[0, 0, 500 * MS],
        );
    }

    #[test]
    fn a_repeated_topic_begins_a_burst() {
        check(
            &[
                (0, "a", 0),
                (0, "b", 1),
                (0, "a", 2),
                (0, "b", 3),
                (0, "a", 4),
            ],
            &[0, 0, 2, 2, 4],
        );
    }

    #[test]
    fn meters_do_not_end_each_others_bursts() {
        check(
            &[(0, "a", 0), (1, "a", 1), (0, "b", 2), (1, "b", 3)],
            &[0, 1, 0, 1],
        );
    }

    #[test]
    fn a_standing_clock_gives_two_messages_of_a_topic_two_times() {
        check(&[(0, "a", 7), (0, "a", 7), (0, "a", 7)], &[7, 8, 9]);
    }

    #[test]
    fn a_clock_that_went_back_a_little_is_not_followed() {
        check(&[(0, "a", 9 * MS), (0, "a", 8 * MS)], &[9 * MS, 9 * MS + 1]);
    }

    #[test]
    fn a_clock_that_was_set_is_followed() {
        check(
            &[(0, "a", 9000 * MS), (0, "b", MS), (0, "a", 2 * MS)],
            &[9000 * MS, MS, MS],
        );
    }

    #[test]
    fn a_flood_of_topics_is_bounded() {
        let topics: Vec<String> = (0..=MOST_TOPICS).map(|n| n.to_string()).collect();
        let mut bursts = Bursts::default();
        let times: HashSet<i64> = topics.iter().map(|t| bursts.time(0, t, 5)).collect();
        assert_eq!(times, HashSet::from([5, 6]));
    }
}
