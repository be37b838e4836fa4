//! New cards: the same bastion again from site file and secrets file, and packages carried along
//! where no source is reached.

use std::time::Instant;

use anyhow::{Context as _, Result};
use lab::roles::outside;
use lab::virtual_pi::BLANK;
use lab::virtual_pi::access::Access;

use crate::deployed::{FIRST, refused, seconds_of, well};
use crate::flow::Flow;
use crate::listing::{HISTORY, IN_PLACE, Listing, RELEASES};
use crate::stage::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::blank_card_is_a_restore", from BLANK, blank_card).only_in_full(),
        scenario!("pi::offline_brings_packages_along", from BLANK, offline).only_in_full(),
    ]
}

async fn blank_card(stage: &Stage) -> Result<String> {
    // The bastion that is lost: its folder is all that is left of it.
    let access = stage.again("blank-card").await?;
    let lost = stage.first().await?.after.clone();
    stage.begin_from(BLANK).await?;
    let start = Instant::now();
    well(
        stage.deploy(&access, &[], FIRST).await?,
        "deploying to a new card",
    )?;
    let took = start.elapsed();
    stage.machine().wait_until_settled(FIRST).await?;
    let new = Listing::of(stage.machine()).await?;
    // Releases are named after the second of their deployment, and users come with the day on which
    // they were made.
    let own = [HISTORY, IN_PLACE, RELEASES, "file /etc/shadow"];
    let (lost, new) = (lost.without(&own), new.without(&own));
    lost.ensure_same(&new, "promise broken: the bastion on a new card")?;
    // The meters were told nothing.
    let flow = Flow::begin(stage, &access).await?;
    let verdict = flow.publish(8_000).await?;
    Ok(format!(
        "{:.0} s; {} things as on the lost one; accounts unchanged: {verdict}",
        took.as_secs_f32(),
        new.len()
    ))
}

async fn offline(stage: &Stage) -> Result<String> {
    let access = stage.site("offline")?;
    outside::packages(&stage.lab.outside, false).await?;
    let done = without_sources(stage, &access).await;
    outside::packages(&stage.lab.outside, true).await?;
    done
}

async fn without_sources(stage: &Stage, access: &Access) -> Result<String> {
    let before = Listing::of(stage.machine()).await?;
    let output = stage.deploy(access, &[], FIRST).await?;
    refused(
        output,
        &["packages"],
        "deploying where no package source answers",
    )?;
    // apt wrote into its own folders only.
    before
        .ensure_same(
            &Listing::of(stage.machine()).await?,
            "a deployment without packages",
        )
        .context("promise broken")?;
    let output = well(
        stage.deploy(access, &["--offline"], FIRST).await?,
        "deploying with --offline",
    )?;
    let flow = Flow::begin(stage, access).await?;
    let verdict = flow.publish(6_000).await?;
    let second = |step| seconds_of(&output, step).unwrap_or_default();
    Ok(format!(
        "refused without it, nothing changed; fetched and carried over in {:.1} s, installed in {:.1} s; {verdict}",
        second("fetch"),
        second("packages")
    ))
}
