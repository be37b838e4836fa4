//! A long run in which the project's own programs are killed at random moments, a hundred times.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::judge;
use lab::roles::{collector, journal};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use super::run::during;
use crate::shared::{Scenario, Stage, scenario};

/// Enough for the kills on a slow host.
const LENGTH: Duration = Duration::from_secs(330);
const KILLS: usize = 100;
/// Between two kills at most; a daemon is away at most so long as well.
const MOST_MS: u64 = 1500;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![scenario!("outage::soak_of_a_hundred_kills", alone, soak).only_in_full()]
}

/// What was killed how often.
#[derive(Default)]
struct Killed {
    collector: usize,
    daemon: usize,
}

async fn soak(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let seed = lab.artifacts.seed;
    let trouble = async {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut killed = Killed::default();
        let start = Instant::now();
        while start.elapsed() < LENGTH && killed.collector + killed.daemon < KILLS {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..MOST_MS))).await;
            if random.random_range(0..2) == 0 {
                lab.collector.end(collector::NAME, "KILL").await?;
                collector::spawn(&lab.collector).await?;
                killed.collector += 1;
            } else {
                lab.bastion.end(journal::DAEMON, "KILL").await?;
                let away = Duration::from_millis(random.random_range(0..MOST_MS));
                tokio::time::sleep(away).await;
                journal::start_daemon(&lab.bastion).await?;
                killed.daemon += 1;
            }
        }
        Ok(killed)
    };
    let (published, Killed { collector, daemon }) = during(stage, LENGTH, trouble).await?;
    ensure!(
        collector + daemon == KILLS && collector > 0 && daemon > 0,
        "proves nothing: collector killed {collector} times and daemon {daemon} times in {} s",
        LENGTH.as_secs()
    );
    let happened = format!(
        "collector killed {collector} times and daemon {daemon} times at random moments (--seed {seed})"
    );
    published
        .arrives_within(judge::ACROSS_A_RESTART_NS, happened)
        .await
}
