//! Known faults of the usual setup guide, one scenario each: the guide as printed, against the
//! project.
//!
//! The guide's UFW lines allow ports 53, 80 and 443 to everywhere before they deny the LAN, and
//! the first line that fits decides: so the LAN's web servers and resolvers stay open.

use anyhow::{Result, ensure};
use lab::probe::{Target, attempt, tcp};
use lab::topology::HOME_SERVER;

use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!(
        "guide_defects::rule_order_opens_the_lans_web_servers",
        rule_order
    )]
}

async fn rule_order(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let address = lab.topology.lan.host(HOME_SERVER).v4;
    let targets: Vec<Target> = [80, 443, 22, 445].map(|port| tcp(address, port)).into();
    let _turn = stage.bastion_turn.lock().await;
    let (guide, project) = tokio::try_join!(
        attempt(&lab.guide, "mosquitto", &targets),
        attempt(&lab.bastion, "mosquitto", &targets)
    )?;
    let through: Vec<bool> = guide.iter().map(lab::probe::Outcome::got_through).collect();
    ensure!(
        through == [true, true, false, false],
        "the guide as printed behaves in another way than recorded: 80, 443, 22, 445 reachable: {through:?}"
    );
    ensure!(
        !project.iter().any(lab::probe::Outcome::got_through),
        "promise broken: the project's policy lets the bastion through as well: {project:?}"
    );
    Ok("as printed, the guide's UFW lets the bastion reach the home server on 80 and 443; the project does not".to_owned())
}
