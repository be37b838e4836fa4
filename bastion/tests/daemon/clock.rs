//! 4. Clocks that are wrong, set, and set again: the daemon with a clock of the test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bastion::clock::Clock;
use bastion::daemon::{self, Options, Sign};
use bastion::journal::Place;
use site::record::{ClockSource, Id};
use tokio::sync::oneshot;

use crate::fleet::{Fleet, runtime};
use crate::outage::report;
use crate::reader::{All, fetch};
use crate::{Bench, eventually};

const S: i64 = 1_000_000_000;

/// A clock that goes on by itself, and can be set.
struct Own {
    started: Instant,
    boot_ns: AtomicU64,
    /// Added to the time since boot.
    wall_ns: AtomicI64,
    synchronised: AtomicBool,
}

impl Own {
    fn new(wall_ns: i64) -> Arc<Own> {
        Arc::new(Own {
            started: Instant::now(),
            boot_ns: AtomicU64::new(10_000_000_000),
            wall_ns: AtomicI64::new(wall_ns),
            synchronised: AtomicBool::new(false),
        })
    }
}

impl Clock for Own {
    fn boot_ns(&self) -> u64 {
        let on = u64::try_from(self.started.elapsed().as_nanos()).unwrap();
        self.boot_ns.load(Relaxed) + on
    }

    fn wall_ns(&self) -> i64 {
        self.wall_ns.load(Relaxed) + i64::try_from(self.boot_ns()).unwrap()
    }

    fn is_synchronised(&self) -> bool {
        self.synchronised.load(Relaxed)
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

/// A daemon in a thread of this process, subscribed.
fn start(bench: &Bench, clock: Arc<Own>, boot: u8) -> Running {
    let settings = daemon::read_settings(&bench.path("daemon.json")).unwrap();
    let options = Options {
        settings,
        password: "abcd".to_owned(),
        clock,
        boot: Id([boot; 16]),
        place: Place(1),
        report: Some(bench.path("report.json")),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, subscribed) = std::sync::mpsc::channel();
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
    subscribed.recv_timeout(Duration::from_secs(30)).unwrap();
    Running { stop, thread }
}

impl Running {
    fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// Publishes so many messages and waits until the broker has them; wall times as `offset` gives them.
async fn publish(fleet: &mut Fleet, count: u32, clock: &Own, offset: i64) -> std::ops::Range<i64> {
    let now = || i64::try_from(clock.boot_ns()).unwrap() + offset;
    let begin = now();
    fleet.publish_over(count, Duration::from_millis(200)).await;
    fleet.flush().await;
    // A burst that began before shares its time, and may be half a second old.
    begin - S / 2..now() + S
}

#[track_caller]
fn check(all: &All, records: std::ops::Range<usize>, times: &std::ops::Range<i64>) {
    for record in &all.records[records] {
        assert!(
            times.contains(&record.time_ns),
            "{record:?} not in {times:?}"
        );
    }
}

#[test]
fn a_clock_that_is_set_late_and_stepped_moves_no_reading() {
    let Some(bench) = Bench::new() else { return };
    bench.settings(|settings| settings.trust_clock = false);
    // 1970, as a Pi may come up.
    let clock = Own::new(0);
    let running = start(&bench, Arc::clone(&clock), 1);
    runtime().block_on(async {
        let port = bench.broker.port;
        let mut fleet = Fleet::connect(port).await;
        let right = 1_800_000_000 * S;
        let first = publish(&mut fleet, 20, &clock, right).await;
        // The time service answers.
        clock.wall_ns.store(right, Relaxed);
        clock.synchronised.store(true, Relaxed);
        let all = fetch(port, "collector", None, 20).await;
        check(&all, 0..20, &first);
        // A step forward, and one back: neither is followed in this boot.
        clock.wall_ns.store(right + 3600 * S, Relaxed);
        let second = publish(&mut fleet, 20, &clock, right).await;
        clock.wall_ns.store(right - 7200 * S, Relaxed);
        let third = publish(&mut fleet, 20, &clock, right).await;
        // An hour of suspend, once all has arrived.
        fetch(port, "collector", None, 60).await;
        clock.boot_ns.fetch_add(3_600_000_000_000, Relaxed);
        let fourth = publish(&mut fleet, 20, &clock, right).await;
        let all = fetch(port, "collector", None, 80).await;
        assert_eq!(all.records.len(), 80);
        for (place, times) in [first, second, third, fourth].iter().enumerate() {
            check(&all, place * 20..place * 20 + 20, times);
        }
        assert!(
            all.records
                .iter()
                .all(|record| record.source == ClockSource::Synchronised)
        );
    });
    running.stop();
}

#[test]
fn a_boot_whose_clock_was_never_set_is_dated_by_the_next_one() {
    let Some(bench) = Bench::new() else { return };
    bench.settings(|settings| settings.trust_clock = false);
    let runtime = runtime();
    let clock = Own::new(0);
    let running = start(&bench, Arc::clone(&clock), 1);
    runtime.block_on(async {
        let mut fleet = Fleet::connect(bench.broker.port).await;
        publish(&mut fleet, 20, &clock, 0).await;
        eventually("all is recorded", || report(&bench).journal.newest == 20);
    });
    running.stop();
    // The next boot, whose clock is set.
    let right = 1_800_000_000 * S;
    let clock = Own::new(right);
    clock.synchronised.store(true, Relaxed);
    let running = start(&bench, Arc::clone(&clock), 2);
    runtime.block_on(async {
        let all = fetch(bench.broker.port, "collector", None, 20).await;
        assert_eq!(all.records.len(), 20);
        // It ended when this one began, and not long before.
        let began = right;
        check(&all, 0..20, &(began - 60 * S..began + S / 1000));
        assert!(
            all.records
                .iter()
                .all(|record| record.source == ClockSource::Estimated)
        );
    });
    running.stop();
}
