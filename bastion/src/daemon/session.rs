//! The daemon's session with the broker: one connection after the other, never an end. It survives
//! the daemon: what comes in the meantime waits in the broker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, RetainForwardRule, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use site::daemon::{DAEMON_ACCOUNT, FETCH_FILTER, Listened, TICK_TOPIC};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::counters::Counters;
use super::intake::Intake;
use super::link::Link;

const SESSION_KEPT: u32 = 14 * 24 * 3600;
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The broker is on this machine, so trying costs nothing; and what meters say before we are back with
/// a broker that was replaced is lost.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Bytes. The broker takes none that is larger.
const LARGEST_PACKET: u32 = 512 * 1024;
/// Above what `link` hands over at once, and all subscriptions.
const REQUESTS: usize = 4096;
/// Bytes of filters in one packet.
const PACKET: usize = 4096;
/// Refusals come from rules, which may just be on their way.
const ASK_AGAIN: Duration = Duration::from_secs(30);

pub(super) struct Session {
    pub(super) port: u16,
    pub(super) password: String,
    pub(super) window: u16,
    pub(super) meters: Arc<Vec<Listened>>,
    pub(super) intake: Arc<Mutex<Intake>>,
    pub(super) link: Arc<Link>,
    /// Highest number of which the broker has the acknowledgement.
    pub(super) settled: Arc<AtomicU64>,
    /// Told once all is subscribed.
    pub(super) ready: Arc<Notify>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) counters: Arc<Counters>,
}

impl Session {
    /// Until told to stop and the goodbye went out.
    pub(super) async fn run(self) {
        let mut pause = SHORTEST_PAUSE;
        let mut had_session = false;
        while !*self.stopping.borrow() {
            let ended = self.connection(&mut had_session, &mut pause).await;
            self.link.disconnected();
            match ended {
                Ok(()) => return,
                Err(problem) => warn!(%problem, ?pause, "no connection to the broker"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn options(&self) -> MqttOptions {
        let mut options = MqttOptions::new(DAEMON_ACCOUNT, "127.0.0.1", self.port);
        options
            .set_credentials(DAEMON_ACCOUNT, &self.password)
            .set_clean_start(false)
            .set_session_expiry_interval(Some(SESSION_KEPT))
            .set_receive_maximum(Some(self.window))
            .set_max_packet_size(Some(LARGEST_PACKET))
            .set_keep_alive(KEEP_ALIVE)
            .set_manual_acks(true)
            .set_outgoing_inflight_upper_limit(10);
        options
    }

    async fn connection(&self, had_session: &mut bool, pause: &mut Duration) -> anyhow::Result<()> {
        // A client of its own for each connection: nothing queued for one goes out on another.
        let (client, mut events) = AsyncClient::new(self.options(), REQUESTS);
        let mut connection = 0;
        let mut subscriptions = VecDeque::new();
        loop {
            match events.poll().await? {
                Event::Incoming(Packet::ConnAck(answer)) => {
                    let resumed = answer.session_present;
                    info!(resumed, "connected to the broker");
                    if *had_session && !resumed {
                        warn!("the broker lost the session, and what it kept for the journal");
                        self.counters.sessions_lost();
                    }
                    *had_session = true;
                    *pause = SHORTEST_PAUSE;
                    connection = self.link.connected(client.clone());
                    self.intake.lock().await.connected(resumed);
                    subscriptions = self.subscribe(&client);
                }
                Event::Incoming(Packet::Publish(message)) => {
                    self.intake.lock().await.take(connection, &message).await;
                    if self.link.is_overrun() {
                        bail!("more came than can be acknowledged; it comes again");
                    }
                }
                Event::Incoming(Packet::SubAck(answer)) => {
                    let asked = subscriptions.pop_front().unwrap_or_default();
                    self.granted(&client, asked, &answer.return_codes);
                    if subscriptions.is_empty() {
                        self.ready.notify_one();
                    }
                }
                Event::Outgoing(Outgoing::PubAck(_)) => self.link.ack_written(),
                Event::Outgoing(Outgoing::Publish(_)) => self.link.publish_written(),
                Event::Outgoing(Outgoing::PingReq) => self.link.ping_written(),
                Event::Incoming(Packet::PingResp(_)) => {
                    let settled = self.link.pong();
                    self.settled.fetch_max(settled.number, Ordering::Relaxed);
                    self.intake.lock().await.settled(settled);
                }
                Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
                _ => {}
            }
        }
    }

    /// Asks for everything, on each connection: meters may have been added. Packets are answered in
    /// their order.
    fn subscribe(&self, client: &AsyncClient) -> VecDeque<Vec<Filter>> {
        let meters = self
            .meters
            .iter()
            .map(|meter| filter(format!("{}/#", meter.prefix)));
        let own = [
            filter(TICK_TOPIC.to_owned()),
            Filter {
                // Requests are asked again; they need not wait.
                qos: QoS::AtMostOnce,
                ..filter(FETCH_FILTER.to_owned())
            },
        ];
        let mut packets: VecDeque<Vec<Filter>> = VecDeque::new();
        let mut size = PACKET;
        for filter in meters.chain(own) {
            size += filter.path.len() + 3;
            match packets.back_mut() {
                Some(packet) if size <= PACKET => packet.push(filter),
                _ => {
                    size = filter.path.len() + 3;
                    packets.push_back(vec![filter]);
                }
            }
        }
        for packet in &packets {
            // The queue of a new connection has room; if it is gone, so is the connection.
            drop(client.try_subscribe_many(packet.clone()));
        }
        packets
    }

    fn granted(&self, client: &AsyncClient, asked: Vec<Filter>, codes: &[SubscribeReasonCode]) {
        let refused: Vec<Filter> = asked
            .into_iter()
            .zip(codes)
            .filter(|(_, code)| !matches!(code, SubscribeReasonCode::Success(_)))
            .map(|(filter, _)| filter)
            .collect();
        if let Some(first) = refused.first() {
            error!(
                filter = first.path,
                count = refused.len(),
                "the broker refuses these topics: look at the rules of the daemon's account"
            );
            let client = client.clone();
            tokio::spawn(async move {
                sleep(ASK_AGAIN).await;
                // Fails when the connection is gone; the next one asks for everything.
                drop(client.try_subscribe_many(refused));
            });
        }
    }
}

/// Retained messages are no arrivals, and own commands no messages of a meter.
fn filter(path: String) -> Filter {
    Filter {
        path,
        qos: QoS::AtLeastOnce,
        nolocal: true,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::Never,
    }
}
