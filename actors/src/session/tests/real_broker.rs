//! A fleet of all models against Mosquitto, where it is installed.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rumqttc::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;

use super::*;

struct Broker {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Mosquitto on a free port, or `None` where it is not installed.
async fn mosquitto() -> Option<(Broker, SocketAddr)> {
    let (listener, address) = listen().await;
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("mosquitto.conf");
    let port = address.port();
    std::fs::write(
        &settings,
        format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"),
    )
    .unwrap();
    let process = Command::new("mosquitto")
        .arg("-c")
        .arg(&settings)
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let broker = Broker {
        process,
        _folder: folder,
    };
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Some((broker, address))
}

#[tokio::test]
async fn a_real_broker_passes_on_every_message_of_a_fleet_of_five() {
    let Some((_broker, server)) = mosquitto().await else {
        // Not eprintln!: the test runner swallows what a passing test prints, and a skipped check must be seen.
        let test = "a_real_broker_passes_on_every_message_of_a_fleet_of_five";
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {test}: no `mosquitto` on the PATH"
        );
        return;
    };
    let mut options = MqttOptions::new("reader", server.ip().to_string(), server.port());
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, 100);
    client
        .subscribe("#", rumqttc::QoS::AtLeastOnce)
        .await
        .unwrap();
    let (ready, mut is_ready) = mpsc::channel(1);
    let received = Arc::new(AtomicUsize::new(0));
    let online = Arc::new(AtomicUsize::new(0));
    let counters = (received.clone(), online.clone());
    let reader = tokio::spawn(async move {
        loop {
            match events.poll().await.unwrap() {
                Event::Incoming(Packet::SubAck(_)) => ready.send(()).await.unwrap(),
                Event::Incoming(Packet::Publish(publish)) => {
                    counters.0.fetch_add(1, Ordering::Relaxed);
                    if publish.topic.ends_with("/online") {
                        assert_eq!(&publish.payload[..], b"true", "a will was sent");
                        counters.1.fetch_add(1, Ordering::Relaxed);
                    }
                }
                _ => {}
            }
        }
    });
    is_ready.recv().await.unwrap();
    let (_folder, path) = ledger_file();
    let mut fleet = fleet(server, &Model::ALL);
    fleet.duration_ms = Some(2_000);
    let summary = run(fleet, &path, std::future::pending()).await.unwrap();
    assert_eq!(
        (
            summary.meters,
            summary.connected,
            summary.reconnects,
            summary.dropped
        ),
        (5, 5, 0, 0)
    );
    assert!(summary.bursts > 40, "{summary:?}");
    let all_there = async {
        while received.load(Ordering::Relaxed) < summary.messages {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all_there)
        .await
        .unwrap();
    assert_eq!(received.load(Ordering::Relaxed), summary.messages);
    assert_eq!(online.load(Ordering::Relaxed), 5);
    assert_eq!(tally(&path), (summary.readings, 0, 0));
    reader.abort();
}
