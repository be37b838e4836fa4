//! The same trouble for a collector that reads the broker and not the journal: how much the journal
//! is good for. Printed in the same form, and judged only by whether it was shown at all.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use deploy::render::COLLECTOR_FOLDER;
use lab::Lab;
use lab::judge::{self, Difference};
use lab::node::Upload;
use lab::roles::collector;

use super::run::{Published, again_and_again, all_run, during};
use crate::shared::{Scenario, Stage, scenario};

const LENGTH: Duration = Duration::from_secs(12);
const BETWEEN_KILLS: Duration = Duration::from_secs(2);
/// What is not there by then does not come.
const SETTLES: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "outage::contrast_broker_source_killed_every_two_seconds",
            alone,
            broker_source_killed
        )
        .only_in_full(),
        scenario!(
            "outage::contrast_broker_source_away_for_half_the_time",
            alone,
            broker_source_away
        )
        .only_in_full(),
    ]
}

/// The two ways to name what the collector reads.
const JOURNAL: &str = "[[bastion]]";
const BROKER: &str = "[broker]";

/// Lets the collector read this from its next start on, in place of the other.
async fn read_from(lab: &Lab, other: &str, this: &str) -> Result<()> {
    lab.collector.end(collector::NAME, "TERM").await?;
    let path = format!("{COLLECTOR_FOLDER}/collector.toml");
    let text = lab.collector.run(&["cat", &path]).await?;
    ensure!(
        text.lines().filter(|line| *line == other).count() == 1,
        "the settings do not have one {other}"
    );
    let content = text.replace(other, this).into_bytes();
    let mode = 0o600;
    lab.collector
        .upload(&[Upload {
            path,
            mode,
            content,
        }])
        .await?;
    collector::start(&lab.collector).await
}

async fn compared(
    stage: &Stage,
    happened: &str,
    trouble: impl Future<Output = Result<()>>,
) -> Result<String> {
    let lab = &stage.lab;
    all_run(lab).await?;
    read_from(lab, JOURNAL, BROKER).await?;
    let compared = match during(stage, LENGTH, trouble).await {
        Ok((published, ())) => {
            let difference = settled(&published).await?;
            ensure!(difference.compared > 0, "nothing was compared");
            let verdict = difference.to_string();
            let first = verdict.lines().next().unwrap_or_default();
            Ok(published.said(happened, format!("NOT the journal: {first}")))
        }
        Err(error) => Err(error),
    };
    read_from(lab, BROKER, JOURNAL).await?;
    compared
}

/// The difference when everything has come, or nothing more does.
async fn settled(published: &Published<'_>) -> Result<Difference> {
    let end = Instant::now() + SETTLES;
    loop {
        let difference = judge::compare(&published.sent, &published.stored().await?);
        if difference.lost.is_empty() || Instant::now() >= end {
            return Ok(difference);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn broker_source_killed(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let kill = || async {
        lab.collector.end(collector::NAME, "KILL").await?;
        collector::spawn(&lab.collector).await
    };
    let trouble = async {
        again_and_again(LENGTH, BETWEEN_KILLS, kill).await?;
        Ok(())
    };
    compared(stage, "collector of the broker killed", trouble).await
}

async fn broker_source_away(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let trouble = async {
        // There is no cursor that tells how far it is.
        tokio::time::sleep(LENGTH / 4).await;
        lab.collector.end(collector::NAME, "TERM").await?;
        tokio::time::sleep(LENGTH / 2).await;
        collector::start(&lab.collector).await
    };
    compared(
        stage,
        "collector of the broker away for half of it",
        trouble,
    )
    .await
}
