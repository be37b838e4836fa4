//! The journal's two units on the Pi: who they run as, what they may, that they come back, and that a
//! person at the operator's machine is told how the journal stands.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lab::eventually::{Look, eventually};
use lab::virtual_pi::BOOT;

use crate::deployed::{DEPLOYED, LATER, well};
use crate::flow::{Flow, JOURNAL_UNITS};
use crate::stage::{Scenario, Stage, scenario};

/// More often than systemd's own limit of starts allows.
const KILLS: usize = 6;
const FOLDER: &str = "/var/lib/private/shelly-bastion-journal";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!("pi::journal_runs_without_rights_and_comes_back", from DEPLOYED, journal)]
}

async fn journal(stage: &Stage) -> Result<String> {
    let access = stage.again("journal").await?;
    let flow = Flow::begin(stage, &access).await?;
    let first = flow.publish(6_000).await?;
    for unit in JOURNAL_UNITS {
        without_rights(stage, unit).await?;
        comes_back(stage, unit).await?;
    }
    closed_to_others(stage).await?;
    let later = flow.publish(6_000).await?;
    let said = well(
        stage.deployer(&access, &["status"], LATER).await?,
        "asking for the status",
    )?;
    for words in ["journal: broker", "journal: records", "journal: meter"] {
        ensure!(
            said.stdout.contains(words),
            "the status does not tell `{words}`: {}",
            said.stdout
        );
    }
    Ok(format!(
        "{first}; both units without a capability and with a user of their own, each back after {KILLS} kills; \
         then {later}"
    ))
}

async fn process(stage: &Stage, unit: &str) -> Result<String> {
    let asked = format!("systemctl show --value --property=MainPID {unit}");
    Ok(stage.machine().at_console(&asked).await?.trim().to_owned())
}

async fn without_rights(stage: &Stage, unit: &str) -> Result<()> {
    let machine = stage.machine();
    let wanted = [
        ("DynamicUser", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("StartLimitIntervalUSec", "0"),
        ("Restart", "always"),
    ];
    let names = wanted.map(|(name, _)| name).join(",");
    let said = machine
        .at_console(&format!("systemctl show --property={names} {unit}"))
        .await?;
    let is: BTreeMap<&str, &str> = said
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    for (name, value) in wanted {
        ensure!(
            is.get(name) == Some(&value),
            "promise broken: {name} of {unit} is {:?}, not {value}",
            is.get(name)
        );
    }
    let status = format!("cat /proc/{}/status", process(stage, unit).await?);
    let status = machine.at_console(&status).await?;
    let has = |line: &str| status.lines().any(|each| each == line);
    let user = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next())
        .and_then(|user| user.parse::<u32>().ok());
    ensure!(
        has("CapEff:\t0000000000000000")
            && has("CapBnd:\t0000000000000000")
            && has("NoNewPrivs:\t1"),
        "promise broken: {unit} has rights: {status}"
    );
    // The range that systemd takes such users from.
    ensure!(
        user.is_some_and(|user| (61184..=65519).contains(&user)),
        "promise broken: {unit} runs as user {user:?}"
    );
    Ok(())
}

async fn comes_back(stage: &Stage, unit: &str) -> Result<()> {
    for _ in 0..KILLS {
        let before = process(stage, unit).await?;
        let kill = format!("kill -KILL {before}");
        stage.machine().at_console(&kill).await?;
        eventually(format!("{unit} to be back"), BOOT, || async {
            let now = process(stage, unit).await?;
            Ok(if now != "0" && now != before {
                Look::Done(())
            } else {
                Look::NotYet(format!("its process is {now}, it was {before}"))
            })
        })
        .await?;
    }
    Ok(())
}

/// Others cannot look into the journal; its twin is root, who can.
async fn closed_to_others(stage: &Stage) -> Result<()> {
    let machine = stage.machine();
    let there = machine
        .at_console(&format!("ls {FOLDER}"))
        .await
        .context("proves nothing: root sees no journal")?;
    ensure!(
        there.contains(".segment"),
        "proves nothing: there is no journal: {there}"
    );
    for user in ["pi", "mosquitto"] {
        let look = format!("runuser -u {user} -- ls {FOLDER}");
        let said = machine.console(&look, BOOT).await?;
        ensure!(
            said.code != 0,
            "promise broken: {user} looks into the journal: {}",
            said.stdout
        );
    }
    Ok(())
}
