//! From a bastion's journal to a database: the daemon itself, a real broker between the two, and a
//! database that misbehaves. What is journaled is stored, once, at the time of its arrival.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bastion::clock::{MachineClock, boot_id};
use bastion::daemon::{self, Options, Sign};
use bastion::journal::Place;
use collector::collect::Counters;
use collector::config::{Config, Origin};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use site::daemon::{FORMAT, Keep, Listened, Settings, fetch_topic, page_topic};
use site::record::Request;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use crate::broker::{
    POWER, Running, TOTALS, at, eventually, expected, numbered, points, publish, settings, start,
};
use crate::fake_database::{Answer, FakeDatabase};
use crate::mosquitto::Mosquitto;

/// A daemon in a thread of its own.
pub(crate) struct Daemon {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Daemon {
    /// Returns when it is subscribed.
    async fn start(port: u16, folder: &Path, keep: Keep) -> Daemon {
        let listened = |prefix: &str| Listened {
            id: prefix.to_owned(),
            prefix: prefix.to_owned(),
            ask: None,
        };
        let settings = Settings {
            format: FORMAT,
            port,
            folder: folder.join("journal").display().to_string(),
            window: 1000,
            commit_ms: 50,
            keep,
            trust_clock: true,
            clock_patience_s: 600,
            meters: vec![
                listened("shellies/shellyem-D3B45C"),
                listened("shellypro3em-aabbccddee04"),
            ],
            readers: vec!["collector".to_owned(), "second".to_owned()],
        };
        let options = Options {
            settings,
            password: "abcd".to_owned(),
            clock: Arc::new(MachineClock::new(true)),
            boot: boot_id().unwrap(),
            place: Place(1),
            report: Some(folder.join("report.json")),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, mut subscribed) = mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let say = |sign| {
                if sign == Sign::Subscribed {
                    ready.send(()).unwrap();
                }
            };
            let running = daemon::run(options, say, async { drop(stopped.await) });
            runtime.unwrap().block_on(running).unwrap();
        });
        subscribed.recv().await.unwrap();
        Daemon { stop, thread }
    }

    pub(crate) fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

fn keep() -> Keep {
    Keep {
        free_bytes: 0,
        reserve_bytes: 0,
        ..Keep::default()
    }
}

pub(crate) struct Bench {
    pub(crate) broker: Mosquitto,
    pub(crate) database: FakeDatabase,
    folder: TempDir,
    pub(crate) config: Config,
}

impl Bench {
    pub(crate) async fn new() -> Option<Bench> {
        let broker = Mosquitto::start().await?;
        let database = FakeDatabase::start().await;
        let folder = tempfile::tempdir().unwrap();
        let mut config = settings(broker.port, &database, &folder.path().join("state"), 1000);
        let bastion = at(&mut config).clone();
        config.origin = Origin::Journals(vec![bastion]);
        at(&mut config).account = "collector".to_owned();
        Some(Bench {
            broker,
            database,
            folder,
            config,
        })
    }

    pub(crate) async fn daemon(&self) -> Daemon {
        Daemon::start(self.broker.port, self.folder.path(), keep()).await
    }

    pub(crate) async fn publish(&self, numbers: std::ops::Range<u32>) {
        let both = [numbered(POWER, numbers.clone()), numbered(TOTALS, numbers)].concat();
        publish(self.broker.port, &both, QoS::AtMostOnce, false).await;
    }

    /// Number of the newest record, as the daemon reports it every few seconds.
    fn newest(&self) -> u64 {
        let text = std::fs::read(self.folder.path().join("report.json")).unwrap_or_default();
        let report: Option<site::daemon::Report> = serde_json::from_slice(&text).ok();
        report.map_or(0, |report| report.journal.newest)
    }

    pub(crate) async fn stored(&self, count: usize) {
        let what = format!("{count} points are stored");
        eventually(&what, || points(&self.database).len() >= count).await;
    }

    /// Ends it as SIGKILL would: nothing more is written, confirmed or said.
    async fn kill(running: Running) {
        running.task.abort();
        drop(running.task.await);
    }

    /// The distinct points with their times.
    fn set(&self) -> BTreeSet<String> {
        self.database.lines().into_iter().collect()
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_journaled_is_stored_once_at_the_time_of_its_arrival() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let daemon = bench.daemon().await;
    let begin = now_ns();
    bench.publish(0..500).await;
    let end = now_ns();
    // Fetched later, and stored later still.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let running = start(bench.config.clone());
    bench.stored(1000).await;
    let counters = running.stop().await;
    assert_eq!(points(&bench.database), expected(0..500));
    assert_eq!((counters.received, counters.confirmed), (1000, 1000));
    let second = 1_000_000_000;
    for line in bench.database.lines() {
        let (_, time) = line.rsplit_once(' ').unwrap();
        let time: i64 = time.parse().unwrap();
        assert!((begin - second..end + second).contains(&time), "{line}");
    }
    let status = std::fs::read_to_string(bench.config.state.join("status.json")).unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["source"], "journal");
    assert_eq!(status["time_of"], "arrival at the bastion");
    // From the cursor on there is nothing.
    let running = start(bench.config.clone());
    bench.publish(500..501).await;
    bench.stored(1002).await;
    let counters: Counters = running.stop().await;
    assert_eq!(counters.received, 2);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn fetching_everything_again_leaves_the_database_as_it_was() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let daemon = bench.daemon().await;
    bench.publish(0..300).await;
    let running = start(bench.config.clone());
    bench.stored(600).await;
    running.stop().await;
    let before = bench.set();
    let cursor = bench.config.state.join("cursor-127-0-0-1.json");
    std::fs::remove_file(cursor).unwrap();
    let lines = bench.database.lines().len();
    let running = start(bench.config.clone());
    eventually("all came again", || {
        bench.database.lines().len() >= 2 * lines
    })
    .await;
    running.stop().await;
    assert_eq!(bench.set(), before);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_collectors_side_by_side_store_what_one_would() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let daemon = bench.daemon().await;
    let mut second = bench.config.clone();
    at(&mut second).account = "second".to_owned();
    second.state = bench.folder.path().join("second");
    let running = (start(bench.config.clone()), start(second));
    for part in 0..10 {
        bench.publish(part * 50..part * 50 + 50).await;
    }
    bench.stored(1000).await;
    eventually("both stored all", || bench.database.lines().len() >= 2000).await;
    let counters = (running.0.stop().await, running.1.stop().await);
    assert_eq!((counters.0.received, counters.1.received), (1000, 1000));
    assert_eq!(points(&bench.database), expected(0..500));
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn collector_database_and_daemon_may_stop_at_any_time() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let mut daemon = Some(bench.daemon().await);
    for round in 0..6_u32 {
        let running = start(bench.config.clone());
        let answer = [None, Some(Answer::Status(503)), Some(Answer::StoreAndClose)];
        bench.database.always(answer[round as usize % 3]);
        bench.publish(round * 100..round * 100 + 50).await;
        if round % 2 == 1 {
            daemon.take().unwrap().stop();
            daemon = Some(bench.daemon().await);
        }
        bench.publish(round * 100 + 50..round * 100 + 100).await;
        // Killed at whatever it is doing.
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 60)).await;
        Bench::kill(running).await;
    }
    bench.database.always(None);
    let running = start(bench.config.clone());
    bench.stored(1200).await;
    let counters = running.stop().await;
    assert_eq!(points(&bench.database), expected(0..600));
    let lost = (
        counters.source.trimmed,
        counters.source.damaged,
        counters.source.misfits,
    );
    assert_eq!(lost, (0, 0, 0));
    daemon.take().unwrap().stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_journal_is_noticed_and_read_from_its_beginning() {
    let Some(mut bench) = Bench::new().await else {
        return;
    };
    let daemon = bench.daemon().await;
    bench.publish(0..100).await;
    let running = start(bench.config.clone());
    bench.stored(200).await;
    running.stop().await;
    daemon.stop();
    // A new card.
    std::fs::remove_dir_all(bench.folder.path().join("journal")).unwrap();
    let daemon = bench.daemon().await;
    bench.publish(100..150).await;
    bench.config.database.batch_time = Duration::from_millis(20);
    let running = start(bench.config.clone());
    bench.stored(300).await;
    let counters = running.stop().await;
    assert_eq!(points(&bench.database), expected(0..150));
    assert_eq!(counters.source.misfits, 1);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_before_it_was_fetched_is_counted_exactly() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let daemon = bench.daemon().await;
    bench.publish(0..10).await;
    let running = start(bench.config.clone());
    bench.stored(20).await;
    running.stop().await;
    bench.publish(10..20).await;
    // What it had not read would wait in the broker.
    eventually("all of it is journaled", || bench.newest() == 40).await;
    daemon.stop();
    // Its segment is gone, and numbers go on behind it.
    let folder = bench.folder.path().join("journal");
    {
        let settings = bastion::journal::Settings {
            segment_bytes: 1,
            keep_bytes: 1,
            keep_free: 0,
            reserve_bytes: 0,
            ..bastion::journal::Settings::default()
        };
        let (mut journal, _) =
            bastion::journal::Journal::open(&folder, settings, Place(1)).unwrap();
        let mut group = bastion::journal::Group::new(boot_id().unwrap(), 1);
        let record = site::record::Record::new(1, 0, "a/b", b"1");
        assert!(group.push(&record, 0));
        journal.append(&group).unwrap();
        journal.trim(None);
        assert_eq!((journal.extent().oldest, journal.extent().newest), (41, 41));
    }
    let daemon = bench.daemon().await;
    bench.publish(20..30).await;
    let running = start(bench.config.clone());
    bench.stored(40).await;
    let counters = running.stop().await;
    assert_eq!(counters.source.trimmed, 20);
    assert_eq!(points(&bench.database).len(), 40);
    daemon.stop();
}

/// A taken bastion sends what it likes.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_nonsense_stop_nobody() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let running = start(bench.config.clone());
    let mut options = MqttOptions::new("bastion", "127.0.0.1", bench.broker.port);
    options.set_credentials("bastion", "abcd");
    let (client, mut events) = AsyncClient::new(options, 100);
    client
        .try_subscribe(fetch_topic("collector"), QoS::AtMostOnce)
        .unwrap();
    loop {
        if let Event::Incoming(Packet::Publish(message)) = events.poll().await.unwrap() {
            let request = Request::decode(&message.payload).unwrap();
            let page = page_topic("collector");
            for nonsense in [vec![], vec![0xff; 5000], page_of(request.stream)] {
                client
                    .try_publish(&page, QoS::AtMostOnce, false, nonsense)
                    .unwrap();
            }
            break;
        }
    }
    let polling = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let counters = running.stop().await;
    assert!(counters.source.malformed >= 1, "{counters:?}");
    assert_eq!(counters.received, 0);
    polling.abort();
}

/// A page whose block promises more than it may hold.
fn page_of(stream: u64) -> Vec<u8> {
    let mut page = b"SBP\x01\0\0".to_vec();
    page.extend_from_slice(&[7; 16]);
    page.extend_from_slice(&stream.to_le_bytes());
    page.extend_from_slice(&[0, 1, 9, 1]);
    page.extend_from_slice(&[5; 16]);
    page.extend_from_slice(&[0, 2, 1, 1, 9, 0, 0, 0xff, 0xff, 3, 4, 1, 2, 3, 4]);
    page
}
