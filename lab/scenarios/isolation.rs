//! Promise 1: the bastion cannot reach the LAN.
//!
//! Each refusal is judged at both ends, and has its twin: the same attempt without the policy
//! gets through. It must also hold when everything behind the refusals is let out.

use anyhow::{Context as _, Result, bail, ensure};
use lab::matrix::{Arm, Case, Expected, Matrix, Sender};
use lab::probe::Outcome;

use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "isolation::bastion_cannot_reach_the_home_server",
            matrix,
            home_server
        ),
        scenario!(
            "isolation::bastion_cannot_reach_the_collector_database_or_admin",
            matrix,
            collector_side
        ),
        scenario!(
            "isolation::bastion_cannot_reach_the_routers_own_services",
            matrix,
            router
        ),
        scenario!(
            "isolation::bastion_cannot_reach_its_neighbours",
            matrix,
            neighbours
        ),
        scenario!(
            "isolation::bastion_starts_no_connection_to_the_internet",
            matrix,
            internet
        ),
        scenario!(
            "isolation::refusals_hold_whatever_else_is_let_out",
            matrix,
            open_end
        ),
        scenario!(
            "isolation::bastion_forwards_nothing_into_the_lan",
            matrix,
            forwarding
        ),
        scenario!("isolation::a_refusal_answers_at_once", matrix, rejection),
    ]
}

async fn home_server(stage: &Stage) -> Result<String> {
    refused(stage.matrix()?, |case| {
        case.sender == Sender::Bastion && case.whom.starts_with("home server")
    })
}

async fn collector_side(stage: &Stage) -> Result<String> {
    refused(stage.matrix()?, |case| {
        case.sender == Sender::Bastion && ["collector", "database", "admin"].contains(&case.whom)
    })
}

async fn router(stage: &Stage) -> Result<String> {
    refused(stage.matrix()?, |case| {
        case.sender == Sender::Bastion && case.whom.starts_with("router")
    })
}

async fn neighbours(stage: &Stage) -> Result<String> {
    refused(stage.matrix()?, |case| {
        case.sender == Sender::Bastion && case.whom.starts_with("neighbour")
    })
}

async fn internet(stage: &Stage) -> Result<String> {
    refused(stage.matrix()?, |case| {
        case.expected == Expected::RefusedAtTheEnd
    })
}

async fn forwarding(stage: &Stage) -> Result<String> {
    refused(stage.matrix()?, |case| {
        case.whom.ends_with("through the bastion")
    })
}

/// With everything let out that the refusals leave over, the refusals alone must hold; and the
/// Internet must be reachable then, or the arm shows nothing.
async fn open_end(stage: &Stage) -> Result<String> {
    let matrix = stage.matrix()?;
    let mut held = 0;
    for case in matrix
        .cases
        .iter()
        .filter(|case| case.sender == Sender::Bastion)
    {
        let outcome = outcome(&matrix.open_end, case)?;
        let arrived = arrived(&matrix.open_end, case);
        match case.expected {
            Expected::Refused => {
                ensure!(
                    !outcome.got_through() && !arrived,
                    "promise broken: once anything is let out behind the refusals, the bastion reaches {} at {}",
                    case.whom,
                    case.target
                );
                held += 1;
            }
            Expected::RefusedAtTheEnd => ensure!(
                outcome.got_through() && arrived,
                "the arm shows nothing: {} at {} was not reachable even with the rest let out ({})",
                case.whom,
                case.target,
                outcome.outcome
            ),
            Expected::Allowed => {}
        }
    }
    ensure!(held > 0, "nothing was tried");
    Ok(format!(
        "{held} attempts refused while the Internet was open to the bastion"
    ))
}

/// Programs on the bastion must not hang on a refusal.
async fn rejection(stage: &Stage) -> Result<String> {
    let matrix = stage.matrix()?;
    let mut quick = 0;
    for case in matrix
        .cases
        .iter()
        .filter(|case| case.sender == Sender::Bastion)
    {
        let outcome = outcome(&matrix.on, case)?;
        ensure!(
            outcome.outcome != "timeout",
            "promise broken: {} at {} is not refused with an answer, programs on the bastion wait for it",
            case.whom,
            case.target
        );
        quick += 1;
    }
    Ok(format!(
        "{quick} attempts answered by the bastion's own firewall, none timed out"
    ))
}

/// Judges all cases that fit: through without the policy, stopped with it, at both ends.
pub(crate) fn refused(matrix: &Matrix, fits: impl Fn(&Case) -> bool) -> Result<String> {
    let cases: Vec<&Case> = matrix.cases.iter().filter(|case| fits(case)).collect();
    ensure!(!cases.is_empty(), "nothing was tried");
    for case in &cases {
        let twin = outcome(&matrix.off, case)?;
        let what = format!("{} at {}", case.whom, case.target);
        ensure!(
            twin.got_through() || case.unanswered && case.arrival.is_some(),
            "{what}: proves nothing, without the policy the attempt does not get through either ({})",
            twin.outcome
        );
        let judged = outcome(&matrix.on, case)?;
        ensure!(
            !judged.got_through(),
            "promise broken: {:?} reaches {what} ({})",
            case.sender,
            judged.outcome
        );
        ensure!(
            case.arrival.is_none() || arrived(&matrix.off, case),
            "{what}: proves nothing, the receiver does not notice what comes without the policy"
        );
        ensure!(
            !arrived(&matrix.on, case),
            "promise broken: a packet of {:?} arrived for {what}, though it heard no answer",
            case.sender
        );
    }
    Ok(format!(
        "{} attempts refused, nothing arrived; without the policy all did",
        cases.len()
    ))
}

/// What came of a case in one arm.
pub(crate) fn outcome<'a>(arm: &'a Arm, case: &Case) -> Result<&'a Outcome> {
    let outcome = arm.outcomes.get(&(case.sender, case.target.to_string()));
    let outcome = outcome.with_context(|| format!("{} was not tried", case.target))?;
    if matches!(outcome.outcome.as_str(), "error" | "denied") {
        bail!("{} could not be tried: {:?}", case.target, outcome.errno);
    }
    Ok(outcome)
}

/// Whether the receiver saw it come.
fn arrived(arm: &Arm, case: &Case) -> bool {
    case.arrival
        .as_ref()
        .is_some_and(|arrival| arm.arrivals.contains(arrival))
}
