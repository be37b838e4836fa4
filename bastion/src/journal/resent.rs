//! Recognises a message that the broker sends again, so that it stays one record.
//!
//! A packet id alone is no identity: ids are used again, under load even while still in use. So a
//! message is the same one only if it is flagged as a duplicate, has the id and the content, came in
//! the same session, and its acknowledgement is not known to have arrived.

use std::collections::{HashMap, VecDeque};

/// As many as there are packet ids.
const MOST: usize = 65_536;

/// What was acknowledged or is about to be, and may be sent again.
#[derive(Debug, Default)]
pub struct Resent {
    /// The place of each, by [`key`].
    known: HashMap<u64, u64>,
    /// Their keys in the order of arrival; the last one has the place `last`.
    order: VecDeque<u64>,
    last: u64,
}

impl Resent {
    /// A message came under this packet id; returns its place in the order of arrival,
    /// counted from 1.
    pub fn arrived(&mut self, id: u16, content: u64) -> u64 {
        if self.order.len() >= MOST {
            self.forget_oldest();
        }
        self.last += 1;
        let key = key(id, content);
        self.known.insert(key, self.last);
        self.order.push_back(key);
        self.last
    }

    /// Whether a message flagged as a duplicate is one that is here already.
    #[must_use]
    pub fn sent_again(&self, id: u16, content: u64) -> bool {
        self.known.contains_key(&key(id, content))
    }

    /// The broker has the acknowledgements of all up to this place, and sends none of them again.
    pub fn settled(&mut self, place: u64) {
        while !self.order.is_empty() && self.oldest() <= place {
            self.forget_oldest();
        }
        if self.order.is_empty() {
            // After a flood its room is given back.
            self.forget();
        }
    }

    /// The broker lost the session, and its ids with it.
    pub fn forget(&mut self) {
        self.known = HashMap::new();
        self.order = VecDeque::new();
    }

    /// The place of the oldest one.
    fn oldest(&self) -> u64 {
        let behind = u64::try_from(self.order.len()).unwrap_or(u64::MAX);
        (self.last + 1).saturating_sub(behind)
    }

    fn forget_oldest(&mut self) {
        let place = self.oldest();
        if let Some(key) = self.order.pop_front()
            && self.known.get(&key) == Some(&place)
        {
            self.known.remove(&key);
        }
    }
}

/// Packet id and content as one number: contents are hashes already, and ids are spread over all bits.
fn key(id: u16, content: u64) -> u64 {
    content ^ u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::Resent;

    /// Messages as (id, content) that arrived; how many are settled; is the given one known?
    #[track_caller]
    fn check(arrived: &[(u16, u64)], settled: usize, asked: (u16, u64), expected: bool) {
        let mut resent = Resent::default();
        let places: Vec<u64> = arrived
            .iter()
            .map(|(id, content)| resent.arrived(*id, *content))
            .collect();
        if let Some(last) = settled.checked_sub(1) {
            resent.settled(places[last]);
        }
        assert_eq!(resent.sent_again(asked.0, asked.1), expected);
    }

    #[test]
    fn a_message_is_known_by_id_and_content() {
        check(&[(7, 1)], 0, (7, 1), true);
        check(&[(7, 1)], 0, (8, 1), false);
        check(&[(7, 1)], 0, (7, 2), false);
    }

    #[test]
    fn a_settled_message_is_another_one() {
        check(&[(7, 1), (8, 2)], 1, (7, 1), false);
        check(&[(7, 1), (8, 2)], 1, (8, 2), true);
        check(&[(7, 1), (8, 2), (7, 1)], 2, (7, 1), true);
    }

    #[test]
    fn two_messages_under_one_id_are_both_known() {
        check(&[(7, 1), (7, 2)], 0, (7, 1), true);
        check(&[(7, 1), (7, 2)], 0, (7, 2), true);
    }

    #[test]
    fn memory_is_bounded() {
        let mut resent = Resent::default();
        for number in 0..200_000_u64 {
            resent.arrived(7, number);
        }
        assert_eq!(
            (resent.known.len(), resent.order.len()),
            (super::MOST, super::MOST)
        );
        resent.forget();
        assert!(!resent.sent_again(7, 199_999));
    }
}
