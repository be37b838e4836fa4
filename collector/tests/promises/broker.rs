//! From a real broker to a database: what was published is stored, once, whatever stops.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use collector::collect::{self, Counters};
use collector::config::{Broker, Config, Origin};
use collector::secret::Secret;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::EXAMPLE;
use crate::cable::Cable;
use crate::fake_database::{Answer, FakeDatabase};
use crate::mosquitto::Mosquitto;

pub(crate) const POWER: &str = "shellies/shellyem-D3B45C/emeter/0/power";
pub(crate) const TOTALS: &str = "shellypro3em-aabbccddee04/status/emdata:0";

/// The settings of the example, with whole components and with machines of this test.
pub(crate) fn settings(port: u16, database: &FakeDatabase, state: &Path, window: u16) -> Config {
    let text = EXAMPLE.replace("\"events\"", "\"status\"");
    let mut config = Config::parse("", &text, &mut |_| Ok(Secret::new("abcd"))).unwrap();
    config.state = state.to_owned();
    let bastions = match config.origin {
        Origin::Journals(bastions) => bastions,
        Origin::Broker(broker) => vec![broker],
    };
    let mut broker = bastions.into_iter().next().unwrap();
    broker.host = "127.0.0.1".to_owned();
    broker.port = port;
    broker.window = window;
    config.origin = Origin::Broker(broker);
    config.database.url = database.url.clone();
    config.database.batch_time = Duration::from_millis(50);
    config
}

/// The one place that is read.
pub(crate) fn at(config: &mut Config) -> &mut Broker {
    match &mut config.origin {
        Origin::Journals(bastions) => &mut bastions[0],
        Origin::Broker(broker) => broker,
    }
}

pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<anyhow::Result<Counters>>,
}

pub(crate) fn start(config: Config) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(collect::run(config, async move {
        drop(stopped.await);
    }));
    Running { stop, task }
}

impl Running {
    pub(crate) async fn stop(self) -> Counters {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap()
    }
}

/// A meter's connection: publishes as the generation does, and returns when the broker has it.
pub(crate) async fn publish(port: u16, messages: &[(&str, String)], qos: QoS, retain: bool) {
    let mut options = MqttOptions::new("meter", "127.0.0.1", port);
    options.set_credentials("meter", "abcd");
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, messages.len() + 2);
    for (topic, payload) in messages {
        client
            .try_publish(*topic, qos, retain, payload.as_bytes())
            .unwrap();
    }
    // Messages of one connection are handled in order, so its answer covers all before it.
    client
        .try_publish("end", QoS::AtLeastOnce, false, "")
        .unwrap();
    let mut answers = if qos == QoS::AtMostOnce {
        1
    } else {
        messages.len() + 1
    };
    while answers > 0 {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
            answers -= 1;
        }
    }
}

pub(crate) fn numbered(
    topic: &'static str,
    numbers: std::ops::Range<u32>,
) -> Vec<(&'static str, String)> {
    numbers
        .map(|number| match topic {
            TOTALS => (topic, format!(r#"{{"id":0,"total_act":{number}.25}}"#)),
            _ => (topic, format!("{number}.25")),
        })
        .collect()
}

/// How many different points (a line with its time) there are for each value.
pub(crate) fn points(database: &FakeDatabase) -> BTreeMap<String, usize> {
    let mut lines = database.lines();
    lines.sort();
    lines.dedup();
    let mut points = BTreeMap::new();
    for line in lines {
        let (value, _time) = line.rsplit_once(' ').unwrap();
        *points.entry(value.to_owned()).or_insert(0) += 1;
    }
    points
}

pub(crate) fn expected(numbers: std::ops::Range<u32>) -> BTreeMap<String, usize> {
    numbers
        .flat_map(|number| {
            [
                format!("power,channel=0,device=shellyem-D3B45C,gen=1,model=shellyem,point=barn-supply,site=home active_w={number}.25"),
                format!("energy,channel=total,device=shellypro3em-aabbccddee04,gen=2,model=shellypro3em,point=heat-pump,site=home import_wh={number}.25"),
            ]
        })
        .map(|line| (line, 1))
        .collect()
}

pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("after 30 s: {what}");
}

/// A broker, a database and a state folder; the session of the collector exists.
async fn ready(window: u16) -> Option<(Mosquitto, FakeDatabase, TempDir, Config)> {
    let broker = Mosquitto::start().await?;
    let (database, state) = (FakeDatabase::start().await, tempfile::tempdir().unwrap());
    let config = settings(broker.port, &database, state.path(), window);
    Some((broker, database, state, config))
}

/// A collector that is subscribed: a message of the first meter came through.
async fn subscribed(broker: &Mosquitto, database: &FakeDatabase, config: &Config) -> Running {
    let running = start(config.clone());
    let before = database.lines().len();
    for _ in 0..500 {
        publish(
            broker.port,
            &[("shellypro3em-aabbccddee04/online", "true".to_owned())],
            QoS::AtMostOnce,
            false,
        )
        .await;
        if database.lines().len() > before {
            return running;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never subscribed");
}

fn without_online(mut points: BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    points.retain(|line, _| !line.starts_with("device"));
    points
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_is_stored_once_although_collector_and_database_stop() {
    let Some((broker, database, state, config)) = ready(50).await else {
        return;
    };
    let both = |numbers: std::ops::Range<u32>| {
        [numbered(POWER, numbers.clone()), numbered(TOTALS, numbers)].concat()
    };
    let running = subscribed(&broker, &database, &config).await;
    publish(broker.port, &both(0..500), QoS::AtMostOnce, false).await;
    let all = |count| {
        let database = database.clone();
        move || without_online(points(&database)).len() == count
    };
    eventually("the first 500 of both are stored", all(1000)).await;
    let counters = running.stop().await;
    assert_eq!(counters.confirmed, counters.received);

    // Nobody reads, and then the database is away; the broker keeps everything.
    publish(broker.port, &both(500..800), QoS::AtMostOnce, false).await;
    database.always(Some(Answer::Status(503)));
    let running = start(config.clone());
    let heads = database.heads().len();
    eventually("the database was asked", || {
        database.heads().len() > heads + 2
    })
    .await;
    publish(broker.port, &both(800..900), QoS::AtLeastOnce, false).await;
    database.always(None);
    eventually("all of both are stored", all(1800)).await;
    let counters = running.stop().await;
    assert_eq!(without_online(points(&database)), expected(0..900));
    assert_eq!((counters.received, counters.confirmed), (800, 800));
    assert_eq!(
        (counters.source.sessions_lost, counters.source.redelivered),
        (0, 0)
    );
    let status = std::fs::read_to_string(state.path().join("status.json")).unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["points_written"], 800);
    assert_eq!(status["source"], "broker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_neither_loses_nor_doubles() {
    let Some((broker, database, _state, config)) = ready(20).await else {
        return;
    };
    let cable = Cable::to(broker.port).await;
    let mut config = config;
    at(&mut config).port = cable.port;
    let running = subscribed(&broker, &database, &config).await;
    // Taken and not confirmed when the connection breaks: they come again with their old time.
    database.always(Some(Answer::Status(503)));
    let heads = database.heads().len();
    publish(
        broker.port,
        &[numbered(POWER, 0..100), numbered(TOTALS, 0..100)].concat(),
        QoS::AtLeastOnce,
        false,
    )
    .await;
    eventually("the database was asked", || database.heads().len() > heads).await;
    cable.cut();
    eventually("it is connected again", || cable.used()).await;
    database.always(None);
    eventually("all are stored", || {
        without_online(points(&database)).len() == 200
    })
    .await;
    let counters = running.stop().await;
    assert_eq!(without_online(points(&database)), expected(0..100));
    assert!(counters.source.redelivered > 0, "{counters:?}");
    assert_eq!(counters.source.sessions_lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_set_aside_and_stops_nothing() {
    let Some((broker, database, state, config)) = ready(20).await else {
        return;
    };
    let retained = [("shellies/shellyem-D3B45C/online", "true".to_owned())];
    publish(broker.port, &retained, QoS::AtLeastOnce, true).await;
    let running = subscribed(&broker, &database, &config).await;
    let mut messages = vec![
        (POWER, "nonsense".to_owned()),
        // The fake database refuses a line with this word in it.
        (
            "shellies/shellyem-D3B45C/announce",
            r#"{"fw_ver":"bad"}"#.to_owned(),
        ),
        (TOTALS, r#"{"id":0"#.to_owned()),
        ("shellies/shellyem-D3B45C/relay/0", "off".to_owned()),
        ("shellies/announce", "x".repeat(200_000)),
        ("shellies/shellyem-D3B45C/info", "x".repeat(200_000)),
    ];
    messages.extend(numbered(POWER, 0..30));
    messages.extend(numbered(TOTALS, 0..30));
    publish(broker.port, &messages, QoS::AtLeastOnce, false).await;
    eventually("the good ones are stored", || {
        without_online(points(&database)).len() == 60
    })
    .await;
    let counters = running.stop().await;
    assert_eq!(without_online(points(&database)), expected(0..30));
    assert_eq!(
        (
            counters.not_understood,
            counters.points_refused,
            counters.set_aside
        ),
        (3, 1, 4)
    );
    assert_eq!((counters.not_readings, counters.source.retained), (2, 1));
    assert_eq!(counters.received, counters.confirmed);
    let letters = std::fs::read_to_string(state.path().join("dead-letters.jsonl")).unwrap();
    let reasons: Vec<String> = letters
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["reason"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(reasons.len(), 4, "{letters}");
    for part in [
        "\"nonsense\" is not a number",
        "the database refuses it: partial write",
        "not a JSON object",
        "200000 bytes",
    ] {
        assert!(
            reasons.iter().any(|reason| reason.contains(part)),
            "{part}: {reasons:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_does_not_wait_for_ever_and_what_was_not_stored_comes_again() {
    let Some((broker, database, _state, config)) = ready(20).await else {
        return;
    };
    let running = subscribed(&broker, &database, &config).await;
    database.always(Some(Answer::Close));
    publish(
        broker.port,
        &[numbered(POWER, 0..50), numbered(TOTALS, 0..50)].concat(),
        QoS::AtLeastOnce,
        false,
    )
    .await;
    let begin = std::time::Instant::now();
    running.stop().await;
    assert!(begin.elapsed() < collect::GRACE + Duration::from_secs(5));
    database.always(None);
    let running = start(config);
    eventually("all are stored", || {
        without_online(points(&database)).len() == 100
    })
    .await;
    running.stop().await;
    assert_eq!(without_online(points(&database)), expected(0..50));
}

/// Values of one burst share a line, and the one that is refused is set aside alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_value_takes_no_other_along() {
    let Some((broker, database, state, mut config)) = ready(20).await else {
        return;
    };
    // Bursts are not torn apart by a slow machine.
    config.database.batch_time = Duration::from_secs(1);
    let running = subscribed(&broker, &database, &config).await;
    const VOLTAGE: &str = "shellies/shellyem-D3B45C/emeter/0/voltage";
    let messages = [
        (POWER, "1"),
        (VOLTAGE, "230"),
        (POWER, "2"),
        (VOLTAGE, "666"),
    ];
    let messages = messages.map(|(topic, value)| (topic, value.to_owned()));
    publish(broker.port, &messages, QoS::AtLeastOnce, false).await;
    let fields = || -> BTreeSet<String> {
        let lines = without_online(points(&database)).into_keys();
        let fields = lines.filter_map(|line| Some(line.rsplit_once(' ')?.1.to_owned()));
        let of = |line: String| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        fields.flat_map(of).collect()
    };
    let good = ["active_w=1", "active_w=2", "voltage_v=230"].map(str::to_owned);
    eventually("all is stored that can be", || {
        fields() == good.clone().into()
    })
    .await;
    let counters = running.stop().await;
    assert_eq!(fields(), good.into());
    assert_eq!((counters.points_refused, counters.set_aside), (1, 1));
    let letters = std::fs::read_to_string(state.path().join("dead-letters.jsonl")).unwrap();
    assert_eq!(letters.lines().count(), 1);
    assert!(letters.contains(VOLTAGE), "{letters}");
}
