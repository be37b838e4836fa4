//! Answers on standard output: for persons in lines, for programs as one JSON document.
//!
//! When the connection that asked is gone, nobody reads the answer, and the work goes on.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Serialize;
use site::answer::{
    AccountChange, FileAction, FileChange, Outcome, Plan, State, UnitAction, UnitChange,
};

use crate::cli::FAILED;

/// Prints a line, if somebody listens.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints one document, if somebody listens.
///
/// # Errors
/// When it has no JSON form.
pub(crate) fn json(answer: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(answer).context("printing the answer")?;
    line(&text);
    Ok(())
}

/// What a plan changes, one line each.
pub(crate) fn plan(plan: &Plan, verb: &str) {
    for repair in &plan.repairs {
        line(&format!("{verb} back to order: {repair}"));
    }
    for package in &plan.packages {
        let wanted = match (&package.installed, &package.at_least) {
            (None, _) => "is not installed".to_owned(),
            (Some(there), Some(least)) => format!("is {there}, needed is {least} or later"),
            (Some(there), None) => format!("is {there}"),
        };
        line(&format!("{verb} package {}: {wanted}", package.name));
    }
    for change in plan
        .firewall
        .iter()
        .flat_map(|firewall| &firewall.differences)
    {
        line(&format!("{verb} firewall: {change}"));
    }
    for file in &plan.files {
        line(&format!("{verb} {}", self::file(file)));
    }
    accounts(&plan.accounts, verb);
    for unit in &plan.units {
        line(&format!("{verb} {}", self::unit(unit)));
    }
}

/// What happens to a file.
pub(crate) fn file(file: &FileChange) -> String {
    let words = match (file.action, &file.attributes) {
        (FileAction::New, _) => "is missing".to_owned(),
        (FileAction::Content, None) => "content differs".to_owned(),
        (FileAction::Content, Some(words)) => format!("content differs, {words}"),
        (FileAction::Attributes, words) => words.clone().unwrap_or_default(),
        (FileAction::Remove, _) => "is needed no more".to_owned(),
    };
    format!("{}: {words}", file.path)
}

fn accounts(change: &AccountChange, verb: &str) {
    for (names, words) in [
        (&change.added, "is new"),
        (&change.removed, "can log in no more"),
        (&change.password, "gets another password"),
    ] {
        for name in names {
            line(&format!("{verb} account {name}: {words}"));
        }
    }
}

fn unit(unit: &UnitChange) -> String {
    let words = match unit.action {
        UnitAction::Start => "is started, now and at boot",
        UnitAction::Enable => "starts at boot",
        UnitAction::Restart => "starts afresh",
        UnitAction::Reload => "reads its settings again",
        UnitAction::Stop => "is stopped and masked",
        UnitAction::Unmask => "may start again",
    };
    format!("{}: {words}", unit.name)
}

/// How a change ended.
fn outcome(outcome: &Outcome) {
    let release = &outcome.release;
    let words = match outcome.state {
        State::Nothing => "nothing to do: the machine is as rendered".to_owned(),
        State::Waiting => format!(
            "{release} is in place; without `bastion confirm {release}` in {} s the state before comes back",
            outcome.seconds_left.unwrap_or_default()
        ),
        State::Confirmed => format!("{release} is in place"),
        State::Back => format!("{release} did not hold, and the state before is back"),
        State::Half => {
            format!("{release} did not hold, and not all of the state before could be brought back")
        }
    };
    if let Some(verify) = &outcome.verify {
        line(verify.to_string().trim_end());
    }
    if outcome.reason.is_empty() {
        line(&words);
    } else {
        line(&format!("{words}: {}", outcome.reason));
    }
}

/// Prints an outcome, and gives the exit code that goes with it.
///
/// # Errors
/// When it has no JSON form.
pub(crate) fn answer(outcome: &Outcome, as_json: bool) -> Result<ExitCode> {
    if as_json {
        json(outcome)?;
    } else {
        plan(&outcome.plan, "changed");
        self::outcome(outcome);
    }
    Ok(match outcome.state {
        State::Nothing | State::Waiting | State::Confirmed => ExitCode::SUCCESS,
        State::Back | State::Half => ExitCode::from(FAILED),
    })
}
