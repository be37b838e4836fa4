//! What comes back by itself when the machine starts: the policy before the network, the services,
//! the readings. And what stays down when the policy does not load.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use lab::probe::{self, tcp};
use lab::topology::{BASTION, ROUTER};
use lab::virtual_pi::BOOT;
use site::manifest::{EARLY_TABLE, RULESET_PATH, TABLE};

use crate::deployed::DEPLOYED;
use crate::flow::{Flow, JOURNAL_UNITS};
use crate::listing::Listing;
use crate::stage::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::reboot_brings_everything_back", from DEPLOYED, reboot),
        scenario!(
            "pi::failed_policy_at_boot_keeps_the_broker_down",
            from DEPLOYED,
            failed_policy
        )
        .only_in_full(),
    ]
}

/// Nanoseconds since 1970, by this host's clock, which is the collector's.
pub(crate) fn now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// When a unit began to start, and when it had started, in microseconds since power.
pub(crate) async fn started(stage: &Stage, unit: &str) -> Result<(u64, u64)> {
    let said = stage
        .machine()
        .at_console(&format!(
            "systemctl show --value --property=InactiveExitTimestampMonotonic \
             --property=ActiveEnterTimestampMonotonic {unit}"
        ))
        .await?;
    // In systemd's own order, whatever was asked first.
    let mut times: Vec<u64> = said
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    times.sort_unstable();
    match times.as_slice() {
        [begun, done] if *begun > 0 => Ok((*begun, *done)),
        _ => anyhow::bail!("{unit} has not started in this boot: {said}"),
    }
}

async fn reboot(stage: &Stage) -> Result<String> {
    let access = stage.again("reboot").await?;
    let flow = Flow::begin(stage, &access).await?;
    flow.start().await?;
    let before = Listing::of(stage.machine()).await?;
    stage.machine().reboot(BOOT).await?;
    stage.lab.wait_for_ssh(BOOT).await?;
    let back = now_ns();
    stage.machine().wait_until_settled(BOOT).await?;
    let (_, policy) = started(stage, "shelly-bastion-policy.service").await?;
    let (network, _) = started(stage, "networking.service").await?;
    let (broker, _) = started(stage, "mosquitto.service").await?;
    for unit in JOURNAL_UNITS {
        let (journal, _) = started(stage, unit).await?;
        ensure!(
            policy <= journal,
            "promise broken: the policy was there {policy} µs after power, {unit} began at {journal}"
        );
    }
    ensure!(
        policy <= network && policy <= broker,
        "promise broken: the policy was there {policy} µs after power, the network began at {network}, the broker \
         at {broker}"
    );
    // Nobody lends a hand: meters and collector come back by themselves.
    flow.all_arrive_since(back)
        .await
        .context("readings after a reboot")?;
    let waited = (now_ns() - back) / 1_000_000_000;
    let after = Listing::of(stage.machine()).await?;
    before.ensure_same(&after, "after a reboot")?;
    stage
        .machine()
        .at_console("bastion verify")
        .await
        .context("verify after a reboot")?;
    Ok(format!(
        "policy at {:.1} s, before the network ({:.1} s) and the broker ({:.1} s); readings of all meters again \
         {waited} s after SSH; {} things are as before",
        seconds(policy),
        seconds(network),
        seconds(broker),
        after.len()
    ))
}

fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

/// A file that nft does not take, as a bad block of the card would leave it.
async fn failed_policy(stage: &Stage) -> Result<String> {
    let access = stage.again("failed-policy").await?;
    let bastion = stage.lab.topology.dmz.host(BASTION);
    let broker = [
        tcp(stage.lab.topology.wan.host(ROUTER).v4, 1883),
        tcp(bastion.v6, 1883),
    ];
    let found = probe::attempt(&stage.lab.stranger, "root", &broker).await?;
    ensure!(
        found.iter().all(probe::Outcome::got_through),
        "proves nothing: the broker is not reached before, either: {found:?}"
    );
    let damage = format!(
        "cp {RULESET_PATH} /root/kept && echo '{{\"nftables\": [{{' > {RULESET_PATH} && sync"
    );
    stage.machine().at_console(&damage).await?;
    stage.machine().reboot(BOOT).await?;
    stage.machine().wait_until_settled(BOOT).await?;
    let state = format!(
        "systemctl is-active shelly-bastion-policy.service mosquitto.service {}; true",
        JOURNAL_UNITS.join(" ")
    );
    let state = stage.machine().at_console(&state).await?;
    ensure!(
        state.starts_with("failed\n") && !state.contains("\nactive"),
        "promise broken: with a policy that does not load, policy and broker are {state}"
    );
    let tables = stage.machine().at_console("nft list tables").await?;
    let loaded = |name: &str| {
        tables
            .lines()
            .any(|line| line.trim() == format!("table inet {name}"))
    };
    ensure!(
        loaded(EARLY_TABLE) && !loaded(TABLE),
        "promise broken: with a policy that does not load, loaded are {tables}"
    );
    let found = probe::attempt(&stage.lab.stranger, "root", &broker).await?;
    ensure!(
        !found.iter().any(probe::Outcome::got_through),
        "promise broken: the broker is reached without a policy: {found:?}"
    );
    let ssh = stage.lab.wait_for_ssh(BOOT).await;
    ssh.context("promise broken: the admin cannot come in to mend it")?;
    stage
        .deploy_well(&access)
        .await
        .context("the next deployment must mend it")?;
    stage
        .machine()
        .at_console(&format!("cmp {RULESET_PATH} /root/kept"))
        .await?;
    let found = probe::attempt(&stage.lab.stranger, "root", &broker).await?;
    ensure!(
        found.iter().all(probe::Outcome::got_through),
        "the next deployment does not bring the broker back: {found:?}"
    );
    Ok("policy failed, early rules in force, broker down and not reached, SSH there for the admin; the next deployment mends it".to_owned())
}
