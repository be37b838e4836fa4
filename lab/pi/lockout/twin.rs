//! The same releases without the way back: then the admin really is locked out, and stays so after
//! a restart. So the matrix could fail.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::bad_release::{self, BadRelease};
use lab::virtual_pi::BOOT;

use super::cell::{MARGIN, begin};
use super::times::{self, At};
use super::watch::{until_or_ended, window_ends};
use crate::deployed::LATER;
use crate::stage::Stage;

/// As long as SSH is greeted in vain before it counts as shut.
const IN_VAIN: Duration = Duration::from_secs(15);

/// What brings the state before back, at the window's end and at boot.
const TAKE_AWAY: &str = "
    systemctl stop shelly-bastion-window.timer
    units=/etc/systemd/system
    rm -r /var/lib/shelly-bastion/transaction $units/shelly-bastion-go-back.service
    rm $units/sysinit.target.wants/shelly-bastion-go-back.service
    sync";

pub(super) async fn firewall(stage: &Stage) -> Result<String> {
    locked_out_for_good(stage, &bad_release::no_ssh_rule).await
}

pub(super) async fn unit(stage: &Stage) -> Result<String> {
    locked_out_for_good(stage, &bad_release::unit_with_rules_of_its_own).await
}

async fn locked_out_for_good(stage: &Stage, release: &BadRelease) -> Result<String> {
    ensure!(
        stage.lab.greets().await?,
        "SSH does not answer to begin with"
    );
    let mut running = begin(stage, release).await?;
    let waiting = "[ -e /var/lib/shelly-bastion/transaction/waiting ]";
    let waits = until_or_ended(stage, &mut running, waiting, LATER).await?;
    ensure!(waits, "{} never waits for its confirmation", release.name);
    let ends = window_ends(stage)
        .await?
        .context("the record of the change is gone")?;
    stage.machine().at_console(TAKE_AWAY).await?;
    running.kill().await?;
    At(ends.0 + MARGIN).come().await?;
    let greeted = times::greeted(stage, IN_VAIN).await?;
    ensure!(
        greeted.is_none(),
        "{}: SSH answers although nothing goes back",
        release.name
    );
    stage.machine().reboot(BOOT).await?;
    times::booted(stage, BOOT).await?;
    let greeted = times::greeted(stage, IN_VAIN).await?;
    ensure!(
        greeted.is_none(),
        "{}: SSH answers after a restart although nothing goes back",
        release.name
    );
    Ok(format!(
        "{}: with the timer and the unit at boot taken away SSH stays shut, {MARGIN} s after the \
         window and after a restart",
        release.name
    ))
}
