//! Deploying again: nothing to do, the program alone, one more meter. Meters that are connected
//! notice none of it.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lab::judge::ACROSS_A_RESTART_NS;
use lab::node::Output;
use site::answer::UnitAction;
use site::manifest::PROGRAM_PATH;

use crate::deployed::{change_site, one_more_meter, seconds_of};
use crate::flow::{Flow, JOURNAL_UNITS};
use crate::listing::Listing;
use crate::stage::Stage;

const BROKER: &str =
    "systemctl show --property=MainPID,NRestarts,ActiveEnterTimestampMonotonic mosquitto.service";
const NEW_METER: &str = "shellyem-D3FFFF";

pub(super) async fn second(stage: &Stage) -> Result<String> {
    let access = stage.again("second").await?;
    let before = Listing::of(stage.machine()).await?;
    let start = Instant::now();
    let output = stage.deploy_well(&access).await?;
    let took = start.elapsed();
    let after = Listing::of(stage.machine()).await?;
    ensure!(
        output.stdout.contains("nothing to do"),
        "it does not say that nothing is to do: {}",
        output.stdout
    );
    // Not even the history is written.
    before.ensure_same(&after, "a second deployment")?;
    Ok(format!(
        "0 changes in {:.1} s (at most 10 s is what is asked for on a real Pi): {}; {} things are as before",
        took.as_secs_f32(),
        times(
            &output,
            &["connect", "preflight", "transfer", "plan", "verify"]
        ),
        after.len()
    ))
}

/// Another program is one whose bytes differ; the loader does not read what stands behind.
pub(super) async fn program_alone(stage: &Stage) -> Result<String> {
    let access = stage.again("program").await?;
    let flow = Flow::begin(stage, &access).await?;
    flow.start().await?;
    let built = &stage.lab.artifacts.bastion;
    let mut program = fs::read(built).with_context(|| format!("reading {}", built.display()))?;
    program.extend_from_slice(b"another version");
    let other = access.folder.join("bastion");
    fs::write(&other, program).with_context(|| format!("writing {}", other.display()))?;

    let broker = stage.machine().at_console(BROKER).await?;
    let hash = format!("sha256sum {PROGRAM_PATH}");
    let before = stage.machine().at_console(&hash).await?;
    let (_, plan) = stage.dry_run(&access).await?;
    let paths: Vec<&str> = plan.files.iter().map(|file| file.path.as_str()).collect();
    let units: Vec<(&str, UnitAction)> = plan
        .units
        .iter()
        .map(|unit| (unit.name.as_str(), unit.action))
        .collect();
    ensure!(
        paths.contains(&PROGRAM_PATH)
            && units == JOURNAL_UNITS.map(|name| (name, UnitAction::Restart))
            && plan.firewall.is_none(),
        "another program changes more than files and its own units: {plan:?}"
    );
    let output = stage.deploy_well(&access).await?;
    ensure!(
        stage.machine().at_console(&hash).await? != before,
        "the program in place is the old one"
    );
    let after = stage.machine().at_console(BROKER).await?;
    ensure!(
        after == broker,
        "promise broken: the broker was {broker} and is {after}"
    );
    let verdict = flow.end(ACROSS_A_RESTART_NS).await?;
    Ok(format!(
        "{} changed; journal and ticker started afresh, same broker process; {verdict}, no connection lost ({})",
        paths.join(", "),
        times(&output, &["transfer", "apply", "confirm"])
    ))
}

pub(super) async fn one_more(stage: &Stage) -> Result<String> {
    let access = stage.again("one-more").await?;
    let flow = Flow::begin(stage, &access).await?;
    flow.start().await?;
    let broker = stage.machine().at_console(BROKER).await?;
    change_site(&access, |text| one_more_meter(text, NEW_METER))?;
    let start = Instant::now();
    let output = stage.deploy_well(&access).await?;
    let took = start.elapsed();
    let after = stage.machine().at_console(BROKER).await?;
    ensure!(
        after == broker,
        "promise broken: the broker was {broker} and is {after}"
    );
    let verdict = flow.end(ACROSS_A_RESTART_NS).await?;
    // The collector, too, has to be told of a new meter.
    let flow = Flow::begin(stage, &access).await?;
    let with_the_new_one = flow.publish(6_000).await?;
    Ok(format!(
        "{:.1} s without a build (at most 15 s is what is asked for on a real Pi; {}); meanwhile {verdict}, \
         no connection lost; then {with_the_new_one}",
        took.as_secs_f32(),
        times(
            &output,
            &[
                "connect",
                "preflight",
                "transfer",
                "plan",
                "apply",
                "confirm",
                "verify"
            ]
        )
    ))
}

fn times(output: &Output, steps: &[&str]) -> String {
    let times: Vec<String> = steps
        .iter()
        .filter_map(|step| Some(format!("{step} {:.1} s", seconds_of(output, step)?)))
        .collect();
    times.join(", ")
}
