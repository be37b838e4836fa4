//! Who asks, how often and for what: readers are served, and hold nobody up.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use rumqttc::Subscribe;
use rumqttc::mqttbytes::QoS as v4;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use site::daemon::{Ask, fetch_topic, page_topic};
use site::record::{ClockSource, LARGEST_PAGE, Request};

use crate::fleet::{Fleet, runtime};
use crate::flood::hello;
use crate::outage::report;
use crate::reader::fetch;
use crate::{Bench, eventually};

#[test]
fn two_readers_get_the_same_and_may_begin_anywhere() {
    let Some(bench) = Bench::new() else { return };
    bench.settings(|settings| settings.readers.push("second".to_owned()));
    let _daemon = bench.connected();
    runtime().block_on(async {
        let port = bench.broker.port;
        let mut fleet = Fleet::connect(port).await;
        fleet.publish_over(3000, Duration::from_millis(500)).await;
        let (one, two) = tokio::join!(
            fetch(port, "collector", None, 3000),
            fetch(port, "second", None, 3000)
        );
        assert_eq!(one.records, two.records);
        assert_eq!(one.records.len(), 3000);
        assert!(one.largest <= LARGEST_PAGE);
        // From its cursor on there is only what is new.
        fleet.publish_over(10, Duration::from_millis(10)).await;
        let rest = fetch(port, "second", two.cursor, 10).await;
        assert_eq!(rest.records.first().unwrap().number, 3001);
    });
}

/// Asks 20,000 times, each time from the beginning, and never reads from its socket.
fn deaf(port: u16) -> TcpStream {
    let (mut stream, mut bytes) = hello(port, "greedy");
    let mut subscribe = Subscribe::new(page_topic("greedy"), v4::AtMostOnce);
    subscribe.pkid = 1;
    subscribe.write(&mut bytes).unwrap();
    for stream in 0..20_000 {
        let request = Request {
            stream,
            pages: 16,
            stored: u64::MAX,
            cursor: None,
            clock_ns: None,
        };
        let topic = fetch_topic("greedy");
        let publish = rumqttc::Publish::new(topic, v4::AtMostOnce, request.encode());
        publish.write(&mut bytes).unwrap();
    }
    stream.write_all(&bytes).unwrap();
    stream
}

/// A reader that asks all the time and takes nothing: 20 GB of pages, were it served.
#[test]
fn a_flood_of_requests_starves_neither_journal_nor_broker() {
    let Some(bench) = Bench::new() else { return };
    bench.settings(|settings| settings.readers.push("greedy".to_owned()));
    let daemon = bench.connected();
    runtime().block_on(async {
        let port = bench.broker.port;
        let mut fleet = Fleet::connect(port).await;
        // Enough for many pages.
        fleet.publish_over(40_000, Duration::from_secs(4)).await;
        fetch(port, "collector", None, 40_000).await;
        let before = bench.broker.peak();
        let flood = tokio::task::spawn_blocking(move || deaf(port));
        let publishing = fleet.publish_over(2000, Duration::from_secs(2));
        let (connection, ()) = tokio::join!(flood, publishing);
        let all = fetch(port, "collector", None, 42_000).await;
        assert_eq!(all.records.len(), 42_000);
        let grown = bench.broker.peak().saturating_sub(before);
        assert!(grown < 20 * 1024, "the broker grew by {grown} KiB");
        // It was there, and deaf, all the time.
        drop(connection.unwrap());
    });
    let report = report(&bench);
    assert!(report.counted.requests_refused > 1000, "{report:?}");
    // What it claims to have stored is no more than there was.
    let greedy = report.readers.iter().find(|reader| reader.name == "greedy");
    assert!(greedy.unwrap().taken <= report.journal.newest);
    assert!(daemon.peak() < 30 * 1024, "{} KiB", daemon.peak());
}

/// Guarantee 4: a machine whose clock nobody sets.
#[test]
fn without_a_clock_nothing_is_served_until_a_reader_offers_one() {
    let Some(bench) = Bench::new() else { return };
    bench.settings(|settings| {
        settings.trust_clock = false;
        settings.clock_patience_s = 0;
    });
    if std::path::Path::new("/run/systemd/timesync/synchronized").exists() {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: this machine's clock is synchronised"
        );
        return;
    }
    let _daemon = bench.connected();
    runtime().block_on(async {
        let port = bench.broker.port;
        let mut fleet = Fleet::connect(port).await;
        fleet.publish_over(20, Duration::from_millis(100)).await;
        fleet.flush().await;
        eventually("it is recorded", || report(&bench).journal.newest == 20);
        let extent = report(&bench).journal;
        assert_eq!((extent.served, extent.clock), (0, None));
        let mut options = MqttOptions::new("collector", "127.0.0.1", port);
        options.set_credentials("collector", "abcd");
        let (client, mut events) = AsyncClient::new(options, 10);
        let request = Request {
            stream: 1,
            pages: 1,
            stored: 0,
            cursor: None,
            clock_ns: Some(u64::try_from(crate::now_ns()).unwrap()),
        };
        let topic = fetch_topic("collector");
        client
            .try_publish(topic, QoS::AtMostOnce, false, request.encode())
            .unwrap();
        let polling = tokio::spawn(async move { while events.poll().await.is_ok() {} });
        eventually("the clock is fixed", || {
            report(&bench).journal.clock == Some(ClockSource::Reader)
        });
        polling.abort();
        let all = fetch(port, "collector", None, 20).await;
        assert_eq!(all.records.len(), 20);
        assert!(
            all.records
                .iter()
                .all(|record| record.source == ClockSource::Reader)
        );
    });
}

#[test]
fn large_messages_are_cut_and_say_so_and_foreign_ones_are_counted() {
    let Some(bench) = Bench::new() else { return };
    let _daemon = bench.connected();
    runtime().block_on(async {
        let fleet = Fleet::connect(bench.broker.port).await;
        fleet
            .say("shellies/meter-1/info", &"x".repeat(200_000))
            .await;
        fleet.say("shellies/meter-1/info", "small").await;
        fleet.say("shellies/other/info", "nobody's").await;
        let all = fetch(bench.broker.port, "collector", None, 2).await;
        assert_eq!(all.records[0].cut_from, Some(200_021));
        assert_eq!(all.records[1].payload, "small");
    });
    assert_eq!(report(&bench).counted.cut, 1);
}

#[test]
fn a_meter_that_needs_it_is_asked_when_it_connects() {
    let Some(bench) = Bench::new() else { return };
    bench.settings(|settings| {
        settings.meters[3].ask = Some(Ask {
            command: "status_update".to_owned(),
            every_s: None,
        });
    });
    let _daemon = bench.connected();
    runtime().block_on(async {
        let fleet = Fleet::connect(bench.broker.port).await;
        let mut options = MqttOptions::new("meter", "127.0.0.1", bench.broker.port);
        options.set_credentials("meter", "abcd");
        let (client, mut events) = AsyncClient::new(options, 10);
        client
            .try_subscribe("shellies/+/command", QoS::AtMostOnce)
            .unwrap();
        loop {
            use rumqttc::v5::{Event, mqttbytes::v5::Packet};
            match events.poll().await.unwrap() {
                Event::Incoming(Packet::SubAck(_)) => {
                    fleet.say("shellies/meter-2/online", "true").await;
                    fleet.say("shellies/meter-3/online", "true").await;
                }
                Event::Incoming(Packet::Publish(message)) => {
                    assert_eq!(message.topic, "shellies/meter-3/command");
                    assert_eq!(message.payload, "status_update");
                    break;
                }
                _ => {}
            }
        }
    });
}
