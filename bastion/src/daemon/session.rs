//! The daemon's session with the broker: one connection after the other, never an end. It survives
//! the daemon: what comes in the meantime waits in the broker.
//!
//! A connection reads in chunks and hands on all messages of a chunk together. It reads nothing
//! while the memory for what is not yet on disk is used up, and writes all the time: otherwise the
//! broker would wait for acknowledgements, and end the connection for want of pings.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Login, Packet,
};
use site::daemon::{DAEMON_ACCOUNT, Listened};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::budget::Budget;
use super::counters::Counters;
use super::intake::Intake;
use super::link::{Link, Outgoing};
use super::packets::{LARGEST_PACKET, Packets};
use super::subscriptions::Subscriptions;

const SESSION_KEPT: u32 = 14 * 24 * 3600;
/// Seconds. The link pings more often.
const KEEP_ALIVE: u16 = 10;
/// How long the broker may take to answer at the beginning, and be silent later: pings are answered.
const PATIENCE: Duration = Duration::from_secs(15);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// The broker is on this machine, so trying costs nothing; and what meters say before we are back with
/// a broker that was replaced is lost.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Session {
    pub(super) port: u16,
    pub(super) password: String,
    pub(super) window: u16,
    pub(super) meters: Arc<Vec<Listened>>,
    pub(super) intake: Arc<Mutex<Intake>>,
    pub(super) budget: Arc<Budget>,
    pub(super) link: Arc<Link>,
    /// Highest number of which the broker has the acknowledgement.
    pub(super) settled: Arc<AtomicU64>,
    /// Told once all is subscribed.
    pub(super) ready: Arc<Notify>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) counters: Arc<Counters>,
}

/// What comes in on one connection.
struct Incoming {
    stream: OwnedReadHalf,
    packets: Packets,
}

impl Session {
    /// Until told to stop and the goodbye went out.
    pub(super) async fn run(self) {
        let mut pause = SHORTEST_PAUSE;
        let mut had_session = false;
        while !*self.stopping.borrow() {
            let ended = self.connection(&mut had_session, &mut pause).await;
            self.link.disconnected();
            if *self.stopping.borrow() {
                return;
            }
            let Err(problem) = ended;
            warn!(
                problem = format!("{problem:#}"),
                ?pause,
                "no connection to the broker"
            );
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connection(&self, had_session: &mut bool, pause: &mut Duration) -> Result<Infallible> {
        let opened = timeout(PATIENCE, self.open()).await;
        let (incoming, outgoing, answer) = opened.context("the broker does not answer")??;
        let resumed = answer.session_present;
        info!(resumed, "connected to the broker");
        if *had_session && !resumed {
            warn!("the broker lost the session, and what it kept for the journal");
            self.counters.sessions_lost();
        }
        *had_session = true;
        *pause = SHORTEST_PAUSE;
        let largest = answer.properties.and_then(|about| about.max_packet_size);
        let connection = self.link.connected(largest.unwrap_or(u32::MAX));
        self.intake().connected(resumed);
        tokio::select! {
            ended = self.receive(connection, incoming) => ended,
            ended = self.send(outgoing) => ended,
        }
    }

    /// Connects and logs in.
    async fn open(&self) -> Result<(Incoming, OwnedWriteHalf, ConnAck)> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let (stream, mut outgoing) = stream.into_split();
        let mut incoming = Incoming {
            stream,
            packets: Packets::default(),
        };
        let mut hello = BytesMut::new();
        let (connect, login) = self.hello();
        connect.write(&None, &Some(login), &mut hello)?;
        outgoing.write_all(&hello).await?;
        let answer = loop {
            match incoming.packets.next()? {
                Some(Packet::ConnAck(answer)) => break answer,
                Some(_) => bail!("the broker answers with something else"),
                None => incoming.more().await?,
            }
        };
        ensure!(
            answer.code == ConnectReturnCode::Success,
            "the broker refuses the daemon: {:?}",
            answer.code
        );
        Ok((incoming, outgoing, answer))
    }

    fn hello(&self) -> (Connect, Login) {
        let connect = Connect {
            keep_alive: KEEP_ALIVE,
            client_id: DAEMON_ACCOUNT.to_owned(),
            clean_start: false,
            properties: Some(ConnectProperties {
                session_expiry_interval: Some(SESSION_KEPT),
                receive_maximum: Some(self.window),
                max_packet_size: Some(LARGEST_PACKET),
                ..ConnectProperties::new()
            }),
        };
        (connect, Login::new(DAEMON_ACCOUNT, &self.password))
    }

    async fn receive(&self, connection: u32, mut incoming: Incoming) -> Result<Infallible> {
        let mut subscriptions = Subscriptions::ask(&self.link, &self.meters);
        loop {
            self.take(connection, &mut incoming.packets, &mut subscriptions)?;
            subscriptions.look(&self.link);
            if self.budget.is_used_up() {
                // What is held may be what takes the room.
                self.intake().release_all();
                self.budget.room().await;
            }
            let more = timeout(PATIENCE, incoming.more()).await;
            more.context("the broker is silent")??;
            // There may be no end of what comes, and acknowledgements must go out in between.
            tokio::task::yield_now().await;
        }
    }

    /// Takes all packets that are here.
    fn take(
        &self,
        connection: u32,
        packets: &mut Packets,
        subscriptions: &mut Subscriptions,
    ) -> Result<()> {
        let mut intake = self.intake();
        while let Some(packet) = packets.next()? {
            match packet {
                Packet::Publish(message) => intake.take(connection, &message),
                Packet::PingResp(_) => {
                    if let Some(settled) = self.link.pong() {
                        self.settled.fetch_max(settled.number, Ordering::Relaxed);
                        intake.settled(settled);
                    }
                }
                Packet::SubAck(answer) => {
                    if subscriptions.answered(&answer) {
                        self.link.subscribed();
                        self.ready.notify_one();
                    }
                }
                _ => bail!("the broker says hello again"),
            }
        }
        intake.hand_over();
        Ok(())
    }

    /// Writes what there is, until the goodbye went out and the broker closed.
    async fn send(&self, mut stream: OwnedWriteHalf) -> Result<Infallible> {
        let mut written = Outgoing::default();
        loop {
            let outgoing = self.link.outgoing(written).await;
            stream.write_all(&outgoing.bytes).await?;
            if outgoing.last {
                // The other half goes on reading until the broker closes: an end with something
                // unread would throw away what the broker did not read yet.
                stream.shutdown().await?;
            }
            written = outgoing;
        }
    }

    /// Nothing panics while it holds the lock, so a poisoned one holds good data.
    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Incoming {
    /// Reads what is there; waits when there is nothing.
    async fn more(&mut self) -> Result<()> {
        let read = self.stream.read_buf(self.packets.room()).await?;
        ensure!(read > 0, "the broker closed the connection");
        Ok(())
    }
}
