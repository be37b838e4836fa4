//! What the bastion asks of the outside: names, time, packages and its address, each by its own
//! user, of whom the site file names, and nothing else.

use anyhow::{Result, ensure};
use lab::matrix::Sender;
use lab::probe::{attempt, udp};
use lab::topology::SILENT;
use site::flow::TIME_USER;

use crate::admin_access::judge;
use crate::isolation::refused;
use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "outbound::names_are_asked_of_the_named_resolver_by_four_users_only",
            matrix,
            names
        ),
        scenario!(
            "outbound::time_is_asked_by_the_time_service_only",
            matrix,
            time
        ),
        scenario!(
            "outbound::packages_are_fetched_by_apt_only",
            matrix,
            packages
        ),
        scenario!(
            "outbound::the_sites_own_public_address_is_out_of_reach",
            matrix,
            hairpin
        ),
        scenario!(
            "outbound::a_lease_is_renewed_with_the_named_server_only",
            matrix,
            lease
        ),
        scenario!("outbound::an_error_on_the_way_is_heard", errors),
    ]
}

async fn names(stage: &Stage) -> Result<String> {
    judge(stage.matrix()?, |case| {
        let broker = case.sender == Sender::Bastion && case.whom == "router, from the DMZ";
        case.whom.starts_with("names") || broker && case.target.port == 53
    })
}

async fn time(stage: &Stage) -> Result<String> {
    judge(stage.matrix()?, |case| case.whom.starts_with("time"))
}

async fn packages(stage: &Stage) -> Result<String> {
    judge(stage.matrix()?, |case| case.whom.starts_with("packages"))
}

async fn hairpin(stage: &Stage) -> Result<String> {
    refused(stage.matrix()?, |case| {
        case.whom == "packages, of the site's own public address"
    })
}

async fn lease(stage: &Stage) -> Result<String> {
    judge(stage.matrix()?, |case| case.whom.starts_with("a lease"))
}

/// Nobody serves time at one address, and its machine says so: what is not heard leaves the
/// bastion waiting, and hides a path that takes smaller packets only.
async fn errors(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let servers = lab.topology.wan.host(SILENT).both();
    let targets = servers.map(|address| udp(address, 123));
    for outcome in attempt(&lab.bastion, TIME_USER, &targets).await? {
        ensure!(
            outcome.outcome == "refused",
            "promise broken: the bastion does not hear that nobody serves time at {} ({})",
            outcome.target,
            outcome.outcome
        );
    }
    Ok("the time service heard over IPv4 and IPv6 that nobody listened".to_owned())
}
