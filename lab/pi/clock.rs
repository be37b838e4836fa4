//! A machine without a clock of its own: it starts in the past, works there, and its time is set
//! while it works.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::eventually::{Look, eventually};
use lab::roles::outside;
use lab::virtual_pi::BOOT;
use lab::virtual_pi::machine::PowerOn;
use site::daemon::Report;

use crate::deployed::DEPLOYED;
use crate::flow::Flow;
use crate::stage::{Scenario, Stage, scenario};

/// Its time service asks again after half a minute to half an hour; it is started anew here.
const SET: Duration = Duration::from_secs(120);
const A_DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!("pi::clock_in_1970_at_boot_and_set_later", from DEPLOYED, clock).only_in_full()]
}

async fn clock(stage: &Stage) -> Result<String> {
    let access = stage.again("clock").await?;
    outside::time(&stage.lab.outside, false).await?;
    let done = without_time(stage, &access).await;
    outside::time(&stage.lab.outside, true).await?;
    let (off, waiting, flow) = done?;

    let broker = "systemctl show --value --property=MainPID mosquitto.service";
    let before = stage.machine().at_console(broker).await?;
    stage
        .machine()
        .at_console("systemctl restart systemd-timesyncd.service")
        .await?;
    eventually("a clock that is set", SET, || async {
        let off = stage.machine().clock_is_off_by().await?;
        Ok(if off <= Duration::from_secs(2) {
            Look::Done(())
        } else {
            Look::NotYet(format!("{} s off", off.as_secs()))
        })
    })
    .await?;
    let dated = flow.judge().await;
    let dated = dated.context("what was said before the clock was set")?;
    let later = flow.publish(6_000).await?;
    let after = stage.machine().at_console(broker).await?;
    ensure!(
        before == after,
        "promise broken: setting the clock restarted the broker"
    );
    stage.machine().at_console("bastion verify").await?;
    Ok(format!(
        "with a clock {days} days behind policy and broker were up, and {waiting} records waited; set while the \
         broker ran on, then with their right times {dated}; later {later}",
        days = off.as_secs() / 86_400,
    ))
}

/// Boots where no time is to be had; gives how far the clock is off, how many records wait for it, and
/// the flow of which they are.
async fn without_time<'a>(
    stage: &'a Stage,
    access: &lab::virtual_pi::access::Access,
) -> Result<(Duration, u64, Flow<'a>)> {
    let machine = stage.machine();
    // What systemd remembers of the time, as a card that was just written has none.
    machine
        .at_console(
            "systemctl stop systemd-timesyncd.service; rm -f /var/lib/systemd/timesync/clock; sync",
        )
        .await?;
    machine.power_cut().await?;
    machine
        .power_on(&PowerOn {
            clock: Some("1970-01-01T00:00:00".to_owned()),
            ..PowerOn::default()
        })
        .await?;
    stage.lab.wait_for_ssh(BOOT).await?;
    machine.wait_until_settled(BOOT).await?;
    let off = machine.clock_is_off_by().await?;
    ensure!(
        off > A_DAY,
        "the clock is only {} s off, so nothing is shown",
        off.as_secs()
    );
    let state = "systemctl is-active shelly-bastion-policy.service mosquitto.service";
    machine.at_console(state).await?;
    let flow = Flow::begin(stage, access).await?;
    flow.say(6_000).await?;
    let said = machine.at_console("bastion journal --json").await?;
    let journal = serde_json::from_str::<Report>(&said)
        .context("reading the daemon's report")?
        .journal;
    ensure!(
        journal.clock.is_none() && journal.served == 0 && journal.newest > 0,
        "promise broken: without a clock nothing may be served: {journal:?}"
    );
    Ok((off, journal.newest, flow))
}
