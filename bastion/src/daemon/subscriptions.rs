//! What the daemon subscribes to, and which of it the broker granted. All of it on each connection:
//! meters may have been added.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode,
};
use site::daemon::{FETCH_FILTER, Listened, TICK_TOPIC};
use tracing::error;

use super::link::Link;

/// Bytes of filters in one packet.
const PACKET: usize = 4096;
/// Refusals come from rules, which may just be on their way.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Asked and not answered: packet id and filters.
    asked: VecDeque<(u16, Vec<Filter>)>,
    refused: Vec<Filter>,
    refused_at: Option<Instant>,
    last_id: u16,
}

impl Subscriptions {
    /// Asks for everything.
    pub(super) fn ask(link: &Link, meters: &[Listened]) -> Subscriptions {
        let meters = meters
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
        let mut subscriptions = Subscriptions::default();
        subscriptions.send(link, meters.chain(own));
        subscriptions
    }

    fn send(&mut self, link: &Link, filters: impl Iterator<Item = Filter>) {
        let mut packets: Vec<Vec<Filter>> = Vec::new();
        let mut size = PACKET;
        for filter in filters {
            size += filter.path.len() + 3;
            match packets.last_mut() {
                Some(packet) if size <= PACKET => packet.push(filter),
                _ => {
                    size = filter.path.len() + 3;
                    packets.push(vec![filter]);
                }
            }
        }
        for filters in packets {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            link.subscribe(Subscribe {
                pkid: self.last_id,
                filters: filters.clone(),
                properties: None,
            });
            self.asked.push_back((self.last_id, filters));
        }
    }

    /// The broker answered; whether that was the last answer.
    pub(super) fn answered(&mut self, answer: &SubAck) -> bool {
        let place = self.asked.iter().position(|(id, _)| *id == answer.pkid);
        let Some((_, asked)) = place.and_then(|place| self.asked.remove(place)) else {
            return false;
        };
        let refused = asked
            .into_iter()
            .zip(&answer.return_codes)
            .filter(|(_, code)| !matches!(code, SubscribeReasonCode::Success(_)))
            .map(|(filter, _)| filter);
        let before = self.refused.len();
        self.refused.extend(refused);
        if let Some(first) = self.refused.get(before) {
            error!(
                filter = first.path,
                count = self.refused.len() - before,
                "the broker refuses these topics: look at the rules of the daemon's account"
            );
            self.refused_at = Some(Instant::now());
        }
        self.asked.is_empty()
    }

    /// Asks again for what was refused, when it is time.
    pub(super) fn look(&mut self, link: &Link) {
        if self.refused_at.is_some_and(|at| at.elapsed() >= ASK_AGAIN) {
            self.refused_at = None;
            let refused = std::mem::take(&mut self.refused);
            self.send(link, refused.into_iter());
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
