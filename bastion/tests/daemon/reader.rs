//! A reader, written from the description of pages and requests: fetches all that is served.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use site::daemon::{fetch_topic, page_topic};
use site::record::{ClockSource, Cursor, Fit, LostWhy, Page, Part, Request};
use tokio::time::timeout;

/// One record as it was served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) number: u64,
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) time_ns: i64,
    pub(crate) spread_ms: u32,
    pub(crate) cut_from: Option<u32>,
    pub(crate) source: ClockSource,
}

/// All that a reader was told.
#[derive(Debug, Default)]
pub(crate) struct All {
    pub(crate) records: Vec<Fetched>,
    pub(crate) lost: Vec<(u64, u64, LostWhy)>,
    /// Cursor behind the last record.
    pub(crate) cursor: Option<Cursor>,
    pub(crate) largest: usize,
}

/// Asks behind a cursor until there are `count` records, or nothing came for so long.
pub(crate) async fn fetch(port: u16, name: &str, cursor: Option<Cursor>, count: usize) -> All {
    let mut options = MqttOptions::new(name, "127.0.0.1", port);
    options.set_credentials(name, "abcd");
    options.set_max_packet_size(Some(1 << 20));
    let (client, mut events) = AsyncClient::new(options, 100);
    client
        .try_subscribe(page_topic(name), QoS::AtMostOnce)
        .unwrap();
    let mut request = Request {
        stream: rand(),
        pages: 4,
        stored: 0,
        cursor,
        clock_ns: None,
    };
    let ask = |request: &Request| {
        let sent = client.try_publish(fetch_topic(name), QoS::AtMostOnce, false, request.encode());
        sent.unwrap();
    };
    let mut all = All {
        cursor,
        ..All::default()
    };
    let mut silent = 0;
    while all.records.len() < count && silent < 30 {
        let Ok(event) = timeout(Duration::from_secs(1), events.poll()).await else {
            // A daemon that was not there when it was asked.
            silent += 1;
            request.stream = rand();
            ask(&request);
            continue;
        };
        match event.unwrap() {
            Event::Incoming(Packet::SubAck(_)) => ask(&request),
            Event::Incoming(Packet::Publish(message)) => {
                let page = Page::decode(&message.payload).unwrap();
                if page.stream != request.stream {
                    continue;
                }
                assert_eq!(page.fit, Fit::Fits);
                all.largest = all.largest.max(message.payload.len());
                take(&page, &mut all);
                request.cursor = all.cursor;
                request.stored = all.cursor.map_or(0, |cursor| cursor.sequence);
                if !page.parts.is_empty() {
                    silent = 0;
                    ask(&request);
                }
            }
            _ => {}
        }
    }
    all
}

fn take(page: &Page, all: &mut All) {
    let mut raw = Vec::new();
    let mut expected = all.cursor.map_or(page.after, |cursor| cursor.sequence) + 1;
    for part in &page.parts {
        let (first, count) = part.numbers();
        assert_eq!(first, expected, "a gap that is not accounted for");
        expected = first + count;
        let group = match part {
            Part::Lost(lost) => {
                all.lost.push((lost.first, lost.count, lost.why));
                continue;
            }
            Part::Group(group) => group,
        };
        for (record, number) in group.block.records(&mut raw).unwrap().zip(group.first..) {
            let record = record.unwrap();
            all.records.push(Fetched {
                number,
                topic: record.topic.to_owned(),
                payload: String::from_utf8_lossy(record.payload).into_owned(),
                time_ns: i64::try_from(record.time_ns).unwrap() + group.dated.offset_ns,
                spread_ms: record.spread_ms,
                cut_from: record.cut_from,
                source: group.dated.source,
            });
            all.cursor = Some(Cursor {
                journal: page.journal,
                sequence: number,
                digest: record.digest(number, &group.dated.boot),
            });
        }
    }
}

fn rand() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}
