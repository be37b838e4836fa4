//! The bastion's own programs hear each other, and nobody else hears them.

use anyhow::{Result, ensure};
use lab::probe::{attempt, tcp};
use lab::topology::BASTION;
use site::flow::{MQTT_LOOPBACK_PORT, MQTT_PORT};

use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!(
        "loopback::the_bastions_programs_hear_each_other_and_nobody_hears_them",
        programs
    )]
}

async fn programs(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let inside = [tcp([127, 0, 0, 1].into(), MQTT_LOOPBACK_PORT)];
    for outcome in attempt(&lab.bastion, "daemon", &inside).await? {
        ensure!(
            outcome.got_through(),
            "promise broken: a program on the bastion does not reach the broker at {} ({})",
            outcome.target,
            outcome.outcome
        );
    }
    let outside = lab.topology.dmz.host(BASTION).both();
    let outside = outside.map(|address| tcp(address, MQTT_LOOPBACK_PORT));
    // The twin: the same way, to the listener that is for others.
    let open = lab.topology.dmz.host(BASTION).both();
    let open = open.map(|address| tcp(address, MQTT_PORT));
    for outcome in attempt(&lab.collector, "root", &open).await? {
        ensure!(
            outcome.got_through(),
            "proves nothing: a reader does not reach the bastion at {} at all",
            outcome.target
        );
    }
    for node in [&lab.neighbour, &lab.collector, &lab.stranger] {
        for outcome in attempt(node, "root", &outside).await? {
            ensure!(
                !outcome.got_through(),
                "promise broken: {} reaches the listener of the bastion's own programs at {}",
                node.name,
                outcome.target
            );
        }
    }
    Ok(
        "a program reached the broker over loopback; three machines did not from outside, and one of them reaches the \
         listener that is for others"
            .to_owned(),
    )
}
