//! The bastion is taken over: what a shell on it reaches, by whose shell it is.
//!
//! Root can take the rules away, and no program on the bastion can change that. What holds then is
//! outside: a router that refuses what begins in the DMZ. Where the bastion stands in the LAN itself,
//! nothing holds. Both are shown as what they are.

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::node::Node;
use lab::packets::{Barrier, Placement, Tried};
use lab::probe::{Outcome, Target, attempt, tcp};
use lab::roles::{bastion, router, witness};
use lab::topology::{BASTION, HOME_SERVER};
use site::flow::MQTT_PORT;

use crate::packets::{held_at_the_device, refused_by_its_rule};
use crate::shared::{Scenario, Stage, scenario};

const PLACEMENTS: [Placement; 2] = [Placement::Dmz, Placement::Flat];

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "compromise::a_shell_as_the_broker_reaches_nobody",
            packets,
            as_the_broker
        ),
        scenario!(
            "compromise::a_user_with_cap_net_raw_reaches_nobody",
            packets,
            with_raw_sockets
        ),
        scenario!(
            "compromise::root_reaches_the_lan_unless_the_router_refuses",
            alone,
            as_root
        ),
    ]
}

/// Everything that the broker's user tried, without a capability.
async fn as_the_broker(stage: &Stage) -> Result<String> {
    let mut shown = Vec::new();
    for placement in PLACEMENTS {
        let mine = stage.packets()?.of(placement).iter();
        let mine = mine.filter(|tried| tried.attempt.user == "mosquitto" && !tried.attempt.raw);
        let (mut rules, mut sockets) = (0, 0);
        for tried in mine {
            match tried.attempt.barrier {
                Barrier::Capability => {
                    no_socket(tried)?;
                    sockets += 1;
                }
                _ => {
                    refused_by_its_rule(tried)?;
                    rules += 1;
                }
            }
        }
        ensure!(rules > 0 && sockets > 0, "nothing was tried");
        shown.push(format!(
            "{placement:?}: {rules} attempts refused by the policy, {sockets} for want of a capability"
        ));
    }
    Ok(shown.join("; "))
}

fn no_socket(tried: &Tried) -> Result<()> {
    ensure!(
        tried.on.step == "socket" && tried.on.arrived.is_empty(),
        "promise broken: {}: got its socket",
        tried.attempt.name
    );
    Ok(())
}

/// An ordinary user who was given raw sockets: packets are refused by the policy, which sees no
/// frame; those the chain at the device holds.
async fn with_raw_sockets(stage: &Stage) -> Result<String> {
    let mut shown = Vec::new();
    for placement in PLACEMENTS {
        let mine = stage.packets()?.of(placement).iter();
        let mine: Vec<&Tried> = mine
            .filter(|tried| tried.attempt.user == "lab-person" && tried.attempt.raw)
            // What passes every rule is told by `packets::…_need_a_capability`.
            .filter(|tried| tried.attempt.barrier != Barrier::Nothing)
            .collect();
        let (frames, packets): (Vec<&Tried>, Vec<&Tried>) = mine
            .into_iter()
            .partition(|tried| matches!(tried.attempt.barrier, Barrier::Device(_)));
        ensure!(
            !frames.is_empty() && !packets.is_empty(),
            "nothing was tried"
        );
        for tried in &packets {
            refused_by_its_rule(tried)?;
        }
        for tried in &frames {
            held_at_the_device(tried)?;
        }
        shown.push(format!(
            "{placement:?}: {} kinds of hand-written packets refused by the policy, {} frames held at the device",
            packets.len(),
            frames.len()
        ));
    }
    Ok(shown.join("; "))
}

fn home(lab: &Lab) -> Vec<Target> {
    let home = lab.topology.lan.host(HOME_SERVER);
    let ports = |address| [80, 443].map(|port| tcp(address, port));
    home.both().into_iter().flat_map(ports).collect()
}

/// How many of the home server's ports a machine's root reaches, and how many it is asked for.
async fn reached(lab: &Lab, from: &Node) -> Result<(usize, usize)> {
    let outcomes = attempt(from, "root", &home(lab)).await?;
    let through = outcomes.iter().filter(|one| one.got_through()).count();
    Ok((through, outcomes.len()))
}

async fn as_root(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let _flat = stage.flat_turn.lock().await;
    let (dmz, all) = reached(lab, &lab.bastion).await?;
    let (flat, _) = reached(lab, &lab.flat.node).await?;
    ensure!(
        dmz == 0 && flat == 0,
        "promise broken: root reaches the home server while the rules are there"
    );
    bastion::remove_policy(&lab.bastion).await?;
    bastion::remove_policy(&lab.flat.node).await?;
    let shown = without_rules(lab, all).await;
    // Whatever came of it, everything is left as it was.
    let again = bastion::apply(&lab.bastion, &[]).await;
    let flat = lab.flat.apply(&lab.flat.policy).await;
    again?.success().context("applying the policy again")?;
    flat?;
    let shown = shown?;
    let (dmz, _) = reached(lab, &lab.bastion).await?;
    ensure!(dmz == 0, "the policy did not come back");
    Ok(shown)
}

async fn without_rules(lab: &Lab, all: usize) -> Result<String> {
    let open = reached(lab, &lab.bastion).await?.0;
    ensure!(
        open == all,
        "recorded otherwise: without its rules root in the DMZ reaches {open} of {all} ports of the home server"
    );
    router::block_dmz_to_lan(&lab.router, true).await?;
    let blocked = with_the_routers_block(lab, all).await;
    router::block_dmz_to_lan(&lab.router, false).await?;
    let blocked = blocked?;
    ensure!(
        reached(lab, &lab.bastion).await?.0 == all,
        "the router's block does not go away"
    );
    Ok(format!(
        "root who takes the rules away: in the DMZ reaches {open} of {all} ports of the home server, and none once \
         the router refuses DMZ to LAN ({blocked}); in the LAN reaches {all} of {all}, whatever the router does"
    ))
}

async fn with_the_routers_block(lab: &Lab, all: usize) -> Result<String> {
    witness::forget(&lab.home_server).await?;
    let dmz = reached(lab, &lab.bastion).await?.0;
    let own = lab.topology.dmz.host(BASTION).both();
    let arrived = witness::seen(&lab.home_server).await?;
    let arrived = arrived.iter().filter(|each| own.contains(&each.from));
    ensure!(
        dmz == 0 && arrived.count() == 0,
        "promise broken: though the router refuses DMZ to LAN, root reaches {dmz} of {all} ports"
    );
    let flat = reached(lab, &lab.flat.node).await?.0;
    ensure!(
        flat == all,
        "recorded otherwise: without its rules root in the LAN reaches {flat} of {all} ports"
    );
    let brokers = own.map(|address| tcp(address, MQTT_PORT));
    let outcomes = attempt(&lab.collector, "root", &brokers).await?;
    ensure!(
        outcomes.iter().all(Outcome::got_through),
        "promise broken: with the router's block readers do not reach the broker: {outcomes:?}"
    );
    Ok("readers still reach the broker".to_owned())
}
