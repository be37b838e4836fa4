//! Promise 2 while the machine itself fails: its power, its start, its clock. Three hundred meters
//! publish more than two hundred messages a second meanwhile. And what all of them cost it: memory
//! and what is written to the card.
//!
//! The emulator is killed, so what it had handed to the host is kept: this shows what was not yet
//! synced, and not what a card's own cache may lose.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::eventually::{Look, eventually};
use lab::judge::{Gap, TOLERANCE_NS};
use lab::virtual_pi::BOOT;
use lab::virtual_pi::machine::PowerOn;
use site::daemon::Report;

use crate::deployed::{DEPLOYED, LATER};
use crate::flow::{Flow, JOURNAL_UNITS};
use crate::lockout::began;
use crate::many::METERS;
use crate::reboot::{now_ns, started};
use crate::stage::{Scenario, Stage, scenario};

/// Each meter says about twelve messages each time: 225 a second of all of them.
const PERIOD_MS: u64 = 16_000;
/// The same for 25 a second, what such a fleet says when nothing is under load.
const CALM_PERIOD_MS: u64 = 105_000;
/// How long the card is looked at.
const LOOKED_AT: Duration = Duration::from_secs(600);
const MOST_A_DAY: u64 = 1_000_000_000;
const MOST_MEMORY_KB: u64 = 12 << 10;
/// Before and after something happens.
const WHILE: Duration = Duration::from_secs(20);
/// What the broker had and the daemon not yet, and the group that was open.
const ON_ITS_WAY_NS: u64 = 2_000_000_000;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::outage::reboot_in_mid_run", from DEPLOYED, reboot).only_in_full(),
        scenario!("pi::outage::power_cut_in_mid_run", from DEPLOYED, power_cut).only_in_full(),
        scenario!("pi::outage::clock_steps_in_mid_run", from DEPLOYED, clock_steps).only_in_full(),
        scenario!(
            "pi::outage::memory_and_card_of_three_hundred_meters",
            from DEPLOYED,
            memory_and_card
        )
        .only_in_full(),
    ]
}

async fn begin(stage: &Stage, period_ms: u64) -> Result<Flow<'_>> {
    let access = stage.begin_with_many_meters().await?;
    let flow = Flow::begin_with(stage, access, period_ms).await?;
    flow.start().await?;
    Ok(flow)
}

async fn report(stage: &Stage) -> Result<Report> {
    let said = stage.machine().at_console("bastion journal --json").await?;
    serde_json::from_str(&said).context("reading the daemon's report")
}

/// From when the broker of this boot was started until the daemon heard it: what came in between
/// nobody can have journaled.
async fn unheard(stage: &Stage) -> Result<Gap> {
    let heard = eventually("the daemon to hear the broker", LATER, || async {
        Ok(match report(stage).await {
            Ok(report) if report.connected => Look::Done(now_ns()),
            Ok(_) => Look::NotYet("not connected".to_owned()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await?;
    let (broker_us, _) = started(stage, "mosquitto.service").await?;
    let began_ns = began(stage).await?.nanoseconds();
    Ok((began_ns + broker_us * 1000, heard))
}

/// Waits until readings of all meters are stored again; gives what [`unheard`] does.
async fn heard(flow: &Flow<'_>, stage: &Stage) -> Result<Gap> {
    let unheard = unheard(stage).await?;
    flow.all_arrive_since(unheard.1)
        .await
        .context("readings of all meters afterwards")?;
    Ok(unheard)
}

/// Ends the run, and says what happened in words. `unserved` is from when the daemon had ended until
/// the broker had.
async fn judged(flow: &Flow<'_>, happened: &str, unserved: Gap, unheard: Gap) -> Result<String> {
    let begin = unserved.0.saturating_sub(ON_ITS_WAY_NS);
    let gaps = [(begin, unserved.1), unheard];
    let verdict = flow.end_with_gaps(&gaps).await?;
    let away = Duration::from_nanos(unheard.1.saturating_sub(unserved.1));
    Ok(format!(
        "{METERS} meters; {happened}, journaled again after {:.0} s; {verdict}",
        away.as_secs_f32()
    ))
}

async fn reboot(stage: &Stage) -> Result<String> {
    let flow = begin(stage, PERIOD_MS).await?;
    tokio::time::sleep(WHILE).await;
    // The daemon ends first, and the broker some time later.
    let told_ns = now_ns();
    stage.machine().reboot(BOOT).await?;
    stage.lab.wait_for_ssh(BOOT).await?;
    let unheard = heard(&flow, stage).await?;
    let unserved = flow.end_of_the_broker(told_ns).await?;
    judged(&flow, "told to restart", unserved, unheard).await
}

async fn power_cut(stage: &Stage) -> Result<String> {
    let flow = begin(stage, PERIOD_MS).await?;
    tokio::time::sleep(WHILE).await;
    stage.machine().power_cut().await?;
    let cut_ns = now_ns();
    stage.machine().power_on(&PowerOn::default()).await?;
    stage.lab.wait_for_ssh(BOOT).await?;
    let unheard = heard(&flow, stage).await?;
    let said = judged(&flow, "power cut and put back", (cut_ns, cut_ns), unheard).await?;
    let damaged = report(stage).await?.journal.damaged;
    Ok(format!("{said}; {damaged} places damaged"))
}

/// Whatever the clock does, a boot's wall time is fixed once.
async fn clock_steps(stage: &Stage) -> Result<String> {
    let flow = begin(stage, PERIOD_MS).await?;
    let machine = stage.machine();
    // Nobody sets it right meanwhile.
    machine
        .at_console("systemctl stop systemd-timesyncd.service")
        .await?;
    for (step, least_s) in [("+ 3600", 3000), ("- 7200", 3000)] {
        machine
            .at_console(&format!("date -s @$(( $(date +%s) {step} ))"))
            .await?;
        let off = machine.clock_is_off_by().await?.as_secs();
        ensure!(
            off > least_s,
            "proves nothing: the clock is only {off} s off"
        );
        let stepped = now_ns();
        tokio::time::sleep(WHILE / 2).await;
        flow.all_arrive_since(stepped).await?;
    }
    machine.set_clock().await?;
    machine
        .at_console("systemctl start systemd-timesyncd.service")
        .await?;
    let verdict = flow.end(TOLERANCE_NS).await?;
    Ok(format!(
        "clock an hour ahead, then an hour behind, while they published: {verdict}"
    ))
}

async fn memory_and_card(stage: &Stage) -> Result<String> {
    let access = stage.begin_with_many_meters().await?;
    let flow = Flow::begin_with(stage, access, CALM_PERIOD_MS).await?;
    let flow = flow.in_periods_only();
    flow.start().await?;
    let before = report(stage).await?.journal.newest;
    let wrote = written(stage).await?;
    tokio::time::sleep(LOOKED_AT).await;
    let wrote = written(stage).await? - wrote;
    let messages = report(stage).await?.journal.newest - before;
    let [daemon, ticker] = [
        memory(stage, JOURNAL_UNITS[0]).await?,
        memory(stage, JOURNAL_UNITS[1]).await?,
    ];
    let seconds = LOOKED_AT.as_secs();
    let (rate, a_day) = (messages / seconds, wrote * 86_400 / seconds);
    let seen = format!(
        "{METERS} meters, {rate} messages a second for {seconds} s: {} kB written to the card by everything on it, \
         {} MB a day (at most {}); daemon {daemon} kB at its most (at most {MOST_MEMORY_KB}), ticker {ticker} kB",
        wrote / 1000,
        a_day / 1_000_000,
        MOST_A_DAY / 1_000_000
    );
    let verdict = flow.end(TOLERANCE_NS).await;
    let verdict = verdict.with_context(|| seen.clone())?;
    ensure!(rate >= 20, "proves nothing: {seen}");
    ensure!(
        daemon <= MOST_MEMORY_KB && a_day <= MOST_A_DAY,
        "too much: {seen}"
    );
    Ok(format!("{seen}; {verdict}"))
}

/// Bytes that were written to the card since power, as its block device counts.
async fn written(stage: &Stage) -> Result<u64> {
    let look = "sync; awk '{print $7}' /sys/block/vda/stat";
    let said = stage.machine().at_console(look).await?;
    let sectors: u64 = said.trim().parse().context("reading the card's counters")?;
    Ok(sectors * 512)
}

/// The most memory that a unit's process ever had, in kB.
async fn memory(stage: &Stage, unit: &str) -> Result<u64> {
    let look = format!(
        "awk '/^VmHWM/ {{print $2}}' /proc/$(systemctl show --value --property=MainPID {unit})/status"
    );
    let said = stage.machine().at_console(&look).await?;
    said.trim()
        .parse()
        .with_context(|| format!("reading the memory of {unit}"))
}
