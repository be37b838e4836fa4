//! `cargo xtask lab --mutate`: the policy made wrong in one place after the other, and the scenario
//! that notices each. One lab stands for all of them, and each ends with the first failure.
//!
//! Only scenarios of traffic count: that the loaded rules differ from the rendered ones would be
//! noticed by `bastion verify` each time, and shows nothing.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::artifacts::{Artifacts, Tier};
use lab::mutation::{self, Mutation, Untried};
use lab::proof::{self, Line};
use lab::roles::bastion;
use lab::runner::Stage as _;
use lab::topology::ROUTER;
use site::flow::Policy;
use tokio::runtime::Runtime;

use crate::shared::{MATRIX, Scenario, Stage};

/// Modules whose scenarios judge what the rules do to packets, within seconds.
const TRAFFIC: [&str; 10] = [
    "isolation",
    "admin_access",
    "outbound",
    "updates",
    "loopback",
    "groups",
    "limits",
    "masqueraded",
    "guide_tests",
    "guide_defects",
];
/// A scenario that has not ended by then is noticed, too: something hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// The scenario that judges what holds when the rest is let out.
const OPEN_END: &str = "isolation::refusals_hold_whatever_else_is_let_out";

/// Runs the command if it was asked for.
pub(crate) fn run(scenarios: &[Scenario]) -> Option<ExitCode> {
    let artifacts = Artifacts::read(|name| std::env::var(name).ok()).ok()??;
    let filter = artifacts.mutate.clone()?;
    if artifacts.tier() != Tier::Containers {
        return None;
    }
    let outcome = Runtime::new()
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(whole(artifacts, &filter, scenarios)));
    Some(match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    })
}

/// What came of one wrong policy.
enum Fate {
    /// This scenario failed, with this message.
    Noticed(&'static str, String),
    /// No packet can have another fate.
    Same(String),
    /// Another change that is tried comes to the same.
    Known(String),
    /// No scenario failed, and this is why.
    Excused(String),
    /// No scenario failed.
    Survived,
}

async fn whole(artifacts: Artifacts, filter: &str, scenarios: &[Scenario]) -> Result<bool> {
    let judges: Vec<Scenario> = scenarios
        .iter()
        .filter(|scenario| judges(scenario))
        .copied()
        .collect();
    let mut stage = Stage::set(artifacts, &judges).await?;
    let outcome = judged(&mut stage, filter, &judges).await;
    stage.end().await?;
    outcome
}

fn judges(scenario: &Scenario) -> bool {
    let module = scenario.name.split("::").next().unwrap_or_default();
    let measured = scenario.needs.is_none_or(|what| what == MATRIX);
    TRAFFIC.contains(&module) && measured && !scenario.only_in_full
}

async fn judged(stage: &mut Stage, filter: &str, scenarios: &[Scenario]) -> Result<bool> {
    // The rules for a router that masquerades are judged as well.
    stage.lab.description.masquerades_as = stage.lab.topology.dmz.host(ROUTER).both().into();
    let whole = Policy::of(&stage.lab.site, &stage.lab.description);
    let mutations = mutation::all(&whole);
    let chosen = mutations
        .iter()
        .filter(|each| each.change.to_string().contains(filter));
    let chosen: Vec<&Mutation> = chosen.collect();
    ensure!(
        !chosen.is_empty(),
        "no change of the policy has {filter} in its name"
    );
    stage.reader().await?;
    control(stage, &whole, scenarios).await?;
    let mut fates = Vec::new();
    for mutation in chosen {
        let begun = Instant::now();
        let fate = fate(stage, mutation, scenarios).await?;
        println!(
            "[{:5.1} s] {}: {}",
            begun.elapsed().as_secs_f32(),
            mutation.change,
            in_words(&fate)
        );
        if matches!(fate, Fate::Noticed(..)) {
            recovered(stage, &whole, scenarios).await?;
        }
        fates.push((mutation, fate));
    }
    let attempts = |scenario: &&Scenario| scenario.needs == Some(MATRIX);
    let by_attempts: Vec<Scenario> = scenarios.iter().filter(attempts).copied().collect();
    control(stage, &whole, &by_attempts).await?;
    Ok(summed_up(&fates))
}

/// With the whole policy nothing may fail, or a failure without a rule shows nothing.
async fn control(stage: &mut Stage, whole: &Policy, scenarios: &[Scenario]) -> Result<()> {
    load(stage, whole).await?;
    if let Some(matrix) = &mut stage.matrix {
        matrix.again(&stage.lab).await?;
    }
    open_end(stage).await?;
    for scenario in scenarios {
        let failed = fails(stage, scenario).await;
        if let Some(message) = failed {
            anyhow::bail!(
                "proves nothing: {} fails with the whole policy: {message}",
                scenario.name
            );
        }
    }
    stage
        .lab
        .steps
        .done("control: every judge passes with the whole policy");
    Ok(())
}

/// Connections that a wrong policy has cut are there again.
async fn recovered(stage: &mut Stage, whole: &Policy, scenarios: &[Scenario]) -> Result<()> {
    const HEARS: &str = "guide_tests::subscribing_from_the_lan_works_with_a_readers_account";
    load(stage, whole).await?;
    let hears = scenarios.iter().find(|scenario| scenario.name == HEARS);
    let hears = hears.with_context(|| format!("there is no scenario {HEARS}"))?;
    for _ in 0..6 {
        // It waits for what shall be heard.
        if fails(stage, hears).await.is_none() {
            return Ok(());
        }
    }
    anyhow::bail!(
        "proves nothing from here on: the reader does not come back with the whole policy"
    )
}

async fn load(stage: &mut Stage, policy: &Policy) -> Result<()> {
    stage.lab.policy = policy.clone();
    bastion::load(&stage.lab.bastion, &stage.lab.render(policy)?).await
}

/// Makes the attempts of that arm, and loads the lab's policy again.
async fn open_end(stage: &mut Stage) -> Result<()> {
    if let Some(matrix) = &mut stage.matrix {
        matrix.again_with_an_open_end(&stage.lab).await?;
    }
    bastion::load(&stage.lab.bastion, &stage.lab.render(&stage.lab.policy)?).await
}

/// The message of a scenario that fails.
async fn fails(stage: &Stage, scenario: &Scenario) -> Option<String> {
    match tokio::time::timeout(PATIENCE, (scenario.body)(stage)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some(format!("has not ended within {} s", PATIENCE.as_secs())),
    }
}

async fn fate(stage: &mut Stage, mutation: &Mutation, scenarios: &[Scenario]) -> Result<Fate> {
    match &mutation.untried {
        Some(Untried::Same(why)) => return Ok(Fate::Same(why.clone())),
        Some(Untried::As(other)) => return Ok(Fate::Known(other.clone())),
        None => {}
    }
    load(stage, &mutation.policy).await?;
    // First those that the page names for the rules, then the attempts, which take one measurement
    // for all, then the others.
    let lines: Vec<Line> = mutation
        .touched
        .iter()
        .filter_map(|rule| proof::of_rule(rule))
        .collect();
    let named = |scenario: &Scenario| {
        let line = lines
            .iter()
            .position(|line| line.is_proven_by(scenario.name));
        line.map_or(lines.len(), |line| line.min(1))
    };
    let mut order: Vec<&Scenario> = scenarios.iter().collect();
    order.sort_by_key(|scenario| {
        let by_attempts = scenario.needs == Some(MATRIX);
        (named(scenario), !by_attempts, scenario.name == OPEN_END)
    });
    let mut measured = false;
    for scenario in order {
        if scenario.needs == Some(MATRIX) && !measured {
            measured = true;
            if let Some(matrix) = &mut stage.matrix {
                matrix.again(&stage.lab).await?;
            }
        }
        if scenario.name == OPEN_END {
            open_end(stage).await?;
        }
        if let Some(message) = fails(stage, scenario).await {
            return Ok(Fate::Noticed(scenario.name, message));
        }
    }
    Ok(mutation
        .change
        .excuse()
        .map_or(Fate::Survived, Fate::Excused))
}

fn in_words(fate: &Fate) -> String {
    match fate {
        Fate::Noticed(scenario, message) => {
            let message = message.lines().next().unwrap_or_default();
            format!("noticed by {scenario}: {message}")
        }
        Fate::Same(why) => format!("the same policy: {why}"),
        Fate::Known(other) => format!("as {other}"),
        Fate::Excused(why) => format!("not noticed; {why}"),
        Fate::Survived => "NOT NOTICED".to_owned(),
    }
}

/// Prints the figures; tells whether all that was not noticed is explained.
fn summed_up(fates: &[(&Mutation, Fate)]) -> bool {
    let of_kind = |kind: &str, fits: fn(&Fate) -> bool| {
        let of_kind = fates
            .iter()
            .filter(|(mutation, _)| mutation.change.kind() == kind);
        of_kind.filter(|(_, fate)| fits(fate)).count()
    };
    println!(
        "\n                 changes  noticed  same policy  as another  explained  unexplained"
    );
    let mut kinds: Vec<&str> = Vec::new();
    for (mutation, _) in fates {
        if !kinds.contains(&mutation.change.kind()) {
            kinds.push(mutation.change.kind());
        }
    }
    for kind in kinds {
        println!(
            "{kind:<15} {:>8} {:>8} {:>12} {:>11} {:>10} {:>12}",
            of_kind(kind, |_| true),
            of_kind(kind, |fate| matches!(fate, Fate::Noticed(..))),
            of_kind(kind, |fate| matches!(fate, Fate::Same(_))),
            of_kind(kind, |fate| matches!(fate, Fate::Known(_))),
            of_kind(kind, |fate| matches!(fate, Fate::Excused(_))),
            of_kind(kind, |fate| matches!(fate, Fate::Survived)),
        );
    }
    let unnoticed = fates
        .iter()
        .filter(|(_, fate)| matches!(fate, Fate::Excused(_) | Fate::Survived));
    for (mutation, fate) in unnoticed {
        println!("{}: {}", mutation.change, in_words(fate));
    }
    !fates.iter().any(|(_, fate)| matches!(fate, Fate::Survived))
}
