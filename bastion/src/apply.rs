//! Puts a rendered folder in place: firewall first, then files, then units.
//!
//! Everything is checked before anything is changed. The order is the safe one: when the
//! firewall does not load, or does not read back as rendered, nothing else is done, so the
//! broker never runs without it. The manifest is kept on the machine while, and only while, what
//! it lists was applied to the end: it is taken away before the first change and put back after
//! the last one. So a run that was cut short is seen, and made good by the next.
//!
//! With a time for a confirmation, the way back is armed before the first change, and what does
//! not hold is undone at once; how, is left to [`crate::transaction`].

mod files;

pub(crate) use files::{attributes, outdated};

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};
use site::answer::{self, Event, Outcome, Report, State, UnitAction};
use site::manifest::APPLIED_PATH;
use tracing::{info, warn};

use crate::bundle::Bundle;
use crate::health::{self, Baseline};
use crate::host::{Host, read_if_present};
use crate::plan::Change;
use crate::release::{self, IN_PLACE_PATH};
use crate::transaction::{self, Asked};
use crate::{durable, firewall, history, packages, process, say, service, units};

/// How a folder is to be put in place.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Name of the release; made up from the time when none is given.
    pub release: Option<&'a str>,
    /// Seconds in which it must be confirmed; for good at once when none are given.
    pub confirm_within: Option<u64>,
    /// Who asks, for the history.
    pub by: &'a str,
    /// [`Event::Applied`], or [`Event::Rollback`] for a release that is kept on the machine.
    pub event: Event,
    /// Answer with one JSON document.
    pub json: bool,
}

/// Puts a folder in place.
///
/// # Errors
/// When the folder is damaged, the machine is not ready for it, or a step fails without a way
/// back; the message names the step.
pub fn run(host: &Host, folder: &Path, options: &Options<'_>) -> Result<ExitCode> {
    process::lead_a_group();
    let outcome = apply(host, folder, options)?;
    say::answer(&outcome, options.json)
}

/// Puts a folder in place, and says how that ended.
///
/// # Errors
/// As for [`run`].
pub(crate) fn apply(host: &Host, folder: &Path, options: &Options<'_>) -> Result<Outcome> {
    // What is damaged is refused before an earlier run is tidied up after.
    Bundle::read(folder).with_context(|| format!("reading {}", folder.display()))?;
    let id = match options.release {
        Some(id) => id.to_owned(),
        None => release::new_id(folder, SystemTime::now())?,
    };
    release::check_id(&id)?;
    let _alone = host.lock()?;
    let repaired = transaction::repair(host)?;
    let mut change = Change::of(host, folder)?;
    is_ready(&change)?;
    if change.plan.is_empty() {
        return Ok(Outcome {
            release: release::in_place(host)?.unwrap_or(id),
            reason: repaired.unwrap_or_default(),
            ..outcome(State::Nothing, &change)
        });
    }
    change.plan.repairs.extend(repaired);
    release::save(host, &id, folder, &change.bundle).context("keeping the release")?;
    match options.confirm_within {
        None => for_good(host, &change, &id, options),
        Some(window_s) => with_a_way_back(host, &change, &id, window_s, options),
    }
}

/// What only packages bring must be there before the first change.
fn is_ready(change: &Change) -> Result<()> {
    ensure!(
        change.plan.packages.is_empty(),
        "packages are lacking: {}; run `bastion packages FOLDER` first",
        packages::words(&change.plan.packages)
    );
    ensure!(
        change.unknown.is_empty(),
        "the rules name users that this machine does not have: {}; the packages that bring them \
         are missing from the manifest, or damaged",
        change.unknown.join(", ")
    );
    Ok(())
}

fn outcome(state: State, change: &Change) -> Outcome {
    Outcome {
        format: answer::FORMAT,
        release: String::new(),
        state,
        reason: String::new(),
        seconds_left: None,
        plan: change.plan.clone(),
        verify: None,
    }
}

fn for_good(host: &Host, change: &Change, id: &str, options: &Options<'_>) -> Result<Outcome> {
    carry_out(host, change, id)?;
    note(host, change, id, options)?;
    release::prune(host, &history::read(host)?)?;
    if !host.has_systemd() {
        info!("units and packages were skipped: this machine is not run by systemd");
    }
    Ok(Outcome {
        release: id.to_owned(),
        ..outcome(State::Confirmed, change)
    })
}

fn with_a_way_back(
    host: &Host,
    change: &Change,
    id: &str,
    window_s: u64,
    options: &Options<'_>,
) -> Result<Outcome> {
    let before = health::before(host, change.compared());
    let asked = Asked {
        release: id,
        event: options.event,
        by: options.by,
        window_s,
    };
    transaction::begin(host, change, &asked)?;
    let mut report = None;
    let done = put_in_place(host, change, id, options, &before, &mut report);
    let reason = match done {
        Ok(left) => {
            return Ok(Outcome {
                release: id.to_owned(),
                seconds_left: Some(left),
                verify: report,
                ..outcome(State::Waiting, change)
            });
        }
        Err(error) => format!("{error:#}"),
    };
    warn!("it does not hold, so the state before comes back: {reason}");
    let (state, faults) = transaction::go_back(host, &reason, false)?
        .unwrap_or_else(|| (State::Half, "the record of the change is gone".to_owned()));
    let reason = if faults.is_empty() {
        reason
    } else {
        format!("{reason}; not brought back: {faults}")
    };
    Ok(Outcome {
        release: id.to_owned(),
        reason,
        verify: report,
        ..outcome(state, change)
    })
}

/// Gives the seconds that are left for a confirmation.
fn put_in_place(
    host: &Host,
    change: &Change,
    id: &str,
    options: &Options<'_>,
    before: &Baseline,
    report: &mut Option<Report>,
) -> Result<u64> {
    carry_out(host, change, id)?;
    let health = health::after(host, change.manifest(), before);
    *report = Some(health.report);
    if !health.faults.is_empty() {
        bail!("{}", health.faults.join("; "));
    }
    note(host, change, id, options)?;
    transaction::wait_for_confirmation(host)
}

fn note(host: &Host, change: &Change, id: &str, options: &Options<'_>) -> Result<()> {
    let version = &change.manifest().version;
    history::add(host, id, options.event, options.by, version, "")
}

fn carry_out(host: &Host, change: &Change, id: &str) -> Result<()> {
    let (plan, ruleset) = (&change.plan, &change.ruleset);
    if let Some(firewall) = &plan.firewall {
        info!(reason = %firewall.differences.join("; "), "loading the firewall");
        firewall::load(host, ruleset)?;
        let left = firewall::differences(host, ruleset)?;
        ensure!(
            left.is_empty(),
            "the firewall does not read back as rendered: {}; nothing else was done",
            left.join("; ")
        );
    }
    files::forget(host)?;
    durable::remove(host, &host.path(IN_PLACE_PATH))?;
    if host.has_systemd() {
        units::stop_stale(host, &plan.units, change.manifest())?;
    }
    files::install(host, &change.bundle, &plan.files)?;
    if host.has_systemd() {
        units::carry_out(host, &plan.units, change.manifest(), change.read_units)?;
    } else {
        for unit in &plan.units {
            match unit.action {
                UnitAction::Start | UnitAction::Restart => service::restart_broker()?,
                UnitAction::Reload => service::reload_broker()?,
                UnitAction::Enable | UnitAction::Stop | UnitAction::Unmask => {}
            }
        }
    }
    release::make_state_folder(host)?;
    durable::write_private(
        host,
        &host.path(IN_PLACE_PATH),
        format!("{id}\n").as_bytes(),
    )?;
    files::record(host, &change.bundle)
}

/// The manifest that was applied last, to the end; none when no run came so far.
pub(crate) fn applied(host: &Host) -> Result<Option<String>> {
    let content = read_if_present(&host.path(APPLIED_PATH))?;
    content
        .map(|content| String::from_utf8(content).context("reading the applied manifest"))
        .transpose()
}
