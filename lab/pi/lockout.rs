//! Bad releases cannot lock anyone out: each of them, with each thing that may happen to the
//! deployer or the bastion meanwhile. SSH is back within ten seconds of the end of the window, or
//! of the start when that is later; the deployer does not say that it went well; and the machine is
//! what it was.
//!
//! The releases are made in `lab::bad_release`. The whole matrix takes hours, so it runs when
//! everything is asked for; otherwise a sample of it, chosen by the seed.

mod cell;
mod times;
mod twin;
mod watch;

use anyhow::{Context as _, Result, ensure};
use lab::bad_release::{self, ALL, BadRelease};
use lab::sample::sample;

use crate::deployed::DEPLOYED;
use crate::stage::{Scenario, Stage, scenario};

pub(crate) use times::began;
pub(crate) use watch::{settled, until_or_ended};

use cell::{Cell, Fate};

/// Cells of a run that is not full.
const SAMPLE: usize = 3;

/// The cells of the matrix, as scenarios: each release with each fate.
macro_rules! matrix {
    ($($release:ident),* $(,)?) => {
        vec![$(
            matrix!(@ $release, client_alive, ClientAlive),
            matrix!(@ $release, client_killed, ClientKilled),
            matrix!(@ $release, target_rebooted, TargetRebooted),
            matrix!(@ $release, link_cut, LinkCut),
        )*]
    };
    (@ $release:ident, $word:ident, $fate:ident) => {
        lab::runner::Scenario::<Stage> {
            name: concat!("pi::lockout::", stringify!($release), "::", stringify!($word)),
            needs: Some(DEPLOYED),
            only_in_full: true,
            body: |stage| {
                Box::pin(async move {
                    let cell = Cell {
                        release: bad_release::$release,
                        fate: Fate::$fate,
                    };
                    cell.show(stage).await
                })
            },
        }
    };
}

fn cells() -> Vec<Scenario> {
    matrix![
        no_ssh_rule,
        wrong_interface,
        wrong_admin,
        v6_only,
        connection_tracking_flushed,
        everything_dropped,
        ruleset_does_not_load,
        port_changed,
        sshd_config_broken,
        unit_that_fails,
        unit_that_hangs,
        unit_with_rules_of_its_own,
        unit_that_routes_away,
        broker_config_broken,
        passwords_damaged,
        health_account_missing,
        program_that_crashes,
        policy_unit_broken,
    ]
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        scenario!("pi::lockout_sample", from DEPLOYED, a_sample),
        scenario!("pi::lockout_is_real_without_the_way_back", from DEPLOYED, twin::firewall),
        scenario!(
            "pi::lockout_by_a_unit_is_real_without_the_way_back",
            from DEPLOYED,
            twin::unit
        )
        .only_in_full(),
    ];
    scenarios.extend(cells());
    scenarios
}

async fn a_sample(stage: &Stage) -> Result<String> {
    let cells = cells();
    let of = |release: &BadRelease| {
        let beginning = format!("pi::lockout::{}::", release.name);
        cells
            .iter()
            .filter(|cell| cell.name.starts_with(&beginning))
            .count()
    };
    for release in ALL {
        ensure!(of(release) == 4, "the matrix leaves {} out", release.name);
    }
    let seed = stage.lab.artifacts.seed;
    let mut shown = Vec::new();
    for cell in sample(&cells, seed, SAMPLE) {
        let evidence = (cell.body)(stage).await;
        let evidence = evidence.with_context(|| format!("{} (--seed {seed})", cell.name))?;
        shown.push(format!("\n    {}: {evidence}", cell.name));
    }
    Ok(format!(
        "{} of {} cells, chosen by --seed {seed}:{}",
        shown.len(),
        cells.len(),
        shown.concat()
    ))
}
