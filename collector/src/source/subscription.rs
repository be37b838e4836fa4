//! Asks the broker for the meters' topics, and again for what it refused.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, SubAck, SubscribeReasonCode};
use tracing::{error, info, warn};

use crate::fleet::Fleet;

/// Bytes of filters in one packet; brokers may be set to refuse large ones.
const PACKET: usize = 4096;

/// Refusals come from the broker's rules, which people change while they look at the log.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Where meters of every prefix say that they are there. Every account may write it.
const ANNOUNCEMENTS: &str = "shellies/announce";

/// The subscriptions of one connection.
pub(super) struct Subscriptions {
    client: AsyncClient,
    /// Handed to the client, in order, and not yet sent.
    queued: VecDeque<Vec<String>>,
    /// Sent under this packet id and not yet answered.
    asked: HashMap<u16, Vec<String>>,
}

/// How many subscribe packets a fleet takes.
pub(super) fn packets(fleet: &Fleet) -> usize {
    portions(filters(fleet)).len()
}

fn filters(fleet: &Fleet) -> impl Iterator<Item = String> {
    fleet
        .meters()
        .iter()
        .map(|meter| format!("{}/#", meter.prefix))
        .chain([ANNOUNCEMENTS.to_owned()])
}

fn portions(filters: impl Iterator<Item = String>) -> Vec<Vec<String>> {
    let mut portions: Vec<Vec<String>> = Vec::new();
    let mut size = PACKET;
    for filter in filters {
        size += filter.len() + 3;
        match portions.last_mut() {
            Some(portion) if size <= PACKET => portion.push(filter),
            _ => {
                size = filter.len() + 3;
                portions.push(vec![filter]);
            }
        }
    }
    portions
}

impl Subscriptions {
    /// Asks for everything; called when the connection stands.
    pub(super) fn ask(client: AsyncClient, fleet: &Fleet) -> Self {
        let mut asked = Self {
            client,
            queued: VecDeque::new(),
            asked: HashMap::new(),
        };
        for portion in portions(filters(fleet)) {
            let filters = portion.iter().map(|path| filter(path));
            // The queue of a new connection has room; if it is gone, so is the connection.
            if asked.client.try_subscribe_many(filters).is_ok() {
                asked.queued.push_back(portion);
            }
        }
        asked
    }

    /// The next packet went out under this id.
    pub(super) fn sent(&mut self, id: u16) {
        if let Some(portion) = self.queued.pop_front() {
            self.asked.insert(id, portion);
        }
    }

    /// The broker answered. What it refused is asked for again, as long as the connection stands.
    pub(super) fn answered(&mut self, answer: &SubAck) {
        let Some(portion) = self.asked.remove(&answer.pkid) else {
            return;
        };
        let mut refused = Vec::new();
        for (path, code) in portion.into_iter().zip(&answer.return_codes) {
            match code {
                SubscribeReasonCode::Success(QoS::AtMostOnce) => {
                    warn!(
                        filter = path,
                        "granted at QoS 0 only: what arrives while the collector is away is lost; raise max_qos of the broker"
                    );
                }
                SubscribeReasonCode::Success(_) => {}
                code => {
                    error!(filter = path, reason = ?code, "the broker refuses these topics: look at its access rules for the collector's account");
                    refused.push(path);
                }
            }
        }
        if refused.is_empty() {
            if self.queued.is_empty() && self.asked.is_empty() {
                info!("subscribed to every meter's topics");
            }
        } else {
            let client = self.client.clone();
            let filters: Vec<Filter> = refused.iter().map(|path| filter(path)).collect();
            self.queued.push_back(refused);
            tokio::spawn(async move {
                tokio::time::sleep(ASK_AGAIN).await;
                // Fails when the connection is gone; the next one asks for everything.
                drop(client.subscribe_many(filters).await);
            });
        }
    }
}

fn filter(path: &str) -> Filter {
    Filter::new(path, QoS::AtLeastOnce)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many filters of a length go into each packet.
    #[track_caller]
    fn check(filters: usize, length: usize, expected: &[usize]) {
        let filters = (0..filters).map(|_| "x".repeat(length));
        let sizes: Vec<usize> = portions(filters).iter().map(Vec::len).collect();
        assert_eq!(sizes, expected);
    }

    #[test]
    fn packets_are_bounded() {
        check(0, 10, &[]);
        check(3, 10, &[3]);
        check(300, 37, &[102, 102, 96]);
        check(2, 5000, &[1, 1]);
    }
}
