//! The broker is killed. It keeps nothing on disk, so something is lost; what exactly it may be is
//! computed from the fleet's own record, and nothing else may be missing.

use std::time::Duration;

use actors::ledger::Line;
use anyhow::{Result, ensure};
use lab::judge::{self, Gap};
use lab::roles::journal;
use lab::{Lab, eventually};
use site::manifest::MOSQUITTO_CONF_PATH;

use super::run::{Published, all_taken, during, more_is_stored, now_ns};
use crate::shared::{Scenario, Stage, scenario};

const LENGTH: Duration = Duration::from_secs(12);
/// So long does systemd wait before it starts the broker again.
const AWAY: Duration = Duration::from_secs(2);
const COMES_BACK: Duration = Duration::from_secs(30);
/// What the broker had, and the daemon had not yet: this is what the design allows for.
const ON_ITS_WAY_NS: u64 = 1_000_000_000;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("outage::broker_killed", alone, killed),
        scenario!("outage::broker_restarted", alone, restarted).only_in_full(),
        scenario!(
            "outage::broker_killed_while_the_daemon_is_away",
            alone,
            killed_with_a_backlog
        )
        .only_in_full(),
    ]
}

/// Ends the broker by a signal and starts another; gives when it was told to end, and when the new
/// one was started.
async fn replace(lab: &Lab, signal: &str) -> Result<(u64, u64)> {
    let killed_ns = now_ns();
    lab.bastion
        .script(&format!(
            "for pid in $(pidof mosquitto); do
                 kill -{signal} $pid
                 while kill -0 $pid 2>/dev/null; do sleep 0.05; done
             done"
        ))
        .await?;
    tokio::time::sleep(AWAY).await;
    let started_ns = now_ns();
    let command = ["mosquitto", "-c", MOSQUITTO_CONF_PATH];
    lab.bastion.spawn("mosquitto", &command).await?;
    Ok((killed_ns, started_ns))
}

/// Until the daemon hears a new session of the broker.
async fn heard_again(lab: &Lab, sessions_before: u64) -> Result<u64> {
    eventually::eventually("the daemon to hear the new broker", COMES_BACK, || async {
        let report = journal::report(&lab.bastion).await?;
        Ok(
            if report.connected && report.sessions_lost > sessions_before {
                eventually::Look::Done(now_ns())
            } else {
                eventually::Look::NotYet(format!(
                    "connected {}, {} sessions lost",
                    report.connected, report.sessions_lost
                ))
            },
        )
    })
    .await
}

/// Judges a run in which meters were cut off, and the broker lost at most what came in these gaps.
pub(super) async fn judged(
    published: &Published<'_>,
    gaps: &[Gap],
    happened: &str,
) -> Result<String> {
    let broken = published
        .ledger
        .iter()
        .filter(|line| matches!(line, Line::Lost(_)))
        .count();
    ensure!(broken > 0, "proves nothing: no meter lost its connection");
    judged_within(judge::TOLERANCE_NS, published, gaps, happened).await
}

/// The same within so many ns, whether any was cut off or not.
pub(super) async fn judged_within(
    tolerance_ns: u64,
    published: &Published<'_>,
    gaps: &[Gap],
    happened: &str,
) -> Result<String> {
    all_taken(published.lab).await?;
    let mut stored = published.stored().await?;
    let wills = judge::take_wills(&mut stored, &published.sent);
    let difference = judge::compare_within(tolerance_ns, &published.sent, &stored);
    let missing = judge::excuse(&difference, &published.ledger, gaps);
    ensure!(
        missing.unexplained.is_empty()
            && [&difference.doubled, &difference.moved, &difference.invented]
                .iter()
                .all(|list| list.is_empty()),
        "promise broken: {happened}; {difference}; not explained: {:?}",
        missing.unexplained.iter().take(5).collect::<Vec<_>>()
    );
    let verdict = format!(
        "{} readings compared, and {wills} wills that the broker said for meters: {} on connections that broke unanswered, {} that the broker had taken in \
         {:.1} s and not delivered, 0 lost beside these, 0 doubled, 0 moved, 0 invented; largest shift {} ms",
        difference.compared,
        missing.never_vouched,
        missing.with_the_broker,
        seconds(gaps),
        difference.largest_shift_ns / 1_000_000
    );
    Ok(published.said(happened, verdict))
}

fn seconds(gaps: &[Gap]) -> f32 {
    let length = gaps.iter().map(|gap| gap.1 - gap.0).sum();
    Duration::from_nanos(length).as_secs_f32()
}

async fn killed(stage: &Stage) -> Result<String> {
    ended_by(stage, "KILL", "broker killed and replaced").await
}

/// As its unit restarts it: it takes leave of everybody, and keeps nothing all the same.
async fn restarted(stage: &Stage) -> Result<String> {
    ended_by(stage, "TERM", "broker told to end, and started anew").await
}

async fn ended_by(stage: &Stage, signal: &str, happened: &str) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        more_is_stored(lab).await?;
        let before = journal::report(&lab.bastion).await?.sessions_lost;
        let (ended_ns, started_ns) = replace(lab, signal).await?;
        let heard_ns = heard_again(lab, before).await?;
        // What it had when it ended, and what the new one took before anybody heard it.
        Ok([
            (ended_ns.saturating_sub(ON_ITS_WAY_NS), ended_ns),
            (started_ns, heard_ns),
        ])
    };
    let (published, gaps) = during(stage, LENGTH, trouble).await?;
    judged(&published, &gaps, happened).await
}

/// What waits in the broker for a daemon that is away is gone with it: all of that, and no more.
async fn killed_with_a_backlog(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        more_is_stored(lab).await?;
        let away_ns = now_ns();
        lab.bastion.end(journal::DAEMON, "KILL").await?;
        tokio::time::sleep(LENGTH / 4).await;
        replace(lab, "KILL").await?;
        journal::start_daemon(&lab.bastion).await?;
        Ok((away_ns.saturating_sub(2 * ON_ITS_WAY_NS), now_ns()))
    };
    let (published, gap) = during(stage, 2 * LENGTH, trouble).await?;
    let happened = format!(
        "broker killed when the daemon had been away for {} s",
        LENGTH.as_secs() / 4
    );
    judged(&published, &[gap], &happened).await
}
