//! The project's own programs are killed, or away.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Lab;
use lab::roles::{collector, journal};

use super::run::{again_and_again, during, more_is_stored};
use crate::shared::{Scenario, Stage, scenario};

const LENGTH: Duration = Duration::from_secs(10);
/// A killed daemon is away for a while each time.
const LONGER: Duration = Duration::from_secs(14);
const BETWEEN_KILLS: Duration = Duration::from_secs(2);
const FEWEST_KILLS: usize = 2;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "outage::collector_killed_every_two_seconds",
            alone,
            collector_killed
        ),
        scenario!(
            "outage::daemon_killed_every_two_seconds",
            alone,
            daemon_killed
        ),
        scenario!(
            "outage::collector_away_for_half_the_time",
            alone,
            collector_away
        ),
        scenario!(
            "outage::collector_and_daemon_killed_every_two_seconds",
            alone,
            both_killed
        )
        .only_in_full(),
    ]
}

async fn kill_collector(lab: &Lab) -> Result<()> {
    lab.collector.end(collector::NAME, "KILL").await?;
    collector::spawn(&lab.collector).await
}

async fn kill_daemon(lab: &Lab) -> Result<()> {
    lab.bastion.end(journal::DAEMON, "KILL").await?;
    // So long does systemd wait, too.
    tokio::time::sleep(BETWEEN_KILLS).await;
    journal::start_daemon(&lab.bastion).await
}

async fn collector_killed(stage: &Stage) -> Result<String> {
    let kill = || kill_collector(&stage.lab);
    let trouble = again_and_again(LENGTH, BETWEEN_KILLS, kill);
    let (published, kills) = during(stage, LENGTH, trouble).await?;
    ensure!(kills >= FEWEST_KILLS, "only {kills} kills");
    let happened = format!("collector killed {kills} times");
    published.arrives(happened).await
}

/// What was dated by ticks proves that messages waited for a daemon that was not there.
async fn daemon_killed(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let dated = tokio::sync::Mutex::new(0);
    let kill = || async {
        *dated.lock().await += dated_by_ticks(lab).await?;
        kill_daemon(lab).await
    };
    let trouble = again_and_again(LONGER, BETWEEN_KILLS, kill);
    let (published, kills) = during(stage, LONGER, trouble).await?;
    let dated = *dated.lock().await;
    ensure!(
        kills >= FEWEST_KILLS && dated > 0,
        "only {kills} kills, {dated} messages waited"
    );
    let happened = format!(
        "daemon killed {kills} times and away for two seconds each, {dated} messages and more dated by ticks"
    );
    published.arrives(happened).await
}

async fn dated_by_ticks(lab: &Lab) -> Result<u64> {
    Ok(journal::report(&lab.bastion).await?.counted.dated_by_ticks)
}

async fn both_killed(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let kill = || async {
        kill_collector(lab).await?;
        kill_daemon(lab).await
    };
    let trouble = again_and_again(2 * LONGER, BETWEEN_KILLS, kill);
    let (published, kills) = during(stage, 2 * LONGER, trouble).await?;
    ensure!(kills >= FEWEST_KILLS, "only {kills} kills");
    let happened = format!("collector and daemon killed {kills} times");
    published.arrives(happened).await
}

/// It comes back by itself only because nobody else starts it: the second half is its own.
async fn collector_away(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        more_is_stored(lab).await?;
        lab.collector.end(collector::NAME, "TERM").await?;
        let before = journal::report(&lab.bastion).await?.journal.newest;
        tokio::time::sleep(LENGTH / 2).await;
        let after = journal::report(&lab.bastion).await?.journal.newest;
        collector::start(&lab.collector).await?;
        Ok(after - before)
    };
    let (published, waited) = during(stage, LENGTH, trouble).await?;
    ensure!(waited > 0, "proves nothing: no record waited");
    let happened = format!("collector away for half of it, while {waited} records and more waited");
    published.arrives(happened).await
}
