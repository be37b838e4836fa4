//! From an applied release to one that stays: the confirmation over a new connection, and what is
//! said when it does not come to that. The bastion decides; here it is asked, and waited for.
//!
//! The new connection is the proof that a person can still get in, so it shares nothing with the
//! one that carried the release.

use std::time::Duration;

use anyhow::{Result, bail};
use site::answer::{Outcome, State, Status};
use tokio::time::Instant;

use crate::pi::{Fresh, PiError};
use crate::shown;
use crate::steps::{Step, Steps};

/// Between two tries of a new connection, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// One try may take that long.
const PATIENCE: Duration = Duration::from_secs(45);
/// Within this time after its window the bastion is back, SSH included.
const GRACE: Duration = Duration::from_secs(10);
/// A slow machine that restarts is waited for a while longer, so that its state can be told.
const LAST_LOOK: Duration = Duration::from_secs(30);

/// Brings a release that was put in place to its confirmation.
///
/// `applied` is the answer of `apply` or `rollback`, `release` what was asked for (nothing when
/// the bastion chose), `within` the window in seconds.
///
/// # Errors
/// When the bastion went back, or its state could not be told. The message says which.
pub async fn settle(
    steps: &Steps,
    fresh: Fresh<'_>,
    release: Option<&str>,
    within: u64,
    applied: Result<Outcome, PiError>,
) -> Result<Outcome> {
    let start = Instant::now();
    let window = Duration::from_secs(within);
    let outcome = match applied {
        Ok(outcome) => outcome,
        // It refused, or ended with an error: nobody can say better than its status.
        Err(error) => {
            steps.remark(&format!("no answer: {error}"));
            steps.remark("asking over a new connection how it stands");
            let Some(waiting) = still_waits(steps, fresh, release, start + window).await? else {
                return gone_back(steps, fresh, &error.to_string(), start + window + GRACE).await;
            };
            waiting
        }
    };
    match outcome.state {
        State::Waiting => {}
        State::Nothing | State::Confirmed => return Ok(outcome),
        State::Back => bail!(
            "it did not hold, and the bastion is back in the state before: {}",
            reason(&outcome)
        ),
        State::Half => bail!(
            "it did not hold, and the bastion could not bring the state before back whole: {}; \
             the next deployment repairs it, or `deploy rollback`",
            reason(&outcome)
        ),
    }
    let left = outcome.seconds_left.unwrap_or(within).min(within.max(1));
    let deadline = Instant::now() + Duration::from_secs(left);
    let step = steps.begin("confirm");
    match confirm(&step, fresh, &outcome.release, deadline).await {
        Ok(confirmed) => {
            step.done("over a new connection");
            Ok(Outcome {
                plan: outcome.plan,
                verify: confirmed.verify.or(outcome.verify),
                ..confirmed
            })
        }
        Err(why) => {
            drop(step);
            gone_back(steps, fresh, &why, deadline + GRACE).await
        }
    }
}

/// Tries until the window ends.
async fn confirm(
    step: &Step,
    fresh: Fresh<'_>,
    release: &str,
    deadline: Instant,
) -> Result<Outcome, String> {
    let mut pause = Duration::from_millis(500);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let why = match fresh
            .confirm(release, left.min(PATIENCE).max(Duration::from_secs(1)))
            .await
        {
            Ok(outcome) if outcome.state == State::Confirmed => return Ok(outcome),
            Ok(outcome) => return Err(format!("not confirmed: {}", reason(&outcome))),
            // The machine was reached, and what it said will not change.
            Err(error @ (PiError::Failed { .. } | PiError::Answer { .. })) => {
                return Err(error.to_string());
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() + pause >= deadline {
            return Err(format!(
                "no new connection came up within the window: {why}"
            ));
        }
        step.at(&why);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the release waits for its confirmation although the answer to `apply` was lost.
async fn still_waits(
    steps: &Steps,
    fresh: Fresh<'_>,
    release: Option<&str>,
    deadline: Instant,
) -> Result<Option<Outcome>> {
    let step = steps.begin("look");
    let Some(status) = reach(&step, fresh, deadline).await else {
        return Ok(None);
    };
    let waiting = status
        .waiting
        .filter(|(name, _)| release.is_none_or(|release| release == name));
    step.done(if waiting.is_some() {
        "it waits for the confirmation"
    } else {
        "nothing waits for a confirmation"
    });
    Ok(waiting.map(|(release, left)| Outcome {
        format: status.format,
        release,
        state: State::Waiting,
        reason: String::new(),
        seconds_left: Some(left),
        plan: site::answer::Plan::default(),
        verify: None,
    }))
}

/// Waits for the bastion to be back, says which state is in place, and fails.
async fn gone_back(
    steps: &Steps,
    fresh: Fresh<'_>,
    why: &str,
    back_at: Instant,
) -> Result<Outcome> {
    let left = back_at.saturating_duration_since(Instant::now());
    steps.remark(&format!(
        "{why}\nThe bastion goes back to the state before by itself, within {} s; waiting for it.",
        left.as_secs()
    ));
    let step = steps.begin("back");
    let status = loop {
        let status = reach(&step, fresh, back_at + LAST_LOOK).await;
        match &status {
            // Its window still runs; soon it is back.
            Some(Status {
                waiting: Some((_, left)),
                ..
            }) if Instant::now() < back_at => {
                tokio::time::sleep(Duration::from_secs((*left).clamp(1, 5))).await;
            }
            _ => break status,
        }
    };
    let Some(status) = status else {
        drop(step);
        bail!(
            "SSH did not come back. Go to its own screen: `sudo bastion status` tells how it stands, and \
             `sudo bastion open --for 10m` lets the LAN in; a restart brings the state before back, too"
        );
    };
    let place = status.release.as_deref().map_or_else(
        || "the state before the first release".to_owned(),
        |release| format!("release {}", shown::line(release)),
    );
    if let Some((release, left)) = &status.waiting {
        drop(step);
        bail!(
            "release {} still waits there for {left} s, and nobody confirms it; then it goes back",
            shown::line(release)
        );
    }
    step.done(&format!("SSH answers; in place is {place}"));
    bail!("not confirmed; in place is {place}")
}

/// The status, as soon as somebody answers.
async fn reach(step: &Step, fresh: Fresh<'_>, deadline: Instant) -> Option<Status> {
    loop {
        match fresh.status(PATIENCE).await {
            Ok(status) => return Some(status),
            Err(error) => step.at(&error.to_string()),
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn reason(outcome: &Outcome) -> String {
    if outcome.reason.is_empty() {
        format!("{:?}", outcome.state).to_lowercase()
    } else {
        shown::line(&outcome.reason)
    }
}
