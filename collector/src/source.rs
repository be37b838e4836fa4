//! Where messages come from. A source hands on messages with their time of arrival, and is told
//! which of them are stored; what they mean is left to `points`.

pub mod broker;
pub mod journal;
mod messages;
mod redelivery;
mod subscription;

use serde::Serialize;

pub use messages::{Message, Messages, Owned, Packed};

/// Messages that are handed on together.
#[derive(Debug)]
pub struct Chunk<R> {
    /// In the order of arrival.
    pub messages: Messages,
    /// What the source must get back once all of them are stored.
    pub receipts: Vec<R>,
}

/// What a source counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Whether messages can come right now.
    pub connected: bool,
    /// Retained messages: replayed at subscribing, no arrivals, not stored.
    pub retained: u64,
    /// Messages that came again because their acknowledgement did not get through.
    pub redelivered: u64,
    /// How often the source had forgotten what it owed to the collector.
    pub sessions_lost: u64,
    /// Records that were trimmed from a journal before they were fetched: lost.
    pub trimmed: u64,
    /// Records that were damaged in a journal before they were fetched: lost.
    pub damaged: u64,
    /// Cursors that did not fit the journal.
    pub misfits: u64,
    /// Pages that made no sense.
    pub malformed: u64,
    /// Whether records wait for a bastion's clock to be set.
    pub waiting_for_clock: bool,
}

impl Tally {
    /// Of two sources that are read side by side.
    #[must_use]
    pub fn and(self, other: Tally) -> Tally {
        Tally {
            connected: self.connected && other.connected,
            retained: self.retained + other.retained,
            redelivered: self.redelivered + other.redelivered,
            sessions_lost: self.sessions_lost + other.sessions_lost,
            trimmed: self.trimmed + other.trimmed,
            damaged: self.damaged + other.damaged,
            misfits: self.misfits + other.misfits,
            malformed: self.malformed + other.malformed,
            waiting_for_clock: self.waiting_for_clock || other.waiting_for_clock,
        }
    }
}

/// A stream of messages that are kept by the other side until they are confirmed.
pub trait Source: Send {
    /// Stands for one or several messages until they are confirmed.
    type Receipt: Send + 'static;

    /// The next messages, at least one; nothing when the source has ended. May be dropped while it
    /// waits.
    fn next(&mut self) -> impl Future<Output = Option<Vec<Chunk<Self::Receipt>>>> + Send;

    /// The messages of these are stored, and need not be kept any longer. In the order of arrival.
    fn confirm(&mut self, receipts: Vec<Self::Receipt>);

    /// How many messages it hands on before one must be confirmed.
    fn window(&self) -> usize;

    /// How many messages may be written together. More than half a window comes together when the
    /// database is slower than the source.
    fn most(&self) -> usize;

    /// What it counted.
    fn tally(&self) -> Tally;

    /// Takes nothing new; `next` still hands on what is already here, and then ends.
    fn stop(&mut self);

    /// Passes the last confirmations on and says goodbye.
    fn close(self) -> impl Future<Output = ()> + Send;
}
