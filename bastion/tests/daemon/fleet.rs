//! Meters: each publishes numbers that never come twice, at QoS 0 as Gen1 meters do, and writes down
//! when it did.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use crate::now_ns;

/// One published message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Published {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) time_ns: i64,
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A connection that publishes. Polled in a task of its own.
pub(crate) struct Fleet {
    client: AsyncClient,
    answers: tokio::sync::mpsc::UnboundedReceiver<()>,
    next: u64,
    pub(crate) published: Vec<Published>,
}

impl Fleet {
    pub(crate) async fn connect(port: u16) -> Fleet {
        let mut options = MqttOptions::new("fleet", "127.0.0.1", port);
        options.set_credentials("fleet", "abcd");
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut events) = AsyncClient::new(options, 100);
        let (answer, answers) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::PubAck(_)) = event {
                    let _ = answer.send(());
                }
            }
        });
        Fleet {
            client,
            answers,
            next: 0,
            published: Vec::new(),
        }
    }

    /// Publishes one message of some meter.
    pub(crate) async fn publish(&mut self) {
        let number = self.next;
        self.next += 1;
        let topic = format!(
            "shellies/meter-{}/emeter/{}/power",
            number % 10,
            number / 10 % 3
        );
        self.say(&topic, &format!("{number}.5")).await;
        self.published.push(Published {
            topic,
            payload: format!("{number}.5"),
            time_ns: now_ns(),
        });
    }

    pub(crate) async fn say(&self, topic: &str, payload: &str) {
        let sent = self.client.publish(topic, QoS::AtMostOnce, false, payload);
        sent.await.unwrap();
    }

    /// So many messages, evenly spread over a time.
    pub(crate) async fn publish_over(&mut self, count: u32, time: Duration) {
        let mut pace = tokio::time::interval(time / count);
        for _ in 0..count {
            pace.tick().await;
            self.publish().await;
        }
    }

    /// Waits until the broker has everything: it handles what it gets in order.
    pub(crate) async fn flush(&mut self) {
        while self.answers.try_recv().is_ok() {}
        let sent = self.client.publish("end", QoS::AtLeastOnce, false, "");
        sent.await.unwrap();
        self.answers.recv().await.unwrap();
    }
}
