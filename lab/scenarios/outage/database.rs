//! The database fails in one way or another: it is down, answers errors, is slow, or loses connections.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::roles::{collector, database};
use lab::site_file::COLLECTOR_ACCOUNT;
use lab::topology::INFLUXDB;

use super::run::{again_and_again, answers, during, more_is_stored, reader};
use crate::shared::{Scenario, Stage, scenario};

/// How long something is away. It is the trouble itself, and no wait for anything.
const LENGTH: Duration = Duration::from_secs(10);
const ANSWERED: Duration = Duration::from_secs(40);
/// Fewer times prove too little.
const FEWEST: usize = 3;
/// Of the collector, whatever waits.
const MOST_MEMORY_KB: u64 = 64 << 10;
/// Where the stand-in listens on the collector's machine, one port for each answer.
const ANSWERS: [(u16, &str); 2] = [
    (9500, "500 Internal Server Error"),
    (9503, "503 Service Unavailable"),
];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "outage::database_answers_500_and_503",
            alone,
            database_answers_errors
        ),
        scenario!("outage::database_down", alone, database_down).only_in_full(),
        scenario!("outage::database_connections_torn", alone, connections_torn).only_in_full(),
        scenario!("outage::database_slow", alone, database_slow).only_in_full(),
    ]
}

/// A stand-in that answers everybody the same, without reading much of what is said.
async fn start_stand_in(lab: &Lab) -> Result<()> {
    for (port, answer) in ANSWERS {
        let script = format!(
            "while :; do
                 printf 'HTTP/1.1 {answer}\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nbusy\\n' |
                     nc -l -N 127.0.0.1 {port}
             done"
        );
        let name = format!("stand-in-{port}");
        lab.collector.spawn(&name, &["sh", "-c", &script]).await?;
    }
    Ok(())
}

async fn stop_stand_in(lab: &Lab) -> Result<()> {
    for (port, _) in ANSWERS {
        let name = format!("stand-in-{port}");
        lab.collector.end(&name, "KILL").await?;
    }
    // The one that waits for the next connection.
    lab.collector.run(&["pkill", "-KILL", "-x", "nc"]).await?;
    Ok(())
}

/// Leads what goes to the database to a port of the same machine, and resets what is under way.
async fn lead_to(lab: &Lab, port: u16) -> Result<()> {
    let database = lab.topology.lan.host(INFLUXDB).v4;
    lead_to_nobody_else(lab).await?;
    lab.collector
        .script(&format!(
            "nft 'table ip lab_outage {{
                 chain leads {{ type nat hook output priority -100;
                     ip daddr {database} tcp dport 8086 redirect to :{port}; }}
                 chain resets {{ type filter hook output priority 0;
                     ip daddr {database} tcp dport 8086 reject with tcp reset; }}
             }}'"
        ))
        .await
        .map(drop)
}

async fn lead_to_nobody_else(lab: &Lab) -> Result<()> {
    lab.collector
        .script("nft 'table ip lab_outage; delete table ip lab_outage'")
        .await
        .map(drop)
}

/// How often each answer was given.
async fn answered(lab: &Lab) -> Result<Vec<usize>> {
    let mut counts = Vec::new();
    for (port, _) in ANSWERS {
        // Bodies are compressed, and have no lines.
        let look = format!("grep -a -o 'POST /write' /var/log/stand-in-{port}.log | wc -l");
        let said = lab.collector.script(&look).await?;
        counts.push(said.trim().parse().context("counting answers")?);
    }
    Ok(counts)
}

/// Errors in turn with the database itself, which gets a part of it each time.
async fn database_answers_errors(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        start_stand_in(lab).await?;
        let turns = async {
            for (place, (port, answer)) in ANSWERS.iter().enumerate() {
                lead_to(lab, *port).await?;
                // The collector waits longer after each error.
                eventually(format!("two answers {answer}"), ANSWERED, || async {
                    let counts = answered(lab).await?;
                    Ok(match counts.get(place) {
                        Some(2..) => Look::Done(()),
                        _ => Look::NotYet(format!("{counts:?}")),
                    })
                })
                .await?;
                lead_to_nobody_else(lab).await?;
                more_is_stored(lab).await?;
            }
            answered(lab).await
        };
        // Whatever came of it, the database is reached again.
        let counts = turns.await;
        lead_to_nobody_else(lab).await?;
        stop_stand_in(lab).await?;
        counts
    };
    let (published, counts) = during(stage, LENGTH, trouble).await?;
    ensure!(
        counts.iter().all(|count| *count > 0),
        "proves nothing: the database's stand-in answered {counts:?} times"
    );
    let happened = format!("the database's stand-in answered 500 and 503 {counts:?} times");
    published.arrives(happened).await
}

async fn database_down(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        more_is_stored(lab).await?;
        lab.influxdb.end("influxd", "KILL").await?;
        tokio::time::sleep(LENGTH).await;
        ensure!(!answers(lab).await, "proves nothing: the database answers");
        database::start(&lab.influxdb).await
    };
    let (published, ()) = during(stage, 2 * LENGTH, trouble).await?;
    let happened = format!("database killed and away for {} s", LENGTH.as_secs());
    published.arrives(happened).await
}

/// What is under way breaks off in the middle, again and again: nobody knows what the database took.
async fn connections_torn(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let database = lab.topology.lan.host(INFLUXDB).v4;
    let tear = || async {
        lab.collector
            .script(&format!(
                "nft 'table ip lab_tears {{
                     counter torn {{ }}
                     chain resets {{ type filter hook output priority 0;
                         ip daddr {database} tcp dport 8086 ct state established
                         counter name torn reject with tcp reset; }}
                 }}'"
            ))
            .await?;
        // So long as something is on its way.
        let torn = eventually("a connection to be torn", ANSWERED, || async {
            let packets = torn(lab).await?;
            Ok(match packets {
                0 => Look::NotYet("no packet met the rule".to_owned()),
                _ => Look::Done(()),
            })
        })
        .await;
        lab.collector
            .script("nft delete table ip lab_tears")
            .await?;
        torn?;
        more_is_stored(lab).await
    };
    let trouble = again_and_again(LENGTH, LENGTH / 10, tear);
    let (published, tears) = during(stage, LENGTH, trouble).await?;
    ensure!(tears >= FEWEST, "proves nothing: only {tears} tears");
    let happened = format!("connections to the database torn {tears} times");
    published.arrives(happened).await
}

/// How many packets met the rule that tears.
async fn torn(lab: &Lab) -> Result<u64> {
    let said = lab
        .collector
        .script("nft list counter ip lab_tears torn | sed -n 's/.*packets \\([0-9]*\\).*/\\1/p'")
        .await?;
    said.trim().parse().context("reading the counter")
}

/// It stands still for most of the time, so what is fetched must wait, and in the journal: the
/// collector's memory is bounded.
async fn database_slow(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let most_waiting = tokio::sync::Mutex::new(0);
    let stand_still = || async {
        signal(lab, "STOP").await?;
        tokio::time::sleep(LENGTH / 4).await;
        let (report, reader) = reader(lab, COLLECTOR_ACCOUNT).await?;
        signal(lab, "CONT").await?;
        let waiting = report.journal.newest.saturating_sub(reader.taken);
        let mut most = most_waiting.lock().await;
        *most = waiting.max(*most);
        Ok(())
    };
    let trouble = async {
        more_is_stored(lab).await?;
        again_and_again(2 * LENGTH, LENGTH / 20, stand_still).await
    };
    let slowed = during(stage, 2 * LENGTH, trouble).await;
    // Whatever came of it, it goes on.
    signal(lab, "CONT").await?;
    let (published, times) = slowed?;
    let waited = *most_waiting.lock().await;
    ensure!(
        times >= FEWEST && waited > 0,
        "proves nothing: {times} times, {waited} records waited"
    );
    let peak = peak_memory(lab).await?;
    ensure!(
        peak <= MOST_MEMORY_KB,
        "the collector needed {peak} kB while the database was slow"
    );
    let happened = format!(
        "database stood still {times} times for {} s, up to {waited} records waited, collector {peak} kB at most",
        (LENGTH / 4).as_secs_f32()
    );
    published.arrives(happened).await
}

async fn signal(lab: &Lab, signal: &str) -> Result<()> {
    let script = format!("kill -{signal} $(cat /run/influxd.pid)");
    lab.influxdb.script(&script).await.map(drop)
}

/// The most memory that the collector ever had, in kB.
async fn peak_memory(lab: &Lab) -> Result<u64> {
    let look = format!(
        "sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB$/\\1/p' /proc/$(cat /run/{}.pid)/status",
        collector::NAME
    );
    let said = lab.collector.script(&look).await?;
    said.trim()
        .parse()
        .context("reading the collector's memory")
}
