//! Known faults of the usual setup guide, one scenario each: the guide as printed, against the
//! project. Those of its firewall; those of its broker are in `guide_broker`.
//!
//! The guide's UFW lines allow ports 53, 80 and 443 to everywhere before they deny the LAN, and
//! the first line that fits decides: so the LAN's web servers and resolvers stay open. Ranges are
//! tried with one address each; multicast is not, since nobody would answer.

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::node::Node;
use lab::probe::{Outcome, Target, attempt, tcp, udp};
use lab::roles::bastion::start_ssh;
use lab::roles::router::HAIRPIN_PORT;
use lab::topology::{BASTION, GUIDE, HOME_SERVER, Host, METERS, ROUTER};
use site::flow::{SSH_PORT, TIME_USER};

use crate::shared::{Scenario, Stage, scenario};

const BROKER: &str = "mosquitto";
/// Addresses of ranges that the guide does not name: link-local, and shared by carriers.
const UNNAMED: [(&str, u8); 2] = [("169.254.77.3", 16), ("100.64.77.3", 10)];

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "guide_defects::rule_order_opens_the_lans_web_servers",
            rule_order
        ),
        scenario!("guide_defects::ssh_locks_the_admin_out", ssh),
        scenario!(
            "guide_defects::everybody_asks_the_lans_resolvers",
            resolvers
        ),
        scenario!("guide_defects::the_clock_is_never_set", time),
        scenario!("guide_defects::the_lan_is_open_over_ipv6", ipv6),
        scenario!("guide_defects::ranges_that_nobody_named_are_open", ranges),
        scenario!(
            "guide_defects::the_public_address_leads_into_the_lan",
            hairpin
        ),
    ]
}

async fn through(from: &Node, user: &str, targets: &[Target]) -> Result<Vec<bool>> {
    let outcomes = attempt(from, user, targets).await?;
    Ok(outcomes.iter().map(Outcome::got_through).collect())
}

/// What the broker's user reaches: from the guide's bastion as recorded, from the project's nothing.
async fn compared(lab: &Lab, targets: &[Target], recorded: &[bool]) -> Result<()> {
    let (guide, project) = tokio::try_join!(
        through(&lab.guide, BROKER, targets),
        through(&lab.bastion, BROKER, targets)
    )?;
    let words: Vec<String> = targets.iter().map(Target::to_string).collect();
    ensure!(
        guide == recorded,
        "the guide as printed behaves in another way than recorded: {words:?} reachable: {guide:?}"
    );
    ensure!(
        !project.contains(&true),
        "promise broken: the project's policy lets the bastion through as well: {words:?}: {project:?}"
    );
    Ok(())
}

async fn rule_order(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let address = lab.topology.lan.host(HOME_SERVER).v4;
    let targets = [80, 443, 22, 445].map(|port| tcp(address, port));
    let _turn = stage.bastion_turn.lock().await;
    compared(lab, &targets, &[true, true, false, false]).await?;
    Ok("as printed, the guide's UFW lets the bastion reach the home server on 80 and 443; the project does not".to_owned())
}

/// The guide sets `default deny incoming` and opens 1883 only: whoever follows it over SSH is out.
async fn ssh(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    start_ssh(&lab.guide).await?;
    let loopback = tcp([127, 0, 0, 1].into(), SSH_PORT);
    ensure!(
        through(&lab.guide, "root", &[loopback]).await? == [true],
        "proves nothing: SSH does not run on the guide's bastion"
    );
    let at = |host: Host| host.both().map(|address| tcp(address, SSH_PORT));
    let _turn = stage.bastion_turn.lock().await;
    let guide = through(&lab.admin, "root", &at(lab.topology.dmz.host(GUIDE))).await?;
    let project = through(&lab.admin, "root", &at(lab.topology.dmz.host(BASTION))).await?;
    ensure!(
        guide == [false, false],
        "the guide as printed behaves in another way than recorded: SSH open to the admin: {guide:?}"
    );
    ensure!(
        project == [true, true],
        "promise broken: the admin does not reach SSH: {project:?}"
    );
    Ok(
        "as printed, the guide's UFW shuts the admin out of SSH; the project lets him in"
            .to_owned(),
    )
}

/// Any program may ask anybody on port 53: the router, which knows the LAN's names, and others.
async fn resolvers(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let router = lab.topology.dmz.host(ROUTER).v4;
    let home = lab.topology.lan.host(HOME_SERVER).v4;
    let targets = [
        udp(router, 53),
        tcp(router, 53),
        udp(home, 53),
        tcp(home, 53),
    ];
    let _turn = stage.bastion_turn.lock().await;
    compared(lab, &targets, &[true; 4]).await?;
    Ok("as printed, the guide lets the broker's user ask the router and a machine in the LAN on port 53; the project \
        lets four users ask the named resolver, and the broker's nobody"
        .to_owned())
}

/// The guide opens no port for time, and a Pi has no clock of its own.
async fn time(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let server = [udp(lab.topology.wan.host(METERS).v4, 123)];
    let _turn = stage.bastion_turn.lock().await;
    let (guide, project) = tokio::try_join!(
        through(&lab.guide, TIME_USER, &server),
        through(&lab.bastion, TIME_USER, &server)
    )?;
    ensure!(
        guide == [false],
        "the guide as printed behaves in another way than recorded: it lets the time service out"
    );
    ensure!(
        project == [true],
        "promise broken: the time service reaches no time server"
    );
    Ok("as printed, the guide keeps the time service from any time server; the project lets it, and nobody else".to_owned())
}

/// The guide denies IPv4 networks only.
async fn ipv6(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let home = lab.topology.lan.host(HOME_SERVER).v6;
    let unique_local = lab.topology.lan_second.host(HOME_SERVER).v6;
    let targets = [
        tcp(home, 80),
        tcp(home, 443),
        udp(home, 53),
        tcp(unique_local, 443),
        tcp(home, 22),
    ];
    let _turn = stage.bastion_turn.lock().await;
    compared(lab, &targets, &[true, true, true, true, false]).await?;
    Ok("as printed, the guide denies nothing over IPv6: 53, 80 and 443 of the home server are open, by its global and \
        its unique local address; the project refuses both"
        .to_owned())
}

/// A neighbour takes addresses of such ranges for as long as this lasts.
async fn ranges(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let change = |what: &'static str| async move {
        for (address, length) in UNNAMED {
            let (plug, route) = (
                format!("ip addr {what} {address}/{length} dev eth0"),
                format!("ip route {what} {address}/32 dev eth0"),
            );
            lab.neighbour.script(&plug).await?;
            for node in [&lab.guide, &lab.bastion] {
                node.script(&route).await?;
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    change("add").await?;
    let targets = UNNAMED.map(|(address, _)| address.parse().map(|address| tcp(address, 443)));
    let targets: Vec<Target> = targets
        .into_iter()
        .collect::<Result<_, _>>()
        .context("reading addresses")?;
    let shown = compared(lab, &targets, &[true; 2]).await;
    change("del").await?;
    shown?;
    Ok("as printed, the guide leaves link-local addresses and those that carriers share open; the project refuses \
        both (multicast: see packets::dmz_nobody_is_called_by_broadcast_or_multicast)"
        .to_owned())
}

/// The router leads whoever asks for the public address from inside back into the LAN.
async fn hairpin(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let targets = [tcp(lab.topology.wan.host(ROUTER).v4, HAIRPIN_PORT)];
    let _turn = stage.bastion_turn.lock().await;
    compared(lab, &targets, &[true]).await?;
    Ok("as printed, the guide lets the broker's user reach the home server by the router's public address; the \
        project does not"
        .to_owned())
}
