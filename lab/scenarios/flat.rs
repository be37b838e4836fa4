//! The bastion that stands in the LAN itself (placement `flat`): who reaches it, and that no reply of
//! it can be turned round. What it reaches is told by `packets::flat_…`.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::node::Node;
use lab::packets::turned;
use lab::probe::{Target, attempt, tcp};
use lab::roles::router::FLAT_PORT;
use lab::roles::{bastion, witness};
use lab::topology::{COLLECTOR, FLAT, ROUTER};
use site::flow::{MQTT_PORT, SSH_PORT};

use crate::shared::{Scenario, Stage, scenario};

/// What a program is told that the policy refuses.
const REJECTED: &str = "No route to host";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "flat::meters_readers_and_admins_reach_it_and_nobody_else",
            who_reaches
        ),
        scenario!(
            "flat::a_reply_is_not_turned_round_by_a_spoofed_syn",
            turned_round
        ),
    ]
}

/// Who asks, from which machine, for what, and whether he gets it.
fn asked(lab: &Lab) -> Vec<(&'static str, &Node, Target, bool)> {
    let own = lab.topology.lan.host(FLAT);
    // IPv4 reaches it through the router's port forward.
    let outside = [
        tcp(lab.topology.wan.host(ROUTER).v4, FLAT_PORT),
        tcp(own.v6, MQTT_PORT),
    ];
    let mut asked: Vec<_> = outside
        .into_iter()
        .map(|target| {
            (
                "a meter on the Internet the broker",
                &lab.stranger,
                target,
                true,
            )
        })
        .collect();
    asked.push((
        "somebody on the Internet SSH",
        &lab.stranger,
        tcp(own.v6, SSH_PORT),
        false,
    ));
    for address in own.both() {
        let at = |port| move |address: IpAddr| tcp(address, port);
        let (broker, ssh) = (at(MQTT_PORT)(address), at(SSH_PORT)(address));
        asked.extend([
            ("a reader the broker", &lab.collector, broker.clone(), true),
            ("a reader SSH", &lab.collector, ssh.clone(), false),
            ("an admin SSH", &lab.admin, ssh.clone(), true),
            ("an admin the broker", &lab.admin, broker.clone(), false),
            (
                "another LAN machine the broker",
                &lab.home_server,
                broker,
                false,
            ),
            (
                "another LAN machine SSH",
                &lab.home_server,
                ssh.clone(),
                false,
            ),
            ("the DMZ SSH", &lab.neighbour, ssh, false),
        ]);
    }
    asked
}

/// Who got what: by name and target.
async fn outcomes(lab: &Lab) -> Result<Vec<(String, bool, bool)>> {
    let each = asked(lab)
        .into_iter()
        .map(|(name, node, target, may)| async move {
            let outcomes = attempt(node, "root", &[target]).await?;
            let outcome = outcomes.first().context("no outcome")?;
            Ok::<_, anyhow::Error>((
                format!("{name} ({})", outcome.target),
                outcome.got_through(),
                may,
            ))
        });
    futures_util::future::try_join_all(each).await
}

async fn who_reaches(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.flat_turn.lock().await;
    let node = &lab.flat.node;
    bastion::remove_policy(node).await?;
    let off = outcomes(lab).await;
    lab.flat.apply(&lab.flat.policy).await?;
    for (name, through, _) in off? {
        ensure!(
            through,
            "proves nothing: without the policy {name} does not get through either"
        );
    }
    witness::forget(node).await?;
    let on = outcomes(lab).await?;
    // Behind the rules is seen only what they let in.
    let let_in = witness::seen(node).await?;
    let wrong: Vec<&String> = on
        .iter()
        .filter(|(_, through, may)| through != may)
        .map(|(name, ..)| name)
        .collect();
    ensure!(
        wrong.is_empty(),
        "promise broken: with the policy it is the other way round for {wrong:?}"
    );
    let allowed = on.iter().filter(|(.., may)| *may).count();
    // Strangers over IPv4 come under their own address, so each of the allowed is one arrival.
    ensure!(
        let_in.len() == allowed,
        "promise broken: {allowed} may get in, and {} did: {let_in:?}",
        let_in.len()
    );
    Ok(format!(
        "{allowed} of {} attempts let in: meters, readers and admins; the others refused, and all got in without the \
         policy",
        on.len()
    ))
}

async fn turned_round(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.flat_turn.lock().await;
    let outcome = both_policies(lab).await;
    // Whatever came of it, the bastion is left with its policy and its broker.
    lab.flat.apply(&lab.flat.policy).await?;
    let outcome = outcome?;
    broker_is_back(lab).await?;
    Ok(outcome)
}

async fn both_policies(lab: &Lab) -> Result<String> {
    let own = lab.topology.lan.host(FLAT).v4;
    let [wanted, twins] = turned::WANTED;
    let came = |port| async move {
        let seen = witness::seen(&lab.collector).await?;
        let came = seen
            .iter()
            .any(|each| each.from == own && each.port == port);
        Ok::<_, anyhow::Error>(came)
    };
    witness::forget(&lab.collector).await?;
    let said = turned::attack(lab, wanted).await?;
    ensure!(
        said.contains(REJECTED) && !came(wanted).await?,
        "promise broken: a spoofed SYN and a connection from port {MQTT_PORT} reached the reader's machine: {said}"
    );
    lab.flat
        .apply(&turned::without_that_condition(&lab.flat.policy))
        .await?;
    let twin = turned::attack(lab, twins).await?;
    // The reader's machine answers then; whether a connection comes of it hangs on numbers that the
    // machine on the wire would have to guess.
    ensure!(
        came(twins).await? && !twin.contains(REJECTED),
        "proves nothing: with a policy in which a reply may be a bare SYN the attack fails, too: {twin}"
    );
    Ok(format!(
        "after a SYN under the address of {} the broker's user connects to it from port {MQTT_PORT}: {}; once {} lets \
         bare SYNs pass, it arrives at port {}",
        lab.topology.lan.host(COLLECTOR).v4,
        said.lines().last().unwrap_or_default(),
        turned::RULE,
        twins
    ))
}

async fn broker_is_back(lab: &Lab) -> Result<()> {
    let address = lab.topology.lan.host(FLAT).v4;
    eventually("the broker in the LAN", Duration::from_secs(15), || async {
        let outcomes = attempt(&lab.collector, "root", &[tcp(address, MQTT_PORT)]).await?;
        Ok(match outcomes.first() {
            Some(outcome) if outcome.got_through() => Look::Done(()),
            outcome => Look::NotYet(format!("{outcome:?}")),
        })
    })
    .await
}
