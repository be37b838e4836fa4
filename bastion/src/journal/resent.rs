//! Recognises a message that the broker sends again, so that it stays one record.
//!
//! A packet id alone is no identity: ids are used again, under load even while still in use. So a
//! message is the same one only if it is flagged as a duplicate, has the id and the content, came on
//! an earlier connection of the same session, and its acknowledgement is not known to have arrived.
//!
//! A broker sends again in the order in which it sent, beginning with the first message whose
//! acknowledgement it has not seen. So the place of the first one is searched for, and the others are
//! expected behind it, one by one. Two messages that look the same are told apart by their places.

use std::collections::VecDeque;

/// More than a broker with 200,000 queued messages can have sent, twice: what it has no
/// acknowledgement of, and what it acknowledged since the last ping that it answered.
pub(super) const MOST: usize = 1 << 19;
/// So many are searched for in vain on one connection. More than a damaged group can have held;
/// behind them nothing is known any more.
const MOST_IN_VAIN: u32 = 4096;

/// What was acknowledged or is about to be, and may be sent again.
#[derive(Debug, Default)]
pub struct Resent {
    /// Their keys, see [`key`], in the order of arrival; the last one has the place `last`.
    order: VecDeque<u64>,
    last: u64,
    /// The place of what is expected next.
    next: u64,
    /// The last place that came on an earlier connection.
    end: u64,
    in_vain: u32,
}

impl Resent {
    /// What was recovered, by [`key`], in the order of arrival.
    #[must_use]
    pub fn new(recovered: Vec<u64>) -> Resent {
        let mut order = VecDeque::from(recovered);
        order.drain(..order.len().saturating_sub(MOST));
        Resent {
            last: u64::try_from(order.len()).unwrap_or(u64::MAX),
            order,
            ..Resent::default()
        }
    }

    /// Another connection stands: what arrived before it may come again.
    pub fn connected(&mut self) {
        self.next = 0;
        self.end = self.last;
        self.in_vain = 0;
    }

    /// A message came, see [`key`]; returns its place in the order of arrival, counted from 1.
    pub fn arrived(&mut self, key: u64) -> u64 {
        if self.order.len() >= MOST {
            self.order.pop_front();
        }
        self.last += 1;
        self.order.push_back(key);
        self.last
    }

    /// The place of a message that is flagged as a duplicate, if it is here already.
    pub fn sent_again(&mut self, key: u64) -> Option<u64> {
        let from = self.next.max(self.oldest());
        let left = (self.end + 1).saturating_sub(from);
        if left == 0 || self.in_vain >= MOST_IN_VAIN {
            return None;
        }
        let begin = usize::try_from(from - self.oldest()).ok()?;
        let end = begin + usize::try_from(left).ok()?;
        let mut expected = self.order.range(begin..end.min(self.order.len()));
        let Some(skipped) = expected.position(|known| *known == key) else {
            self.in_vain += 1;
            return None;
        };
        let place = from + u64::try_from(skipped).ok()?;
        self.next = place + 1;
        Some(place)
    }

    /// The broker has the acknowledgements of all up to this place, and sends none of them again.
    pub fn settled(&mut self, place: u64) {
        while !self.order.is_empty() && self.oldest() <= place {
            self.order.pop_front();
        }
        if self.order.is_empty() {
            // After a flood its room is given back.
            self.order.shrink_to(1024);
        }
    }

    /// The broker lost the session, and its ids with it.
    pub fn forget(&mut self) {
        self.order = VecDeque::new();
    }

    /// The place of the oldest one.
    fn oldest(&self) -> u64 {
        let behind = u64::try_from(self.order.len()).unwrap_or(u64::MAX);
        (self.last + 1).saturating_sub(behind)
    }
}

/// Packet id and content as one number: contents are hashes already, and ids are spread over all bits.
#[must_use]
pub fn key(id: u16, content: u64) -> u64 {
    content ^ u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::{MOST, MOST_IN_VAIN, Resent, key};

    /// Messages as (id, content) that arrived, of which so many are settled; then a connection on
    /// which the others come: which of them are known?
    #[track_caller]
    fn check(arrived: &[(u16, u64)], settled: usize, again: &[(u16, u64)], expected: &[bool]) {
        let mut resent = Resent::default();
        let places: Vec<u64> = arrived
            .iter()
            .map(|(id, content)| resent.arrived(key(*id, *content)))
            .collect();
        if let Some(last) = settled.checked_sub(1) {
            resent.settled(places[last]);
        }
        resent.connected();
        let known: Vec<bool> = again
            .iter()
            .map(|(id, content)| resent.sent_again(key(*id, *content)).is_some())
            .collect();
        assert_eq!(known, expected);
    }

    #[test]
    fn a_message_is_known_by_id_and_content() {
        check(&[(7, 1)], 0, &[(7, 1)], &[true]);
        check(&[(7, 1)], 0, &[(8, 1)], &[false]);
        check(&[(7, 1)], 0, &[(7, 2)], &[false]);
    }

    #[test]
    fn a_settled_message_is_another_one() {
        check(&[(7, 1), (8, 2)], 1, &[(7, 1), (8, 2)], &[false, true]);
        check(&[(7, 1), (8, 2), (7, 1)], 2, &[(7, 1)], &[true]);
    }

    #[test]
    fn they_come_again_in_their_order_from_anywhere_on() {
        let arrived = [(1, 1), (2, 2), (3, 3), (4, 4)];
        check(&arrived, 0, &arrived, &[true; 4]);
        check(&arrived, 0, &arrived[2..], &[true; 2]);
        check(&arrived, 0, &[(2, 2), (4, 4)], &[true; 2]);
    }

    /// Ids are used again after 65,535 messages, and a meter may say the same then.
    #[test]
    fn one_that_looks_the_same_is_known_once() {
        check(
            &[(7, 1), (8, 2)],
            0,
            &[(7, 1), (8, 2), (7, 1)],
            &[true, true, false],
        );
        check(
            &[(7, 1), (8, 2), (7, 1)],
            0,
            &[(8, 2), (7, 1), (7, 1)],
            &[true, true, false],
        );
    }

    /// A damaged group was lost, and what stands behind it is known all the same.
    #[test]
    fn one_that_is_not_known_does_not_hide_the_others() {
        check(
            &[(1, 1), (3, 3)],
            0,
            &[(1, 1), (2, 2), (3, 3)],
            &[true, false, true],
        );
    }

    #[test]
    fn what_arrives_on_this_connection_is_not_sent_again_on_it() {
        let mut resent = Resent::default();
        resent.connected();
        resent.arrived(key(7, 1));
        assert_eq!(resent.sent_again(key(7, 1)), None);
        resent.connected();
        assert_eq!(resent.sent_again(key(7, 1)), Some(1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut resent = Resent::default();
        for number in 0..1_000_000 {
            resent.arrived(number);
        }
        assert_eq!(resent.order.len(), MOST);
        resent.connected();
        assert_eq!(resent.sent_again(999_999), Some(1_000_000));
        resent.connected();
        resent.forget();
        assert_eq!(resent.sent_again(999_999), None);
    }

    #[test]
    fn searching_is_bounded() {
        let mut resent = Resent::default();
        resent.arrived(1);
        resent.connected();
        for number in 0..MOST_IN_VAIN {
            assert_eq!(resent.sent_again(u64::from(number) + 2), None);
        }
        assert_eq!(resent.sent_again(1), None);
    }
}
