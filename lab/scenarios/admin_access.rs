//! Who reaches the bastion: meters and readers the broker, admins SSH, and nobody else anything.

use anyhow::{Result, ensure};
use lab::matrix::{Case, Expected, Matrix, Sender};

use crate::isolation::{outcome, refused};
use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "admin_access::admin_reaches_ssh_and_others_do_not",
            matrix,
            ssh
        ),
        scenario!(
            "admin_access::reader_reaches_the_broker_and_other_lan_machines_do_not",
            matrix,
            broker_inside
        ),
        scenario!(
            "admin_access::internet_reaches_the_broker_and_nothing_else",
            matrix,
            broker_outside
        ),
    ]
}

async fn ssh(stage: &Stage) -> Result<String> {
    judge(stage.matrix()?, |case| {
        case.whom.starts_with("SSH") && case.sender != Sender::Stranger
    })
}

async fn broker_inside(stage: &Stage) -> Result<String> {
    judge(stage.matrix()?, |case| {
        case.whom.starts_with("broker") && case.sender != Sender::Stranger
    })
}

async fn broker_outside(stage: &Stage) -> Result<String> {
    judge(stage.matrix()?, |case| case.sender == Sender::Stranger)
}

fn judge(matrix: &Matrix, fits: impl Fn(&Case) -> bool) -> Result<String> {
    let mut allowed = Vec::new();
    for case in matrix
        .cases
        .iter()
        .filter(|case| case.expected == Expected::Allowed && fits(case))
    {
        let outcome = outcome(&matrix.on, case)?;
        ensure!(
            outcome.got_through(),
            "promise broken: {} at {} does not get through ({})",
            case.whom,
            case.target,
            outcome.outcome
        );
        allowed.push(case.whom);
    }
    ensure!(!allowed.is_empty(), "nothing that is allowed was tried");
    let stopped = refused(matrix, |case| {
        case.expected == Expected::Refused && fits(case)
    })?;
    allowed.dedup();
    Ok(format!(
        "{} over IPv4 and IPv6: open; {stopped}",
        allowed.join(", ")
    ))
}
