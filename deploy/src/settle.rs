//! From an applied release to one that stays: the confirmation over a new connection, and what is
//! said when it does not come to that. The bastion decides; here it is asked, and waited for.
//!
//! The new connection is the proof that a person can still get in, so it shares nothing with the
//! one that carried the release.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
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
/// `applied` is the answer of `apply` or `rollback`, asked at `asked`; `release` what was asked for
/// (nothing when the bastion chose), `within` the window in seconds.
///
/// # Errors
/// When the bastion went back, or its state could not be told. The message says which.
pub async fn settle(
    steps: &Steps,
    fresh: Fresh<'_>,
    release: Option<&str>,
    within: u64,
    asked: Instant,
    applied: Result<Outcome, PiError>,
) -> Result<Outcome> {
    let start = Instant::now();
    let window = Duration::from_secs(within);
    if applied.is_err() && start - asked >= window {
        steps.remark(&format!(
            "that took longer than the {within} s after which the bastion goes back by itself: \
             --confirm-within gives a slow machine more"
        ));
    }
    let outcome = match applied {
        Ok(outcome) => outcome,
        // It ended by itself, so what it had begun is undone already.
        Err(error @ (PiError::Failed { .. } | PiError::Answer { .. })) => {
            steps.remark(&error.to_string());
            return Err(standing(
                steps,
                fresh,
                "it did not come to a change that holds",
                start + window,
            )
            .await);
        }
        // Cut off: nobody can say better than its status. It does not answer while it changes.
        Err(error) => {
            steps.remark(&format!("no answer: {error}"));
            let Some(waiting) = still_waits(steps, fresh, release, start + window).await else {
                let why = "the answer was lost, and nothing waits for a confirmation";
                return Err(gone_back(steps, fresh, why, start + window + GRACE).await);
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
            Err(gone_back(steps, fresh, &why, deadline + GRACE).await)
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
            // Nothing was left to do when an earlier try got through and its answer did not.
            Ok(outcome) if matches!(outcome.state, State::Confirmed | State::Nothing) => {
                return Ok(outcome);
            }
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
) -> Option<Outcome> {
    let step = steps.begin("look");
    let Seen::Status(status) = reach(&step, fresh, deadline, deadline).await? else {
        return None;
    };
    let waiting = status
        .waiting
        .filter(|(name, _)| release.is_none_or(|release| release == name));
    step.done(if waiting.is_some() {
        "it waits for the confirmation"
    } else {
        "nothing waits for a confirmation"
    });
    waiting.map(|(release, left)| Outcome {
        format: status.format,
        release,
        state: State::Waiting,
        reason: String::new(),
        seconds_left: Some(left),
        plan: site::answer::Plan::default(),
        verify: None,
    })
}

/// Waits for the bastion to be back, and says which state is in place.
async fn gone_back(steps: &Steps, fresh: Fresh<'_>, why: &str, back_at: Instant) -> anyhow::Error {
    let left = back_at.saturating_duration_since(Instant::now()).as_secs();
    steps.remark(&format!(
        "{why}\nThe bastion goes back to the state before by itself, within {left} s; waiting for it."
    ));
    standing(steps, fresh, "not confirmed", back_at).await
}

/// Says which state is in place, as soon as nothing waits there, or at `deadline`.
async fn standing(steps: &Steps, fresh: Fresh<'_>, why: &str, deadline: Instant) -> anyhow::Error {
    let step = steps.begin("back");
    let seen = loop {
        let seen = reach(&step, fresh, deadline, deadline + LAST_LOOK).await;
        let left = match &seen {
            Some(Seen::Status(status)) => status.waiting.as_ref().map(|(_, left)| *left),
            _ => None,
        };
        match left {
            // Its window still runs; soon it is back.
            Some(left) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_secs(left.clamp(1, 5))).await;
            }
            _ => break seen,
        }
    };
    let Some(seen) = seen else {
        drop(step);
        return anyhow!(
            "{why}, and no status came back. If SSH does not answer, go to its own screen: `sudo bastion \
             status` tells how it stands, and `sudo bastion open --for 10m` lets the LAN in; a restart \
             brings the state before back, too"
        );
    };
    let (waiting, release) = match &seen {
        Seen::Status(status) => (&status.waiting, status.release.as_deref()),
        Seen::NoProgram => (&None, None),
    };
    if let Some((release, left)) = waiting {
        drop(step);
        return anyhow!(
            "{why}: release {} still waits there for {left} s, and nobody confirms it; then it goes back",
            shown::line(release)
        );
    }
    let place = release.map_or_else(
        || "the state before the first release".to_owned(),
        |release| format!("release {}", shown::line(release)),
    );
    step.done(&format!("SSH answers; in place is {place}"));
    anyhow!("{why}; in place is {place}")
}

/// What was found over a new connection.
enum Seen {
    Status(Box<Status>),
    /// SSH answers, and there is no program of ours.
    NoProgram,
}

/// The status, as soon as somebody answers. Until `patient_until` a program that is not there may
/// still come.
async fn reach(
    step: &Step,
    fresh: Fresh<'_>,
    patient_until: Instant,
    deadline: Instant,
) -> Option<Seen> {
    loop {
        match fresh.status(PATIENCE).await {
            Ok(status) => return Some(Seen::Status(Box::new(status))),
            // Going back from the first release takes the program away, too.
            Err(PiError::Failed { said, .. })
                if said.contains("not found") && Instant::now() >= patient_until =>
            {
                return Some(Seen::NoProgram);
            }
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
