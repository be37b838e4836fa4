//! What goes over one connection: reports out, commands in, and the ledger in step with both.
//!
//! Each reading is in the ledger before its payload exists. Gen1 reports leave in one write;
//! Gen2 reports queue behind one unacknowledged message, and a full queue drops them.
//! `confirmed_ns` follows what has surely arrived: the broker handles packets in order, so an
//! answer to one of them vouches for all before it.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Connect, LastWill, Packet, PubAck, Publish, Subscribe, SubscribeFilter,
};
use tokio::time::{Instant, timeout};

use super::link::{Link, Lost};
use crate::device::{self, Device, Report};
use crate::fleet::Meter;
use crate::ledger::{self, Entry, LedgerError, Line};
use crate::run::{Count, Shared};
use crate::wire;

/// What the meters ask for.
const KEEP_ALIVE_S: u16 = 60;
/// The vendor's queue is small; its real depth is not documented.
const QUEUE: usize = 20;
/// For the queue to drain when the program stops.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Conversation<'a> {
    device: &'a mut Device,
    shared: &'a Shared,
    link: Link,
    queue: VecDeque<Report>,
    /// The message that waits for PUBACK, and when it was written.
    in_flight: Option<(u16, u64)>,
    subscribe: Option<(u16, u64)>,
    ping: Option<(Instant, u64)>,
    last_packet_id: u16,
    written_ns: u64,
    confirmed_ns: u64,
}

impl<'a> Conversation<'a> {
    /// Connects with the meter's account and last will.
    pub(super) async fn open(
        server: &str,
        meter: &Meter,
        device: &'a mut Device,
        shared: &'a Shared,
    ) -> Result<Self, Lost> {
        let mut connect = Connect::new(&meter.id);
        connect.keep_alive = KEEP_ALIVE_S;
        connect.clean_session = true;
        let retain = !meter.model.is_gen1();
        connect.last_will = Some(LastWill::new(
            format!("{}/online", meter.prefix),
            "false",
            QoS::AtMostOnce,
            retain,
        ));
        connect.set_login(&meter.id, meter.password.reveal());
        let link = Link::open(server, connect).await?;
        let now = ledger::now_ns();
        Ok(Self {
            device,
            shared,
            link,
            queue: VecDeque::new(),
            in_flight: None,
            subscribe: None,
            ping: None,
            last_packet_id: 0,
            written_ns: now,
            confirmed_ns: now,
        })
    }

    /// What a meter says and asks for first. True when that ended with a full set.
    pub(super) async fn greet(&mut self, now: Duration) -> Result<bool, Lost> {
        let greeting = self.device.greeting(now);
        self.say(greeting).await?;
        let gen1 = self.device.identity().model.is_gen1();
        let qos = if gen1 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        let topics = self.device.subscriptions().into_iter();
        let mut subscribe =
            Subscribe::new_many(topics.map(|(topic, _)| SubscribeFilter::new(topic, qos)));
        subscribe.pkid = self.packet_id();
        self.subscribe = Some((subscribe.pkid, ledger::now_ns()));
        self.link.send(&[Packet::Subscribe(subscribe)]).await?;
        if gen1 {
            self.set(now).await?;
        }
        Ok(gen1)
    }

    /// A periodic full set.
    pub(super) async fn set(&mut self, now: Duration) -> Result<(), Lost> {
        let reports = self.device.set(now);
        self.say(reports).await
    }

    /// A changed load and the set that it causes.
    pub(super) async fn change(&mut self, now: Duration) -> Result<(), Lost> {
        let reports = self.device.change(now);
        self.say(reports).await
    }

    /// Asks the broker for a sign of life; gives up when it owes one since the keep-alive.
    pub(super) async fn ping(&mut self) -> Result<(), Lost> {
        match self.ping {
            Some((since, _)) if since.elapsed() > Duration::from_secs(KEEP_ALIVE_S.into()) => {
                return Err(Lost::Silent(since.elapsed().as_secs()));
            }
            Some(_) => return Ok(()),
            None => self.ping = Some((Instant::now(), ledger::now_ns())),
        }
        self.link.send(&[Packet::PingReq]).await
    }

    /// The next packet from the broker. May be given up and called again.
    pub(super) async fn receive(&mut self) -> Result<Packet, Lost> {
        self.link.receive().await
    }

    /// Answers a packet from the broker.
    pub(super) async fn handle(&mut self, packet: Packet, now: Duration) -> Result<(), Lost> {
        match packet {
            Packet::PubAck(PubAck { pkid }) if self.in_flight.is_some_and(|(id, _)| id == pkid) => {
                self.confirm(self.in_flight);
                self.in_flight = None;
                self.pump().await
            }
            Packet::SubAck(suback) if self.subscribe.is_some_and(|(id, _)| id == suback.pkid) => {
                let asked = self.subscribe.take();
                self.confirm(asked);
                Ok(())
            }
            Packet::PingResp => {
                let asked = self.ping.take().map(|(_, at)| (0, at));
                self.confirm(asked);
                Ok(())
            }
            Packet::Publish(publish) => self.hear(publish, now).await,
            _ => Ok(()),
        }
    }

    /// Ends in good order: what is queued goes out, and no will is sent.
    pub(super) async fn close(mut self) -> Result<(), LedgerError> {
        let drained = timeout(DRAIN, async {
            while self.in_flight.is_some() {
                let packet = self.link.receive().await?;
                // No answers to commands any more.
                if matches!(packet, Packet::PubAck(_)) {
                    self.handle(packet, Duration::ZERO).await?;
                }
            }
            Ok(())
        });
        let ended = match drained.await {
            Ok(Ok(())) => self.link.close().await,
            Ok(Err(lost)) => Err(lost),
            Err(_) => Err(Lost::Silent(DRAIN.as_secs())),
        };
        match ended {
            Ok(()) => Ok(()),
            Err(Lost::Ledger(error)) => Err(error),
            Err(lost) => self.lost(&lost),
        }
    }

    /// Writes down what may not have arrived, and what was never sent.
    pub(super) fn lost(&mut self, why: &Lost) -> Result<(), LedgerError> {
        let unsent: Vec<Report> = self.queue.drain(..).collect();
        for report in unsent {
            self.drop_report(&report)?;
        }
        if self.written_ns > self.confirmed_ns {
            self.shared.write(&[Line::Lost(ledger::Lost {
                device: self.device.identity().id.clone(),
                lost_from_ns: self.confirmed_ns + 1,
                lost_to_ns: ledger::now_ns(),
                reason: super::chain(why),
            })])?;
        }
        Ok(())
    }

    async fn hear(&mut self, publish: Publish, now: Duration) -> Result<(), Lost> {
        if publish.qos == QoS::AtLeastOnce {
            self.link
                .send(&[Packet::PubAck(PubAck::new(publish.pkid))])
                .await?;
        }
        self.shared.count(Count::Commands, 1);
        let simulated = self
            .device
            .subscriptions()
            .contains(&(publish.topic.clone(), true));
        let answer = if simulated {
            self.device.answer(&publish.payload, now)
        } else {
            Vec::new()
        };
        if answer.is_empty() {
            let id = &self.device.identity().id;
            let command: String = String::from_utf8_lossy(&publish.payload)
                .chars()
                .take(80)
                .collect();
            eprintln!(
                "{id}: heard {command:?} on {:?}, which this simulation does not act on",
                publish.topic
            );
        }
        self.say(answer).await
    }

    async fn say(&mut self, reports: Vec<Report>) -> Result<(), Lost> {
        if self.device.identity().model.is_gen1() {
            return self.burst(&reports, QoS::AtMostOnce).await.map(drop);
        }
        for report in reports {
            if self.queue.len() < QUEUE {
                self.queue.push_back(report);
            } else {
                self.drop_report(&report)?;
            }
        }
        self.pump().await
    }

    /// Sends the next queued message unless one is still unacknowledged.
    async fn pump(&mut self) -> Result<(), Lost> {
        while self.in_flight.is_none() {
            let Some(report) = self.queue.pop_front() else {
                break;
            };
            self.in_flight = self.burst(&[report], QoS::AtLeastOnce).await?;
        }
        Ok(())
    }

    /// Ledger first, then payloads, then one write. Gives the last packet id, if there is one.
    async fn burst(&mut self, reports: &[Report], qos: QoS) -> Result<Option<(u16, u64)>, Lost> {
        let at_ns = ledger::now_ns();
        let readings = self.enter(reports, at_ns, true)?;
        let mut packets = Vec::new();
        let mut last = None;
        let messages = reports
            .iter()
            .flat_map(|report| wire::messages(self.device.identity(), report, at_ns));
        for message in messages.collect::<Vec<_>>() {
            let mut publish = Publish::new(message.topic, qos, message.payload);
            publish.retain = message.retain;
            if qos != QoS::AtMostOnce {
                publish.pkid = self.packet_id();
                last = Some((publish.pkid, at_ns));
            }
            packets.push(Packet::Publish(publish));
        }
        if packets.is_empty() {
            return Ok(None);
        }
        self.written_ns = at_ns;
        self.link.send(&packets).await?;
        self.shared.count(Count::Bursts, 1);
        self.shared.count(Count::Messages, packets.len());
        self.shared.count(Count::Readings, readings);
        Ok(last)
    }

    /// Writes the readings of the reports into the ledger; gives their number.
    fn enter(&self, reports: &[Report], at_ns: u64, sent: bool) -> Result<usize, LedgerError> {
        let identity = self.device.identity();
        let readings = reports
            .iter()
            .flat_map(|report| device::readings(identity.model, report));
        let lines: Vec<Line> = readings
            .map(|reading| {
                Line::Entry(Entry {
                    device: identity.id.clone(),
                    channel: reading.channel.map(str::to_owned),
                    measurement: reading.measurement.to_owned(),
                    field: reading.field.to_owned(),
                    value: reading.value,
                    unique: reading.unique,
                    at_ns,
                    sent,
                })
            })
            .collect();
        self.shared.write(&lines)?;
        Ok(lines.len())
    }

    fn drop_report(&self, report: &Report) -> Result<(), LedgerError> {
        self.enter(std::slice::from_ref(report), ledger::now_ns(), false)?;
        self.shared.count(Count::Dropped, 1);
        Ok(())
    }

    fn confirm(&mut self, answered: Option<(u16, u64)>) {
        if let Some((_, written_ns)) = answered {
            self.confirmed_ns = self.confirmed_ns.max(written_ns);
        }
    }

    fn packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }
}
