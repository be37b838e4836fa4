//! The ticker: a process of its own that publishes the time since boot every second, so that what
//! waits in the broker while the daemon is away can be dated. It does nothing else, so that there is
//! hardly a reason for it to stop.
//!
//! A tick is the boot's id (16 bytes), ns since boot (8, little-endian), and the same of the tick
//! before it on the same connection (8; 0 for the first): what the broker has between the two came
//! between them, whoever heard the earlier one. It goes out at QoS 0, when it is made or not at all:
//! a tick that comes late by the ticker's doing would be a lie.

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
use crate::clock::ticks::Tick;

const EVERY: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(500);
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A tick of this boot. Ticks of earlier versions, which may still wait in the broker, do not name
/// the one before.
pub(super) fn read(payload: &[u8], boot: &Id) -> Option<Tick> {
    let (id, rest) = payload.split_first_chunk::<16>()?;
    (*id == boot.0).then_some(())?;
    let (at, before) = rest.split_first_chunk::<8>()?;
    let before = match before {
        [] => 0,
        before => u64::from_le_bytes(before.try_into().ok()?),
    };
    Some(Tick {
        at_ns: u64::from_le_bytes(*at),
        before_ns: before,
    })
}

fn payload(boot: &Id, tick: Tick) -> Vec<u8> {
    let times = [tick.at_ns.to_le_bytes(), tick.before_ns.to_le_bytes()];
    [boot.0.as_slice(), times.as_flattened()].concat()
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
            let mut before_ns = 0;
            loop {
                seconds.tick().await;
                let at_ns = clock.boot_ns();
                let tick = payload(&boot, Tick { at_ns, before_ns });
                // When there is no room, ticks are waiting already.
                let goes = client.try_publish(TICK_TOPIC, QoS::AtMostOnce, false, tick);
                if goes.is_ok() {
                    before_ns = at_ns;
                }
            }
        }))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_read_as_it_was_written_and_so_is_one_of_an_earlier_version() {
        let (boot, other) = (Id([1; 16]), Id([2; 16]));
        let tick = Tick {
            at_ns: 7,
            before_ns: 5,
        };
        let written = payload(&boot, tick);
        assert_eq!(read(&written, &boot), Some(tick));
        assert_eq!(read(&written, &other), None);
        let earlier = Tick {
            before_ns: 0,
            ..tick
        };
        assert_eq!(read(&written[..24], &boot), Some(earlier));
        for length in (0..24).chain(25..32) {
            assert_eq!(read(&written[..length], &boot), None, "{length}");
        }
        assert_eq!(read(&[&written[..], &[0]].concat(), &boot), None);
    }
}
