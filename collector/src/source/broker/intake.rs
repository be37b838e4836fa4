//! What connections have in common: times, the budget of memory, what is counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::{Semaphore, mpsc};
use tracing::warn;

use super::{Receipt, acknowledge};
use crate::fleet::Fleet;
use crate::source::redelivery::{self, Redelivery};
use crate::source::{Owned, Tally};
use site::burst::Bursts;

/// Bytes of messages that are here and not yet stored. When they are used up, polling stops, and
/// the broker keeps the rest.
const BUDGET: usize = 32 * 1024 * 1024;
/// What a message takes beside topic and payload.
const OVERHEAD: usize = 256;
/// As many as the budget admits if each were empty.
pub(super) const MOST_MESSAGES: usize = BUDGET / OVERHEAD + 1;

pub(super) struct Intake {
    fleet: Arc<Fleet>,
    arrivals: mpsc::UnboundedSender<(Owned, Receipt)>,
    budget: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the connection that stands.
    client: Option<AsyncClient>,
    /// Whether this process had a session before.
    had_session: bool,
    bursts: Bursts,
    redelivery: Redelivery,
    tally: Tally,
}

impl Intake {
    pub(super) fn new(
        fleet: Arc<Fleet>,
        arrivals: mpsc::UnboundedSender<(Owned, Receipt)>,
    ) -> Self {
        Self {
            fleet,
            arrivals,
            budget: Arc::new(Semaphore::new(BUDGET)),
            state: Mutex::default(),
        }
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn client(&self) -> Option<AsyncClient> {
        self.state().client.clone()
    }

    pub(super) fn tally(&self) -> Tally {
        self.state().tally
    }

    pub(super) fn connected(&self, client: AsyncClient, resumed: bool) {
        let mut state = self.state();
        state.client = Some(client);
        state.tally.connected = true;
        if !resumed {
            state.redelivery.forget();
            if state.had_session {
                state.tally.sessions_lost += 1;
                warn!("the broker lost the session: what it kept for the collector is gone");
            }
        }
        state.had_session = true;
    }

    pub(super) fn disconnected(&self) {
        let mut state = self.state();
        state.client = None;
        state.tally.connected = false;
    }

    pub(super) fn confirmed(&self, id: u16, content: u64, now: Instant) {
        self.state().redelivery.confirmed(id, content, now);
    }

    /// Gives a message its time and hands it on, when there is room for it.
    pub(super) async fn take(&self, client: &AsyncClient, message: &Publish) {
        let id = message.pkid;
        if message.retain {
            self.state().tally.retained += 1;
            if id != 0 {
                acknowledge(client, id);
            }
            return;
        }
        let topic = String::from_utf8_lossy(&message.topic).into_owned();
        let content = redelivery::content(&message.topic, &message.payload);
        let time_ns = self.time(message, &topic, content);
        let size = topic.len() + message.payload.len() + OVERHEAD;
        let share = u32::try_from(size.min(BUDGET)).unwrap_or(u32::MAX);
        let Ok(share) = Arc::clone(&self.budget).acquire_many_owned(share).await else {
            return;
        };
        let owned = Owned::new(&topic, &message.payload, time_ns);
        let receipt = Receipt {
            client: client.clone(),
            id,
            content,
            _share: share,
        };
        // Fails when the collector stops; the message is not acknowledged and comes again.
        drop(self.arrivals.send((owned, receipt)));
    }

    fn time(&self, message: &Publish, topic: &str, content: u64) -> i64 {
        let mut state = self.state();
        if message.dup {
            state.tally.redelivered += 1;
            let known = state.redelivery.time(message.pkid, content, Instant::now());
            if let Some(time_ns) = known {
                state.redelivery.arrived(message.pkid, content, time_ns);
                return time_ns;
            }
        }
        let now = now_ns();
        let time_ns = match self.fleet.find(topic) {
            Some((meter, _)) => state.bursts.time(meter, topic, now),
            None => now,
        };
        if message.pkid != 0 {
            state.redelivery.arrived(message.pkid, content, time_ns);
        }
        time_ns
    }

    /// Nothing panics while it holds the lock, so a poisoned one holds good data.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wall time in ns since 1970; 0 before it.
fn now_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
