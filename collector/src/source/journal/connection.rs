//! The connection to a bastion's broker: polled here and nowhere else, so that a full pipeline
//! never looks like a dead connection.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use site::daemon::{HEAD_TOPIC, Head, page_topic};
use site::record::MOST_PAGES;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::lock;
use crate::config;
use crate::patience::Patience;
use crate::source::Tally;

/// What waits for being taken: all pages that may be under way, and a few heads. What comes beyond is
/// dropped, and asked for again.
pub(super) const EVENTS: usize = 2 * MOST_PAGES as usize;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Bytes. Above a page; the library's default would mean a new connection for each.
const LARGEST_PACKET: u32 = 512 * 1024;
const REQUESTS: usize = 64;
/// A connection that lasted this long ends a row of failures.
const LASTING: Duration = Duration::from_secs(60);
/// Bytes of a head; more is none.
const LARGEST_HEAD: usize = 4096;

/// What happened.
pub(super) enum Told {
    /// It is subscribed, and can be asked through this.
    Connected(AsyncClient),
    /// A page came.
    Page(Bytes),
    /// The bastion says how far its journal goes.
    Head(Head),
}

/// Connects again and again, and hands on what comes.
pub(super) async fn poll(
    settings: config::Broker,
    tally: Arc<Mutex<Tally>>,
    events: mpsc::Sender<Told>,
) {
    let broker = format!("{}:{}", settings.host, settings.port);
    let mut patience = Patience::new();
    loop {
        let begin = Instant::now();
        let problem = connection(&settings, &tally, &events).await;
        lock(&tally).connected = false;
        if events.is_closed() {
            return;
        }
        if begin.elapsed() > LASTING {
            patience = Patience::new();
        }
        let wait = patience.next_wait();
        warn!(broker, %problem, ?wait, "no connection to the bastion");
        tokio::time::sleep(wait).await;
    }
}

/// Until it breaks; why.
async fn connection(
    settings: &config::Broker,
    tally: &Mutex<Tally>,
    told: &mpsc::Sender<Told>,
) -> rumqttc::v5::ConnectionError {
    let mut options = MqttOptions::new(&settings.account, &settings.host, settings.port);
    options
        .set_credentials(&settings.account, settings.password.expose())
        // Nothing waits in the broker.
        .set_clean_start(true)
        .set_max_packet_size(Some(LARGEST_PACKET))
        .set_keep_alive(KEEP_ALIVE)
        .set_outgoing_inflight_upper_limit(10);
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    let page = page_topic(&settings.account);
    loop {
        match events.poll().await {
            Err(problem) => return problem,
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let filters =
                    [page.as_str(), HEAD_TOPIC].map(|topic| Filter::new(topic, QoS::AtMostOnce));
                // The queue of a new connection has room.
                drop(client.try_subscribe_many(filters));
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                info!(broker = settings.host, "connected to the bastion");
                lock(tally).connected = true;
                drop(told.send(Told::Connected(client.clone())).await);
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let event = if message.topic == page.as_bytes() {
                    Some(Told::Page(message.payload))
                } else {
                    head(&message.payload)
                };
                if let Some(event) = event {
                    drop(told.try_send(event));
                }
            }
            Ok(_) => {}
        }
    }
}

fn head(payload: &[u8]) -> Option<Told> {
    let text = payload.get(..payload.len().min(LARGEST_HEAD))?;
    serde_json::from_slice(text).ok().map(Told::Head)
}
