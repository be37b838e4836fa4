//! What stops, and what is there all the same: nothing lost, nothing doubled, nothing moved by more
//! than a second.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use site::daemon::{Report, Settings};

use crate::fleet::{Fleet, Published, runtime};
use crate::reader::{All, fetch};
use crate::{Bench, eventually};

const MS: i64 = 1_000_000;

/// Compares what was published with what is served: sets, and times.
#[track_caller]
pub(crate) fn check(published: &[Published], all: &All, most_ms: i64) {
    let mut served: BTreeMap<(String, String), Vec<i64>> = BTreeMap::new();
    for record in &all.records {
        let key = (record.topic.clone(), record.payload.clone());
        served.entry(key).or_default().push(record.time_ns);
    }
    let mut worst = 0;
    let mut missing = 0;
    for message in published {
        match served
            .remove(&(message.topic.clone(), message.payload.clone()))
            .as_deref()
        {
            Some([time]) => worst = worst.max((time - message.time_ns).abs()),
            Some(times) => panic!("{message:?} came {} times", times.len()),
            None => missing += 1,
        }
    }
    assert_eq!(missing, 0, "of {} published", published.len());
    assert!(served.is_empty(), "never published: {served:?}");
    assert!(worst <= most_ms * MS, "moved by {} ms", worst / MS);
    let mut times: Vec<(&str, i64)> = all
        .records
        .iter()
        .map(|record| (record.topic.as_str(), record.time_ns))
        .collect();
    times.sort_unstable();
    let count = times.len();
    times.dedup();
    assert_eq!(times.len(), count, "two messages of one topic share a time");
    for (place, record) in all.records.iter().enumerate() {
        assert_eq!(record.number, u64::try_from(place).unwrap() + 1);
    }
    assert_eq!(all.lost, []);
}

/// Guarantees 1 and 2 with the daemon there all the time.
#[test]
fn what_is_published_is_served_in_order_with_its_time() {
    let Some(bench) = Bench::new() else { return };
    let daemon = bench.connected();
    runtime().block_on(async {
        let mut fleet = Fleet::connect(bench.broker.port).await;
        fleet.publish_over(1000, Duration::from_secs(2)).await;
        fleet.flush().await;
        let all = fetch(bench.broker.port, "collector", None, 1000).await;
        check(&fleet.published, &all, 1000);
        assert!(all.records.iter().all(|record| record.spread_ms == 0));
    });
    assert_eq!(daemon.stop(), Some(0));
}

/// Guarantee 3.
#[test]
fn what_waits_while_the_daemon_is_away_is_dated_by_ticks() {
    let Some(bench) = Bench::new() else { return };
    let daemon = bench.connected();
    let _ticker = bench.ticker();
    runtime().block_on(async {
        let mut fleet = Fleet::connect(bench.broker.port).await;
        fleet.publish_over(200, Duration::from_secs(1)).await;
        fleet.flush().await;
        daemon.kill();
        // More than a window of them in each second.
        fleet.publish_over(8000, Duration::from_secs(4)).await;
        fleet.flush().await;
        let _daemon = bench.connected();
        let all = fetch(bench.broker.port, "collector", None, 8200).await;
        fleet.publish_over(200, Duration::from_secs(1)).await;
        fleet.flush().await;
        check(&fleet.published[..8200], &all, 1000);
        assert!(all.records.iter().any(|record| record.spread_ms > 0));
        // And when nothing waits any more, times are exact again.
        let all = fetch(bench.broker.port, "collector", None, 8400).await;
        check(&fleet.published, &all, 1000);
        assert_eq!(all.records.last().unwrap().spread_ms, 0);
    });
}

/// Guarantee 3 where meters speak rarely: nothing is written in between, nor what was heard last.
#[test]
fn what_waits_after_a_silence_is_dated_by_ticks_as_well() {
    let Some(bench) = Bench::new() else { return };
    let daemon = bench.connected();
    let _ticker = bench.ticker();
    runtime().block_on(async {
        let mut fleet = Fleet::connect(bench.broker.port).await;
        fleet.publish_over(10, Duration::from_millis(100)).await;
        fleet.flush().await;
        let all = fetch(bench.broker.port, "collector", None, 10).await;
        check(&fleet.published, &all, 1000);
        // The silence itself: long against a second.
        tokio::time::sleep(Duration::from_secs(5)).await;
        daemon.kill();
        fleet.publish_over(10, Duration::from_millis(100)).await;
        fleet.flush().await;
        let _daemon = bench.connected();
        let all = fetch(bench.broker.port, "collector", None, 20).await;
        check(&fleet.published, &all, 1000);
    });
}

/// Guarantees 1, 5 and 6.
#[test]
fn a_daemon_killed_again_and_again_neither_loses_nor_doubles() {
    let Some(bench) = Bench::new() else { return };
    let daemon = bench.connected();
    let _ticker = bench.ticker();
    runtime().block_on(async {
        let mut fleet = Fleet::connect(bench.broker.port).await;
        let mut daemon = Some(daemon);
        for round in 1..=8_u64 {
            // Not always at the same place of a group.
            let time = Duration::from_millis(700 + 37 * round);
            fleet.publish_over(200, time).await;
            if let Some(daemon) = daemon.take() {
                daemon.kill();
            }
            if round % 3 == 0 {
                fleet.publish_over(100, Duration::from_millis(500)).await;
            }
            let next = bench.connected();
            daemon = Some(next);
        }
        fleet.flush().await;
        let count = fleet.published.len();
        let all = fetch(bench.broker.port, "collector", None, count).await;
        check(&fleet.published, &all, 1500);
    });
}

/// A restart in order, as an update makes it: what is here is written and acknowledged.
#[test]
fn a_daemon_that_is_stopped_loses_nothing_and_is_sent_nothing_again() {
    let Some(bench) = Bench::new() else { return };
    let daemon = bench.connected();
    let _ticker = bench.ticker();
    runtime().block_on(async {
        let mut fleet = Fleet::connect(bench.broker.port).await;
        fleet.publish_over(500, Duration::from_secs(1)).await;
        fleet.flush().await;
        assert_eq!(daemon.stop(), Some(0));
        fleet.publish_over(500, Duration::from_secs(1)).await;
        fleet.flush().await;
        let daemon = bench.daemon();
        let all = fetch(bench.broker.port, "collector", None, 1000).await;
        check(&fleet.published, &all, 1000);
        let report = report(&bench);
        assert_eq!((report.counted.sent_again, report.sessions_lost), (0, 0));
        assert!(report.counted.dated_by_ticks > 0, "{report:?}");
        assert_eq!(report.journal.newest, 1000);
        assert_eq!(daemon.stop(), Some(0));
    });
}

/// A broker that was killed forgets the session; what it had not delivered is gone, and nothing else.
#[test]
fn a_broker_that_is_replaced_costs_what_it_had_not_delivered() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let daemon = bench.connected();
    let runtime = runtime();
    let before = runtime.block_on(async {
        let mut fleet = Fleet::connect(bench.broker.port).await;
        fleet.publish_over(300, Duration::from_secs(1)).await;
        fleet.flush().await;
        fetch(bench.broker.port, "collector", None, 300).await;
        fleet.published
    });
    bench.broker.replace();
    eventually("it is connected again", || {
        daemon.log().matches("connected to the broker").count() > 1
    });
    let report = || report(&bench);
    eventually("the loss is counted", || report().sessions_lost == 1);
    runtime.block_on(async {
        let fleet = Fleet::connect(bench.broker.port).await;
        // The same values as before, and now under new packet ids: no duplicates.
        for message in before.iter().take(100) {
            fleet.say(&message.topic, &message.payload).await;
        }
        let all = fetch(bench.broker.port, "collector", None, 400).await;
        assert_eq!(all.records.len(), 400);
    });
}

/// Puts the journal on a disk of its own, a small one; none where nothing can be mounted.
pub(crate) fn small_disk(bench: &Bench, change: impl FnOnce(&mut Settings)) -> Option<Mounted> {
    let folder = bench.path("small");
    std::fs::create_dir(&folder).unwrap();
    let journal = folder.join("journal").display().to_string();
    let mounted = Mounted::tmpfs(folder)?;
    bench.settings(|settings| {
        settings.folder = journal;
        change(settings);
    });
    Some(mounted)
}

/// Guarantee 7: nothing is acknowledged that is not on disk, and the broker keeps it meanwhile.
#[test]
fn a_full_disk_holds_messages_in_the_broker_until_there_is_room() {
    let Some(bench) = Bench::new() else { return };
    let Some(mounted) = small_disk(&bench, |_| {}) else {
        return;
    };
    let _daemon = bench.connected();
    runtime().block_on(async {
        let mut fleet = Fleet::connect(bench.broker.port).await;
        fleet.publish_over(100, Duration::from_millis(200)).await;
        let ballast = mounted.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        // More than the room made ahead takes, and than a window.
        fleet.publish_over(20_000, Duration::from_secs(2)).await;
        fleet.flush().await;
        eventually("it says so", || !report(&bench).journal.problem.is_empty());
        drop(file);
        std::fs::remove_file(ballast).unwrap();
        let all = fetch(bench.broker.port, "collector", None, 20_100).await;
        // Times are not judged: without a ticker nobody knows when they came.
        check(&fleet.published, &all, 60_000);
        eventually("all is well again", || {
            report(&bench).journal.problem.is_empty()
        });
    });
}

/// A small file system in memory.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    fn tmpfs(folder: PathBuf) -> Option<Mounted> {
        let arguments = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
        let mounted = Command::new("mount").args(arguments).arg(&folder).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Mounted(folder));
        }
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let why = "a small file system can be mounted by root only";
        let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: the daemon may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub(crate) fn report(bench: &Bench) -> Report {
    let path = bench.path("report.json");
    drop(std::fs::remove_file(&path));
    eventually("there is a report", || path.exists());
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
