//! More than the daemon can take at once: a backlog with more messages than there are packet ids, a
//! disk that takes nothing, and readers that ask all the time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS as v4;
use rumqttc::{Connect, Publish};

use crate::fleet::{Fleet, Published, runtime};
use crate::outage::{check, report, small_disk};
use crate::reader::fetch;
use crate::{Bench, eventually, now_ns};

/// More than twice as many as there are packet ids, and fewer than the broker queues.
const BACKLOG: u64 = 150_000;

/// A bare connection, and the first packet that is to be written on it.
pub(crate) fn hello(port: u16, account: &str) -> (TcpStream, BytesMut) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut bytes = BytesMut::new();
    let mut connect = Connect::new(account);
    connect.set_login(account, "abcd");
    connect.keep_alive = 600;
    connect.write(&mut bytes).unwrap();
    (stream, bytes)
}

/// Publishes as fast as the broker takes it, each value once. Returns when the broker has it.
fn flood(port: u16, numbers: std::ops::Range<u64>) -> Vec<Published> {
    let (mut stream, mut bytes) = hello(port, "flood");
    let mut published = Vec::new();
    for number in numbers {
        let topic = format!(
            "shellies/meter-{}/emeter/{}/power",
            number % 10,
            number / 10 % 3
        );
        let payload = format!("{number}.5");
        let message = Publish::new(&topic, v4::AtMostOnce, payload.as_str());
        message.write(&mut bytes).unwrap();
        published.push(Published {
            topic,
            payload,
            time_ns: now_ns(),
        });
        if bytes.len() > 64 * 1024 {
            stream.write_all(&bytes).unwrap();
            bytes.clear();
        }
    }
    let mut end = Publish::new("end", v4::AtLeastOnce, "");
    end.pkid = 1;
    end.write(&mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
    // CONNACK and PUBACK, each of four bytes; the broker handles what it gets in order.
    stream.read_exact(&mut [0; 8]).unwrap();
    published
}

/// Bytes of all segments.
fn size(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

/// Guarantees 1, 5 and 6, when packet ids come again while they are in use.
#[test]
fn a_backlog_with_more_messages_than_packet_ids_is_recorded_once() {
    let Some(bench) = Bench::new() else { return };
    let daemon = bench.daemon();
    let mut published = runtime().block_on(async {
        let mut fleet = Fleet::connect(bench.broker.port).await;
        daemon.wait_for("connected to the broker");
        fleet.publish().await;
        fetch(bench.broker.port, "collector", None, 1).await;
        fleet.published
    });
    daemon.kill();
    published.extend(flood(bench.broker.port, 1..BACKLOG));
    let journal = bench.path("journal");
    for round in 0..5_u64 {
        let daemon = bench.daemon();
        let before = size(&journal);
        // Not always at the same place of a group; and so little that a busy machine, which sees it
        // late, leaves enough for the last daemon.
        let more = 40_000 + 13_337 * round;
        eventually("it writes", || size(&journal) >= before + more);
        daemon.kill();
    }
    let daemon = bench.daemon();
    runtime().block_on(async {
        let count = published.len();
        let all = fetch(bench.broker.port, "collector", None, count).await;
        // Times are not judged: without a ticker nobody knows when they came.
        check(&published, &all, i64::MAX / 2_000_000);
    });
    // It was killed in the middle: some of it came again, and some for the first time.
    let report = report(&bench);
    assert!(report.counted.sent_again > 0, "{report:?}");
    assert!(report.counted.recorded > 0, "{report:?}");
    eprintln!("{:?}, peak {} KiB", report.counted, daemon.peak());
    assert!(daemon.peak() < 24 * 1024, "{} KiB", daemon.peak());
    // Nothing is sent a third time.
    assert_eq!(daemon.stop(), Some(0));
    let _daemon = bench.connected();
    let report = crate::outage::report(&bench);
    assert_eq!((report.counted.sent_again, report.counted.recorded), (0, 0));
}

/// Messages come faster than they can be recorded, for a while, and the daemon is there all the time.
#[test]
fn a_flood_is_recorded_once_and_memory_stays_bounded() {
    let Some(bench) = Bench::new() else { return };
    let daemon = bench.connected();
    runtime().block_on(async {
        let mut fleet = Fleet::connect(bench.broker.port).await;
        fleet.publish().await;
        fetch(bench.broker.port, "collector", None, 1).await;
        let mut published = fleet.published;
        let begin = Instant::now();
        published.extend(flood(bench.broker.port, 1..BACKLOG));
        let all = fetch(bench.broker.port, "collector", None, published.len()).await;
        eprintln!(
            "served after {:?}, peak {} KiB",
            begin.elapsed(),
            daemon.peak()
        );
        check(&published, &all, 60_000);
    });
    assert_eq!(report(&bench).counted.sent_again, 0);
    assert_eq!(daemon.log().matches("connected to the broker").count(), 1);
    assert!(daemon.peak() < 24 * 1024, "{} KiB", daemon.peak());
}

/// When the memory for what is not on disk is used up nothing is read, for longer than the broker
/// waits for a sign of life.
#[test]
fn a_daemon_that_reads_nothing_keeps_its_connection() {
    let Some(bench) = Bench::new() else { return };
    let Some(mounted) = small_disk(&bench, |settings| settings.keep.bytes = 64 << 20) else {
        return;
    };
    let daemon = bench.connected();
    runtime().block_on(async {
        let fleet = Fleet::connect(bench.broker.port).await;
        fleet.say("shellies/meter-1/info", "first").await;
        fetch(bench.broker.port, "collector", None, 1).await;
        let ballast = mounted.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        // Ten times what it may hold, and compressed less than there is room for.
        for number in 0..400 {
            let payload = format!("{number} {}", "x".repeat(50_000));
            fleet.say("shellies/meter-1/info", &payload).await;
        }
        eventually("it says so", || !report(&bench).journal.problem.is_empty());
        tokio::time::sleep(Duration::from_secs(25)).await;
        assert_eq!(daemon.log().matches("connected to the broker").count(), 1);
        assert!(daemon.peak() < 24 * 1024, "{} KiB", daemon.peak());
        drop(file);
        std::fs::remove_file(ballast).unwrap();
        let all = fetch(bench.broker.port, "collector", None, 401).await;
        assert_eq!(all.records.len(), 401);
        assert_eq!(daemon.log().matches("connected to the broker").count(), 1);
    });
    assert_eq!(report(&bench).counted.sent_again, 0);
}
