//! The device goes away and comes back, as a network adapter on a loose plug does: the chain at the
//! device goes with it, and udev brings it back by itself, with the policy's own mark.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::eventually::{Look, eventually};
use lab::virtual_pi::BOOT;
use site::manifest::{EGRESS_TABLE, TABLE};

use crate::deployed::DEPLOYED;
use crate::flow::Flow;
use crate::reboot::now_ns;
use crate::stage::{Scenario, Stage, scenario};

const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_net";
const UNIT: &str = "shelly-bastion-egress.service";
/// An emulated machine on a busy host.
const A_WHILE: Duration = Duration::from_secs(180);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!("pi::device_that_comes_back_is_guarded_again", from DEPLOYED, gone_and_back)]
}

async fn gone_and_back(stage: &Stage) -> Result<String> {
    let access = stage.again("device").await?;
    let flow = Flow::begin(stage, &access).await?;
    flow.start().await?;
    let machine = stage.machine();
    ensure!(
        passed(stage).await?.is_some_and(|packets| packets > 0),
        "proves nothing: the chain at the device is not in the way of packets to begin with"
    );
    let device = machine
        .at_console("basename \"$(readlink -f /sys/class/net/eth0/device)\"")
        .await?;
    let device = device.trim();
    machine
        .at_console(&format!("echo {device} > {DRIVER}/unbind"))
        .await
        .context("taking the device away")?;
    is(stage, "inactive").await?;
    ensure!(
        passed(stage).await?.is_none(),
        "the chain of a device that is gone is still there"
    );
    let policy = format!("nft list table inet {TABLE} >/dev/null && ! test -e /sys/class/net/eth0");
    machine
        .at_console(&policy)
        .await
        .context("promise broken: the policy went with the device, or the device is still there")?;
    let without = machine.console("bastion verify", A_WHILE).await?;
    ensure!(
        without.code != 0,
        "promise broken: verify holds though no chain guards the device: {}",
        without.stdout
    );

    let back = now_ns();
    machine
        .at_console(&format!("echo {device} > {DRIVER}/bind"))
        .await
        .context("putting the device back")?;
    is(stage, "active")
        .await
        .context("promise broken: udev does not start the unit of the chain")?;
    ensure!(
        passed(stage).await?.is_some(),
        "promise broken: the unit runs, and there is no chain at the device"
    );
    // What a program for networks does by itself on a Pi, and this one does at a start only.
    machine
        .console("systemctl restart networking.service", A_WHILE)
        .await?
        .success()
        .context("configuring the device again")?;
    stage.lab.wait_for_ssh(BOOT).await?;
    // Meters and collector come back by themselves. Without the policy's own mark nothing would leave.
    flow.all_arrive_since(back)
        .await
        .context("promise broken: readings do not flow again")?;
    let counted = passed(stage).await?;
    ensure!(
        counted.is_some_and(|packets| packets > 0),
        "promise broken: readings flow, and the chain at the device counted none of their packets"
    );
    let with = machine.console("bastion verify", A_WHILE).await?;
    with.success()
        .context("promise broken: verify does not hold again")?;
    Ok(format!(
        "{device} gone: the policy stays, the chain goes, verify ends with {}; back: the chain came by udev, readings of \
         all meters flow, {} packets passed it, verify holds",
        without.code,
        counted.unwrap_or_default()
    ))
}

/// Packets that the chain at the device has let pass with the policy's mark; none without a chain.
async fn passed(stage: &Stage) -> Result<Option<u64>> {
    let listed = format!("nft list chain netdev {EGRESS_TABLE} egress");
    let listed = stage.machine().console(&listed, A_WHILE).await?;
    if listed.code != 0 {
        return Ok(None);
    }
    let rule = listed
        .stdout
        .lines()
        .find(|line| line.contains("egress-passed"))
        .with_context(|| format!("a chain without its first rule: {}", listed.stdout))?;
    let mut words = rule.split_whitespace();
    let packets = words.find(|word| *word == "packets").and(words.next());
    let packets = packets.and_then(|packets| packets.parse().ok());
    let packets = packets.with_context(|| format!("a rule that does not count: {rule}"))?;
    Ok(Some(packets))
}

/// Waits until the unit of the chain is in a state.
async fn is(stage: &Stage, wanted: &str) -> Result<()> {
    eventually(format!("{UNIT} to be {wanted}"), A_WHILE, || async {
        let asked = format!("systemctl is-active {UNIT}; true");
        let state = stage.machine().at_console(&asked).await?;
        Ok(match state.trim() {
            state if state == wanted => Look::Done(()),
            state => Look::NotYet(state.to_owned()),
        })
    })
    .await
}
