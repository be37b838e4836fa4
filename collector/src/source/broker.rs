//! Reads an MQTT broker directly, without a bastion's journal behind it.
//!
//! The broker keeps what is not acknowledged: the session is persistent, messages come at QoS 1,
//! and they are acknowledged after they are stored. The window bounds how many are under way, a
//! budget of memory what a broker that overruns the window can do.
//!
//! What this source cannot promise:
//! - The time is that of receipt here. What waited in the broker while the collector was away
//!   gets the time at which it came out, not the one at which the meter said it.
//! - A message that was stored and not yet acknowledged when the process ended comes again and
//!   gets another time: it is doubled. (When only the connection broke, it keeps its time.)
//! - What the broker drops from its queue is gone, and what a meter publishes at QoS 0 waits only
//!   if the broker raises it to QoS 1 (`upgrade_outgoing_qos true` in Mosquitto).
//!
//! Every connection has an event loop and a client of its own, so an acknowledgement that belongs
//! to an earlier connection finds its channel closed and is dropped: under its id the broker may
//! by then have sent another message.

mod connection;
mod intake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use rumqttc::v5::{AsyncClient, MqttOptions};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::info;

use super::subscription;
use super::{Chunk, Messages, Owned, Source, Tally};
use crate::config;
use crate::fleet::Fleet;
use intake::Intake;

/// A broker forgets a collector that stays away for a week, and what it kept for it.
const SESSION_KEPT: u32 = 7 * 24 * 3600;
/// Messages that are handed on together, when so many are here.
const AT_ONCE: usize = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Bytes. Above what any meter sends; the library's default of 10 KiB would mean a new connection
/// for every larger message, for ever.
const LARGEST_PACKET: u32 = 256 * 1024;
/// Nothing is published, and room for 65,535 packets would be taken at once.
const PUBLISHED_AT_ONCE: u16 = 10;
/// Above the number of messages that the budget of memory admits, so that an acknowledgement
/// always finds room. Room is taken only when it is used.
const REQUESTS: usize = intake::MOST_MESSAGES;
/// How long the last acknowledgements may take to go out.
const GOODBYE: Duration = Duration::from_secs(2);

/// A broker that is being read.
pub struct Broker {
    arrivals: mpsc::UnboundedReceiver<(Owned, Receipt)>,
    intake: Arc<Intake>,
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
    window: usize,
}

/// One message that the broker keeps until it is acknowledged.
pub struct Receipt {
    client: AsyncClient,
    /// 0 at QoS 0, which nobody acknowledges.
    id: u16,
    content: u64,
    /// Its share of the memory, given back when the message is stored.
    _share: OwnedSemaphorePermit,
}

impl Broker {
    /// Starts reading; connects, and connects again, for as long as it lives.
    #[must_use]
    pub fn start(settings: &config::Broker, fleet: Arc<Fleet>) -> Self {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let (stopping, stopped) = watch::channel(false);
        let intake = Arc::new(Intake::new(fleet, sender));
        let reader = connection::Reader {
            broker: format!("{}:{}", settings.host, settings.port),
            options: options(settings),
            requests: REQUESTS + subscription::packets(intake.fleet()),
            intake: Arc::clone(&intake),
            stopped,
        };
        Self {
            arrivals,
            intake,
            stopping,
            task: tokio::spawn(reader.read()),
            window: usize::from(settings.window),
        }
    }
}

fn options(settings: &config::Broker) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.account, &settings.host, settings.port);
    options
        .set_credentials(&settings.account, settings.password.expose())
        .set_clean_start(false)
        .set_session_expiry_interval(Some(SESSION_KEPT))
        .set_receive_maximum(Some(settings.window))
        .set_max_packet_size(Some(LARGEST_PACKET))
        .set_keep_alive(KEEP_ALIVE)
        .set_manual_acks(true)
        .set_outgoing_inflight_upper_limit(PUBLISHED_AT_ONCE);
    options
}

impl Source for Broker {
    type Receipt = Receipt;

    async fn next(&mut self) -> Option<Vec<Chunk<Receipt>>> {
        let mut here = Vec::new();
        // A batch may be larger by so many than half a window.
        let most = AT_ONCE.min(self.window / 2).max(1);
        let count = self.arrivals.recv_many(&mut here, most).await;
        let (messages, receipts) = here.into_iter().unzip();
        let chunk = Chunk {
            messages: Messages::Each(messages),
            receipts,
        };
        (count > 0).then(|| vec![chunk])
    }

    fn confirm(&mut self, receipts: Vec<Receipt>) {
        let now = Instant::now();
        for receipt in receipts {
            if receipt.id != 0 {
                self.intake.confirmed(receipt.id, receipt.content, now);
                acknowledge(&receipt.client, receipt.id);
            }
        }
    }

    fn window(&self) -> usize {
        self.window
    }

    /// A broker with a backlog overruns the window, and few large requests cost the database much less
    /// than many small ones.
    fn most(&self) -> usize {
        2 * self.window
    }

    fn tally(&self) -> Tally {
        self.intake.tally()
    }

    fn stop(&mut self) {
        self.arrivals.close();
    }

    async fn close(mut self) {
        // The goodbye stands behind the acknowledgements in the same queue.
        self.stopping.send_replace(true);
        if let Some(client) = self.intake.client() {
            drop(client.try_disconnect());
        }
        if tokio::time::timeout(GOODBYE, &mut self.task).await.is_err() {
            info!("the broker took no goodbye; it will notice by itself");
            self.task.abort();
        }
    }
}

/// Fails only when the connection is gone, and then the broker sends the message again.
fn acknowledge(client: &AsyncClient, id: u16) {
    let message = Publish {
        qos: QoS::AtLeastOnce,
        pkid: id,
        ..Publish::default()
    };
    drop(client.try_ack(&message));
}
