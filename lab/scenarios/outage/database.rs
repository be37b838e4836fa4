//! What stands around the collector fails: the database, and the link.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::probe::{Outcome, attempt, tcp};
use lab::roles::database;
use lab::topology::{BASTION, INFLUXDB};
use site::flow::MQTT_PORT;

use super::run::{answers, during, more_is_stored};
use crate::shared::{Scenario, Stage, scenario};

/// How long something is away. It is the trouble itself, and no wait for anything.
const LENGTH: Duration = Duration::from_secs(10);
const ANSWERED: Duration = Duration::from_secs(40);
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
        scenario!("outage::link_cut_and_healed", alone, link_cut).only_in_full(),
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

/// As when somebody pulls the collector's cable: nothing is refused, nothing comes.
async fn link_cut(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        more_is_stored(lab).await?;
        ensure!(
            reaches(lab).await?,
            "proves nothing: the link was cut before"
        );
        lab.collector
            .script(
                "nft 'table inet lab_cable {
                     chain in { type filter hook input priority -300; policy drop; iif lo accept; }
                     chain out { type filter hook output priority -300; policy drop; oif lo accept; }
                 }'",
            )
            .await?;
        tokio::time::sleep(LENGTH).await;
        let reaches = reaches(lab).await?;
        lab.collector
            .script("nft delete table inet lab_cable")
            .await?;
        ensure!(!reaches, "proves nothing: the link is not cut");
        Ok(())
    };
    let (published, ()) = during(stage, 2 * LENGTH, trouble).await?;
    let happened = format!("the collector's link cut for {} s", LENGTH.as_secs());
    published.arrives(happened).await
}

/// Whether the collector's machine can begin a connection to the broker.
async fn reaches(lab: &Lab) -> Result<bool> {
    let broker = tcp(lab.topology.dmz.host(BASTION).v4, MQTT_PORT);
    let outcomes = attempt(&lab.collector, "root", &[broker]).await?;
    Ok(outcomes.iter().all(Outcome::got_through))
}
