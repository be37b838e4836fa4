//! The ticker: a process of its own that publishes the time since boot every second, so that what
//! waits in the broker while the daemon is away can be dated. It does nothing else, so that there is
//! hardly a reason for it to stop.
//!
//! A tick is the boot's id (16 bytes) and ns since boot (8, little-endian). It goes out at QoS 0,
//! when it is made or not at all: a tick that comes late by the ticker's doing would be a lie.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use site::daemon::{TICK_TOPIC, TICKER_ACCOUNT};
use site::record::Id;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::clock::Clock;

const EVERY: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(500);
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The time of a tick of this boot.
pub(super) fn time_of(payload: &[u8], boot: &Id) -> Option<u64> {
    let (id, time) = payload.split_first_chunk::<16>()?;
    (*id == boot.0).then_some(())?;
    Some(u64::from_le_bytes(time.try_into().ok()?))
}

fn tick(clock: &dyn Clock, boot: &Id) -> Vec<u8> {
    [boot.0.as_slice(), &clock.boot_ns().to_le_bytes()].concat()
}

/// Ticks until `shutdown`.
pub async fn run(
    port: u16,
    password: &str,
    clock: Arc<dyn Clock>,
    boot: Id,
    shutdown: impl Future<Output = ()>,
) {
    let mut options = MqttOptions::new(TICKER_ACCOUNT, "127.0.0.1", port);
    options
        .set_credentials(TICKER_ACCOUNT, password)
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_start(true)
        .set_outgoing_inflight_upper_limit(1);
    let ticking = async {
        loop {
            let (client, mut events) = AsyncClient::new(options.clone(), 2);
            let mut ticker = None;
            let problem = loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        info!("ticking");
                        ticker.get_or_insert_with(|| Ticker::start(&client, &clock, boot));
                    }
                    Ok(_) => {}
                    Err(problem) => break problem,
                }
            };
            drop(ticker);
            warn!(%problem, "no connection to the broker");
            sleep(AGAIN).await;
        }
    };
    tokio::select! {
        () = ticking => {}
        () = shutdown => {}
    }
}

/// Publishes for as long as it lives; polling is done by somebody else.
struct Ticker(tokio::task::JoinHandle<()>);

impl Ticker {
    fn start(client: &AsyncClient, clock: &Arc<dyn Clock>, boot: Id) -> Ticker {
        let (client, clock) = (client.clone(), Arc::clone(clock));
        Ticker(tokio::spawn(async move {
            let mut seconds = interval(EVERY);
            seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                seconds.tick().await;
                let tick = tick(clock.as_ref(), &boot);
                // When there is no room, ticks are waiting already.
                drop(client.try_publish(TICK_TOPIC, QoS::AtMostOnce, false, tick));
            }
        }))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}
