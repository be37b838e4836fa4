//! Promise 2: no reading is lost, moved in time, or doubled, on the way from the meters on the
//! WAN through the port forward, the broker and the collector into the database.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::judge::{self, Readings};
use lab::live::{self, everything_stored, fleet_of};
use lab::roles::{collector, fleet};
use lab::{Lab, site_file};
use site::Meter;

use crate::shared::{Scenario, Stage, scenario};

/// Meters that publish.
const PUBLISHING: usize = 60;
/// Meters of the site: the rest is for scenarios that speak as a meter themselves. Each takes its
/// own, since two programs on one account throw each other out.
pub(crate) const METERS: usize = PUBLISHING + 140;
const READER_STARTS: usize = 0;
const PERIOD_MS: u64 = 3000;
const DURATION_MS: u64 = 30_000;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![scenario!(
        "delivery::what_sixty_meters_publish_is_what_the_database_holds",
        delivery
    )]
}

/// Shelly EMs that publish nothing by themselves; scenarios speak as these.
pub(crate) fn spares(lab: &Lab) -> impl Iterator<Item = &Meter> {
    let kind = site_file::MODELS.first().map(|(kind, _)| *kind);
    let meters = lab.site.meters.iter().skip(PUBLISHING);
    meters.filter(move |meter| Some(meter.model.name) == kind)
}

/// Id and topic prefix of one of them.
pub(crate) fn spare(lab: &Lab, number: usize) -> Result<(&str, &str)> {
    let meter = spares(lab)
        .nth(number)
        .with_context(|| format!("the site has no spare meter {number}"))?;
    Ok((&meter.id, &meter.prefix))
}

/// Id of the first spare meter, and a topic of its own that is no reading.
pub(crate) fn first_spare(lab: &Lab) -> Result<(&str, String)> {
    let (id, prefix) = spare(lab, READER_STARTS)?;
    Ok((id, format!("{prefix}/info")))
}

async fn delivery(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    collector::start(&lab.collector)
        .await
        .context("promise broken: the collector cannot read the broker")?;
    let mut all = fleet_of(lab, PERIOD_MS, Some(DURATION_MS))?;
    all.meters.truncate(PUBLISHING);
    fleet::install(&lab.meters, &all).await?;
    let published = fleet::publish(&lab.meters).await?;
    ensure!(
        published.code == 0,
        "the fleet ended with {}: {}",
        published.code,
        published.stderr
    );
    let complaints = published
        .stderr
        .lines()
        .rev()
        .take(3)
        .collect::<Vec<_>>()
        .join("; ");
    let summary = format!("{} {complaints}", published.stdout.trim());
    let sent = judge::sent(&fleet::ledger(&lab.meters).await?);
    let devices: BTreeSet<&str> = sent.keys().map(|(device, ..)| device.as_str()).collect();
    ensure!(
        devices.len() == PUBLISHING,
        "promise broken: {} of {PUBLISHING} meters got their readings to the broker; the fleet says {summary}",
        devices.len()
    );
    let verdict = live::arrives(
        &sent,
        judge::TOLERANCE_NS,
        Duration::from_secs(15),
        || async {
            let mut stored: Readings = judge::stored(&everything_stored(lab).await?)?;
            stored.retain(|(device, ..), _| devices.contains(device.as_str()));
            Ok(stored)
        },
    )
    .await?;
    let series = judge_tags(&judge::tags(&everything_stored(lab).await?)?)?;
    let (meters, models) = (devices.len(), site_file::MODELS.len());
    Ok(format!(
        "{meters} meters of {models} models; {verdict}; {series} series with the right tags"
    ))
}

/// Every series names its site, meter, metering point, model and generation, and nothing else
/// but its channel. What they are is known from how the lab's site file was written.
fn judge_tags(found: &[BTreeMap<String, String>]) -> Result<usize> {
    let expected: BTreeMap<String, BTreeMap<&str, String>> = (0..METERS)
        .map(|n| {
            let (id, model, generation) = site_file::meter_id(n);
            let tags = [
                ("site", "lab".to_owned()),
                ("device", id.clone()),
                ("point", format!("point-{n}")),
                ("model", model.to_owned()),
                ("gen", generation.to_owned()),
            ];
            (id, tags.into())
        })
        .collect();
    for tags in found {
        let device = tags.get("device").context("a series has no tag `device`")?;
        let wanted = expected
            .get(device)
            .with_context(|| format!("nobody is called {device}"))?;
        let stored: BTreeMap<&str, String> = tags
            .iter()
            .filter(|(tag, _)| *tag != "channel")
            .map(|(tag, value)| (tag.as_str(), value.clone()))
            .collect();
        ensure!(
            stored == *wanted,
            "promise broken: the tags of {device} are {stored:?}, expected {wanted:?}"
        );
    }
    Ok(found.len())
}
