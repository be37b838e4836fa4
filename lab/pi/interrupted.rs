//! The deployer is killed behind each step that it prints, and hears nothing of it. The bastion is
//! then as before or as it shall be, by itself, and the next run gets there.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lab::virtual_pi::BLANK;

use crate::deployed::{DEPLOYED, FIRST, LATER, well};
use crate::lockout::settled;
use crate::second::State;
use crate::stage::{Scenario, Stage, scenario};

/// Seconds for a confirmation that does not come.
const SHORT_WINDOW: &str = "40";

/// The steps of a deployment without packages, and what the machine is when the deployer dies
/// behind them.
const BEFORE: [&str; 4] = ["connect", "preflight", "transfer", "plan"];
const BEHIND: [(&str, State); 3] = [
    // Nobody confirms.
    ("apply", State::Old),
    ("confirm", State::New),
    ("verify", State::New),
];

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::deployer_killed_behind_apply", from DEPLOYED, behind_apply),
        scenario!("pi::deployer_killed_behind_every_step", from DEPLOYED, every_step)
            .only_in_full(),
        scenario!("pi::deployer_killed_behind_packages", from BLANK, behind_packages)
            .only_in_full(),
    ]
}

async fn behind_apply(stage: &Stage) -> Result<String> {
    behind(stage, "apply", State::Old).await
}

async fn every_step(stage: &Stage) -> Result<String> {
    let before = BEFORE.map(|step| (step, State::Old));
    let mut shown = String::new();
    for (step, then) in before.into_iter().chain(BEHIND) {
        shown.push_str("\n    ");
        shown.push_str(&behind(stage, step, then).await?);
    }
    Ok(shown)
}

async fn behind(stage: &Stage, step: &str, then: State) -> Result<String> {
    let start = Instant::now();
    let what = format!("the deployer is killed behind its step {step}");
    let second = stage.second().await?;
    stage.begin_from(DEPLOYED).await?;
    let access = second.folder(stage, "interrupted")?;
    let arguments = ["pi", "--yes", "--confirm-within", SHORT_WINDOW];
    let mut running = stage.start(&access, &arguments)?;
    running.wait_for(step, LATER).await?;
    running.kill().await?;
    settled(stage, LATER).await?;
    let state = second.state(stage, &what, &[]).await?;
    ensure!(
        state == then,
        "{what}: the machine is {state:?}, expected was {then:?}"
    );
    second.get_there(stage, &access, &what).await?;
    Ok(format!(
        "behind {step}: {state:?}, and the next run gets there, in {:.0} s",
        start.elapsed().as_secs_f32()
    ))
}

/// The first deployment of all, killed when its packages are installed: nothing of ours is there
/// yet, and the next run goes on from it.
async fn behind_packages(stage: &Stage) -> Result<String> {
    let access = stage.site("interrupted-first")?;
    let mut running = stage.start(&access, &["pi", "--yes"])?;
    running.wait_for("packages", FIRST).await?;
    running.kill().await?;
    settled(stage, LATER).await?;
    stage
        .machine()
        .at_console("[ ! -e /etc/shelly-bastion ]")
        .await
        .context("the deployer was killed before apply, and something of ours is there")?;
    let output = well(stage.deploy(&access, &[], FIRST).await?, "the next run")?;
    ensure!(
        !output.stderr.contains("] packages"),
        "the next run installs packages again: {}",
        output.stderr
    );
    Ok("nothing of ours was there, and the next run went on from the packages".to_owned())
}
