//! What goes to the broker: acknowledgements, pings, pages and short messages, collected here by
//! those who have them, and written by `session` as they stand, many at once.
//!
//! Connections are numbered. An acknowledgement that belongs to an earlier one is dropped: under
//! its packet id the broker may by then have sent another message.
//!
//! The broker handles what it gets in order. So when it answers a ping, it has all acknowledgements
//! that stand before the ping, and sends none of those messages again. A ping follows whenever
//! something was acknowledged and none is under way.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Disconnect, DisconnectReasonCode, Packet};
use rumqttc::v5::mqttbytes::v5::{PingReq, PubAck, Publish, Subscribe};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Pages that wait. More would only take memory.
const MOST_PAGES: usize = 4;
/// How long a page waits for room.
const PATIENCE: Duration = Duration::from_secs(1);
/// A ping follows at least so often: the broker's answer shows that it is there.
const IDLE: Duration = Duration::from_secs(5);
/// Bytes. When a broker takes nothing for so long that more wait, short messages are dropped.
const MOST_WAITING: usize = 2 * 1024 * 1024;
/// Room that is kept when there is nothing to say.
const KEPT: usize = 64 * 1024;

/// What is owed to the broker for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    /// On which connection it came.
    pub(super) connection: u32,
    /// 0 for a message that nobody acknowledges.
    pub(super) packet: u16,
    /// Whether it has a record of its own.
    pub(super) recorded: bool,
    /// Its place among those that may be sent again, see `journal::Resent`; 0 when it has none.
    pub(super) place: u64,
    /// Its number in the journal; 0 when it has none.
    pub(super) number: u64,
}

/// All up to here is settled: place and number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) place: u64,
    pub(super) number: u64,
}

/// What is to be written next.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) bytes: BytesMut,
    /// Pages in it.
    pages: usize,
    /// Whether nothing comes behind it.
    pub(super) last: bool,
}

#[derive(Default)]
struct State {
    number: u32,
    connected: bool,
    /// The broker has answered all that was subscribed to on this connection.
    subscribed: bool,
    /// Bytes of the largest packet that the broker takes.
    largest: u32,
    next: Outgoing,
    /// Pages that are being written or stand in `next`.
    pages: usize,
    /// Up to where it is acknowledged, and whether since the last ping.
    acknowledged: Settled,
    unconfirmed: bool,
    /// Of each ping that was not answered: what it confirms.
    pings: VecDeque<Settled>,
    pinged_at: Option<Instant>,
}

/// Shared by all who have something to send.
#[derive(Default)]
pub(super) struct Link {
    state: Mutex<State>,
    room: Condvar,
    filled: Notify,
}

impl Link {
    /// Nothing panics while it holds the lock, so a poisoned one holds good data.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection stands; its number.
    pub(super) fn connected(&self, largest: u32) -> u32 {
        let mut state = self.state();
        *state = State {
            number: state.number.wrapping_add(1),
            connected: true,
            largest,
            pinged_at: Some(Instant::now()),
            ..State::default()
        };
        state.number
    }

    /// It broke. What was not written is gone, and the messages come again.
    pub(super) fn disconnected(&self) {
        let mut state = self.state();
        *state = State {
            number: state.number,
            ..State::default()
        };
        self.room.notify_all();
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state().connected
    }

    /// From now on this connection hears everything.
    pub(super) fn subscribed(&self) {
        let mut state = self.state();
        state.subscribed = state.connected;
    }

    /// Whether a connection stands that hears everything. A broker to which hundreds come back at
    /// once takes seconds from the one to the other.
    pub(super) fn is_subscribed(&self) -> bool {
        self.state().subscribed
    }

    /// How many there were since the daemon started.
    pub(super) fn connections(&self) -> u64 {
        u64::from(self.state().number)
    }

    /// Acknowledges messages in this order, except those of earlier connections.
    pub(super) fn acknowledge(&self, acks: impl Iterator<Item = Ack>) {
        let mut state = self.state();
        if !state.connected {
            return;
        }
        let number = state.number;
        for ack in acks.filter(|ack| ack.connection == number && ack.packet != 0) {
            if state.write(&Packet::PubAck(PubAck::new(ack.packet, None))) {
                let acknowledged = &mut state.acknowledged;
                acknowledged.place = acknowledged.place.max(ack.place);
                acknowledged.number = acknowledged.number.max(ack.number);
                state.unconfirmed = true;
            }
        }
        self.filled.notify_one();
    }

    /// The broker answered a ping: what it has.
    pub(super) fn pong(&self) -> Option<Settled> {
        let mut state = self.state();
        if state.unconfirmed {
            // Time for the next one.
            self.filled.notify_one();
        }
        state.pings.pop_front()
    }

    pub(super) fn subscribe(&self, subscribe: Subscribe) {
        self.state().write(&Packet::Subscribe(subscribe));
        self.filled.notify_one();
    }

    /// Publishes a short message at QoS 0, if there is a connection.
    pub(super) fn say(&self, topic: &str, payload: Vec<u8>) {
        let mut state = self.state();
        if state.next.bytes.len() < MOST_WAITING {
            state.publish(topic, payload);
        }
        self.filled.notify_one();
    }

    /// Publishes a page at QoS 0 when there is room for it; blocks until then. False when there was
    /// none in time, or no connection.
    pub(super) fn page(&self, topic: &str, payload: Vec<u8>) -> bool {
        let full = |state: &mut State| state.connected && state.pages >= MOST_PAGES;
        let waited = self.room.wait_timeout_while(self.state(), PATIENCE, full);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let sent = state.pages < MOST_PAGES && state.publish(topic, payload);
        state.pages += usize::from(sent);
        state.next.pages += usize::from(sent);
        self.filled.notify_one();
        sent
    }

    /// Says goodbye, behind all that is waiting.
    pub(super) fn goodbye(&self) {
        let mut state = self.state();
        state.write(&Packet::Disconnect(Disconnect::new(
            DisconnectReasonCode::NormalDisconnection,
        )));
        state.next.last = true;
        self.filled.notify_one();
    }

    /// What is to be written next; waits until there is something. `written` is what was before.
    pub(super) async fn outgoing(&self, written: Outgoing) -> Outgoing {
        let mut room = self.written(written);
        loop {
            if let Some(next) = self.state().take(&mut room) {
                return next;
            }
            // When nothing comes, a ping is due.
            drop(timeout(IDLE, self.filled.notified()).await);
        }
    }

    /// Gives back the room of what was written.
    fn written(&self, written: Outgoing) -> BytesMut {
        let mut state = self.state();
        state.pages = state.pages.saturating_sub(written.pages);
        self.room.notify_all();
        let mut room = written.bytes;
        room.clear();
        if room.capacity() > KEPT {
            room = BytesMut::new();
        }
        room
    }
}

impl State {
    /// Whether it was written: there is a connection, and the broker takes a packet so large.
    fn write(&mut self, packet: &Packet) -> bool {
        self.connected
            && packet
                .write(&mut self.next.bytes, Some(self.largest))
                .is_ok()
    }

    fn publish(&mut self, topic: &str, payload: Vec<u8>) -> bool {
        let message = Publish::new(topic, QoS::AtMostOnce, payload, None);
        self.write(&Packet::Publish(message))
    }

    fn ping(&mut self) {
        if self.write(&Packet::PingReq(PingReq)) {
            self.pings.push_back(self.acknowledged);
            self.pinged_at = Some(Instant::now());
            self.unconfirmed = false;
        }
    }

    fn take(&mut self, room: &mut BytesMut) -> Option<Outgoing> {
        let due = self.pinged_at.is_some_and(|at| at.elapsed() >= IDLE);
        if due || (self.unconfirmed && self.pings.is_empty()) {
            self.ping();
        }
        if self.next.bytes.is_empty() {
            return None;
        }
        let next = Outgoing {
            bytes: std::mem::take(room),
            ..Outgoing::default()
        };
        Some(std::mem::replace(&mut self.next, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(connection: u32, packet: u16) -> Ack {
        Ack {
            connection,
            packet,
            recorded: true,
            place: u64::from(packet),
            number: u64::from(packet) * 10,
        }
    }

    fn take(link: &Link) -> Option<Vec<u8>> {
        let taken = link.state().take(&mut BytesMut::new());
        taken.map(|next| {
            let bytes = next.bytes.to_vec();
            link.written(next);
            bytes
        })
    }

    #[test]
    fn acknowledgements_go_out_together_and_a_ping_behind_them() {
        let link = Link::default();
        let number = link.connected(1000);
        link.acknowledge([ack(number, 1), ack(number, 2), ack(number, 0)].into_iter());
        assert_eq!(
            take(&link).unwrap(),
            [0x40, 2, 0, 1, 0x40, 2, 0, 2, 0xc0, 0]
        );
        // One ping is enough until it is answered.
        link.acknowledge([ack(number, 3)].into_iter());
        assert_eq!(take(&link).unwrap(), [0x40, 2, 0, 3]);
        let settled = |place, number| Some(Settled { place, number });
        assert_eq!(link.pong(), settled(2, 20));
        assert_eq!(take(&link).unwrap(), [0xc0, 0]);
        assert_eq!((link.pong(), link.pong()), (settled(3, 30), None));
        assert_eq!(take(&link), None);
    }

    #[test]
    fn what_belongs_to_an_earlier_connection_is_dropped() {
        let link = Link::default();
        let earlier = link.connected(1000);
        link.acknowledge([ack(earlier, 1)].into_iter());
        link.disconnected();
        link.acknowledge([ack(earlier, 2)].into_iter());
        let now = link.connected(1000);
        assert_eq!(take(&link), None);
        link.acknowledge([ack(earlier, 3), ack(now, 4)].into_iter());
        assert_eq!(take(&link).unwrap(), [0x40, 2, 0, 4, 0xc0, 0]);
    }

    #[test]
    fn what_was_subscribed_to_counts_for_its_own_connection() {
        let link = Link::default();
        link.connected(1000);
        assert!(link.is_connected() && !link.is_subscribed());
        link.subscribed();
        assert!(link.is_subscribed());
        link.disconnected();
        link.subscribed();
        assert!(!link.is_subscribed());
        link.connected(1000);
        assert!(!link.is_subscribed());
    }

    /// Or a broker to which much is said, and which has nothing to say, would pass for silent.
    #[test]
    fn a_ping_follows_whatever_else_is_said() {
        let link = Link::default();
        link.connected(1000);
        link.say("a", vec![1]);
        assert!(!take(&link).unwrap().ends_with(&[0xc0, 0]));
        link.state().pinged_at = Instant::now().checked_sub(IDLE);
        link.say("a", vec![1]);
        assert!(take(&link).unwrap().ends_with(&[0xc0, 0]));
    }

    #[test]
    fn pages_wait_for_room_and_acknowledgements_do_not() {
        let link = Link::default();
        assert!(!link.page("a", vec![1]), "no connection");
        let number = link.connected(1000);
        assert!(
            !link.page("a", vec![1; 2000]),
            "larger than the broker takes"
        );
        for _ in 0..MOST_PAGES {
            assert!(link.page("a", vec![1]));
        }
        assert!(!link.page("a", vec![1]), "no room");
        link.acknowledge([ack(number, 1)].into_iter());
        assert!(take(&link).unwrap().ends_with(&[0x40, 2, 0, 1, 0xc0, 0]));
        assert!(link.page("a", vec![1]));
    }
}
