//! The connection as seen by those who do not poll it: acknowledgements and publishes go through
//! here, and here it is known which acknowledgements the broker has.
//!
//! Connections are numbered. An acknowledgement that belongs to an earlier one is dropped: under
//! its packet id the broker may by then have sent another message.
//!
//! The broker handles what it gets in order. So when it answers a ping, it has all acknowledgements
//! that were written before the ping, and sends none of those messages again.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;

/// Publishes that wait in the client's queue. More would only take memory.
const MOST_QUEUED: usize = 4;
/// How long a page waits for room.
const PATIENCE: Duration = Duration::from_secs(1);

/// Acknowledgements in the client's queue, where each takes much more room than here.
const MOST_HANDED_OVER: usize = 64;
/// A client reads ten messages for each acknowledgement that it writes, and this broker overruns its
/// window when it has a backlog. More than so many must not wait: packet ids end at 65,535, and of
/// more the journal would not know whether they came before.
const OVERRUN: usize = 30_000;
/// Room that is kept for acknowledgements when there are none.
const KEPT: usize = 1024;

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

#[derive(Default)]
struct State {
    number: u32,
    client: Option<AsyncClient>,
    /// In the client's queue.
    queued: VecDeque<Ack>,
    /// Not yet there.
    waiting: VecDeque<Ack>,
    written: Settled,
    pinged: Settled,
    publishing: usize,
}

/// Shared by all who have something to send.
#[derive(Default)]
pub(super) struct Link {
    state: Mutex<State>,
    room: Condvar,
}

impl Link {
    /// Nothing panics while it holds the lock, so a poisoned one holds good data.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection stands; its number.
    pub(super) fn connected(&self, client: AsyncClient) -> u32 {
        let mut state = self.state();
        state.number = state.number.wrapping_add(1);
        state.client = Some(client);
        state.number
    }

    /// It broke. What was queued is gone, and the messages come again.
    pub(super) fn disconnected(&self) {
        let mut state = self.state();
        let number = state.number;
        *state = State {
            number,
            ..State::default()
        };
        self.room.notify_all();
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state().client.is_some()
    }

    /// How many there were since the daemon started.
    pub(super) fn connections(&self) -> u64 {
        u64::from(self.state().number)
    }

    /// Acknowledges messages in this order, except those of earlier connections.
    pub(super) fn acknowledge(&self, acks: impl Iterator<Item = Ack>) {
        let mut state = self.state();
        if state.client.is_none() {
            return;
        }
        let number = state.number;
        let own = acks.filter(|ack| ack.connection == number && ack.packet != 0);
        state.waiting.extend(own);
        hand_over(&mut state);
    }

    /// Whether acknowledgements fall behind so far that it is better to begin another connection.
    pub(super) fn is_overrun(&self) -> bool {
        self.state().waiting.len() > OVERRUN
    }

    /// The oldest acknowledgement was written.
    pub(super) fn ack_written(&self) {
        let mut state = self.state();
        if let Some(ack) = state.queued.pop_front() {
            let written = &mut state.written;
            written.place = written.place.max(ack.place);
            written.number = written.number.max(ack.number);
        }
        hand_over(&mut state);
    }

    pub(super) fn ping_written(&self) {
        let mut state = self.state();
        state.pinged = state.written;
    }

    /// The broker answered a ping: what it has.
    pub(super) fn pong(&self) -> Settled {
        self.state().pinged
    }

    /// A publish was written.
    pub(super) fn publish_written(&self) {
        let mut state = self.state();
        state.publishing = state.publishing.saturating_sub(1);
        self.room.notify_all();
    }

    /// Publishes a short message at QoS 0, if there is a connection.
    pub(super) fn say(&self, topic: &str, payload: Vec<u8>) {
        send(&mut self.state(), topic, payload);
    }

    /// Publishes a page at QoS 0 when there is room for it; blocks until then. False when there was
    /// none in time, or no connection.
    pub(super) fn page(&self, topic: &str, payload: Vec<u8>) -> bool {
        let full = |state: &mut State| state.client.is_some() && state.publishing >= MOST_QUEUED;
        let waited = self.room.wait_timeout_while(self.state(), PATIENCE, full);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.publishing < MOST_QUEUED && send(&mut state, topic, payload)
    }

    /// Says goodbye, behind all that is queued.
    pub(super) fn goodbye(&self) {
        if let Some(client) = &self.state().client {
            drop(client.try_disconnect());
        }
    }
}

/// Gives the client as many as it may have.
fn hand_over(state: &mut State) {
    let Some(client) = &state.client else { return };
    while state.queued.len() < MOST_HANDED_OVER
        && let Some(ack) = state.waiting.pop_front()
    {
        let message = Publish {
            qos: QoS::AtLeastOnce,
            pkid: ack.packet,
            ..Publish::default()
        };
        // Fails when the connection is gone; then the broker sends the message again.
        if client.try_ack(&message).is_ok() {
            state.queued.push_back(ack);
        }
    }
    if state.waiting.is_empty() && state.waiting.capacity() > 4 * KEPT {
        state.waiting.shrink_to(KEPT);
    }
}

fn send(state: &mut State, topic: &str, payload: Vec<u8>) -> bool {
    let Some(client) = &state.client else {
        return false;
    };
    let sent = client
        .try_publish(topic, QoS::AtMostOnce, false, payload)
        .is_ok();
    state.publishing += usize::from(sent);
    sent
}
