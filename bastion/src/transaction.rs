//! The way back: what a change would destroy is written down before it, and brought back unless
//! somebody confirms the change.
//!
//! What lies on disk, below `/var/lib/shelly-bastion/transaction`, is made whole beside its place and appears there by one
//! rename; it vanishes by one rename too, and that is the moment in which a change holds, or
//! is undone. So at any moment there is either no record, or a whole one:
//!
//! - `record.json` and `record-copy.json`: what the machine was like, sealed with a hash, twice;
//! - `before/`: the old contents of files;
//! - `safe/`: the old rules alone, for the day on which both records are damaged;
//! - `bastion`: the program that goes back, since the one in place may be a new one that cannot;
//! - `waiting`: the change was made and found healthy.
//!
//! A timer of systemd goes back when nobody confirms, and a unit does at boot. Both are there
//! before the first change. Going back may be cut short at any moment and begun again.
//! What to change is decided elsewhere, see [`crate::plan`] and [`crate::apply`].

mod arm;
mod before;
mod record;
mod restore;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use site::answer::{self, Event, Outcome, Plan, State};
use tracing::{info, warn};

use crate::durable;
use crate::host::Host;
use crate::{history, process, release, say};

pub(crate) use before::{Asked, begin};

use record::{BACK, DONE, Found, Record, WAITING};

/// Confirms the release that waits for it.
///
/// # Errors
/// When another release waits, or none, or the machine cannot be changed.
pub fn confirm(host: &Host, id: &str, json: bool) -> Result<ExitCode> {
    say::answer(&confirmed(host, id)?, json)
}

fn confirmed(host: &Host, id: &str) -> Result<Outcome> {
    release::check_id(id)?;
    let _alone = host.lock()?;
    finish(host)?;
    let state = match record::find(host) {
        Found::Sound(record) if record.release == id && record::is_waiting(host) => {
            record::leave(host, DONE)?;
            // From here on it holds, whatever happens to the rest.
            if let Err(error) = finish(host) {
                warn!("clearing up after the change: {error:#}");
            }
            State::Confirmed
        }
        Found::Sound(record) if record.release == id => {
            bail!("{id} is not in place yet, so it cannot be confirmed")
        }
        Found::Sound(record) => bail!("{} waits for its confirmation, not {id}", record.release),
        Found::Damaged(fault) => bail!("the record of the change is damaged: {fault}"),
        Found::Nothing => settled(host, id)?,
    };
    let reason = match state {
        State::Back => "nobody confirmed it in time".to_owned(),
        _ => String::new(),
    };
    Ok(Outcome {
        format: answer::FORMAT,
        release: id.to_owned(),
        state,
        reason,
        seconds_left: None,
        plan: Plan {
            format: answer::FORMAT,
            ..Plan::default()
        },
        verify: None,
    })
}

/// What became of a release that does not wait: asking twice is no mistake.
fn settled(host: &Host, id: &str) -> Result<State> {
    if release::in_place(host)?.as_deref() == Some(id) {
        return Ok(State::Nothing);
    }
    let history = history::read(host)?;
    let last = history.iter().rfind(|entry| entry.release == id);
    match last.map(|entry| entry.event) {
        Some(Event::Back) => Ok(State::Back),
        _ => bail!("no release waits for its confirmation; `bastion history` tells what happened"),
    }
}

/// Goes back, as the timer and the boot do.
///
/// # Errors
/// When the lock cannot be had.
pub fn run(host: &Host, at_boot: bool) -> Result<ExitCode> {
    let reason = if at_boot {
        "the bastion started again before it was confirmed"
    } else {
        "nobody confirmed it in time"
    };
    if let Found::Sound(record) = record::find(host)
        && !record::is_waiting(host)
    {
        // The run that changes the machine is still at it, past its time.
        process::end_group(record.pid, record.started, &record.boot);
    }
    let _alone = host.lock()?;
    finish(host)?;
    match go_back(host, reason, at_boot)? {
        None => {
            info!("nothing waits for a confirmation");
            Ok(ExitCode::SUCCESS)
        }
        Some((State::Back, _)) => Ok(ExitCode::SUCCESS),
        Some((_, faults)) => {
            bail!("the state before could not be brought back whole: {faults}")
        }
    }
}

/// Brings the state before back, if a change is under way, and says how that ended: `Back`, or
/// `Half` with what could not be brought back. The lock must be held.
///
/// # Errors
/// When what was brought back cannot be kept in mind.
pub(crate) fn go_back(host: &Host, reason: &str, at_boot: bool) -> Result<Option<(State, String)>> {
    let record = match record::find(host) {
        Found::Nothing => return Ok(None),
        Found::Damaged(fault) => {
            let faults = restore::safely(host, &fault, at_boot)?;
            return Ok(Some((State::Half, faults)));
        }
        Found::Sound(record) => record,
    };
    info!(release = %record.release, reason, "going back to the state before");
    let faults = restore::restore(host, &record, at_boot).join("; ");
    if !faults.is_empty() {
        warn!("the record is kept, and the next run or start tries again: {faults}");
        note(
            host,
            &record,
            Event::Back,
            &format!("{reason}; not whole: {faults}"),
        );
        return Ok(Some((State::Half, faults)));
    }
    record::keep_reason(host, reason)?;
    record::leave(host, BACK)?;
    if let Err(error) = finish(host) {
        warn!("clearing up after going back: {error:#}");
    }
    Ok(Some((State::Back, String::new())))
}

/// Does what is left to do after a change that holds, or was undone: the timer and the unit at
/// boot are taken away, the history gets its line, and the record goes. May be done again.
///
/// # Errors
/// When something cannot be removed.
pub(crate) fn finish(host: &Host) -> Result<()> {
    record::sweep(host)?;
    for (folder, event) in [(DONE, Event::Confirmed), (BACK, Event::Back)] {
        if !host.path(folder).exists() {
            continue;
        }
        arm::disarm(host)?;
        if let Found::Sound(record) = record::find_in(host, folder) {
            let reason = record::kept_reason(host, folder);
            if !is_noted(host, &record, event)? {
                let by = if event == Event::Back { "" } else { &record.by };
                history::add(host, &record.release, event, by, &record.version, &reason)?;
            }
        }
        durable::remove_folder(host, &host.path(folder))?;
        if event == Event::Confirmed {
            release::prune(host, &history::read(host)?)?;
        }
    }
    Ok(())
}

/// Whether the history ends with this event of this release.
fn is_noted(host: &Host, record: &Record, event: Event) -> Result<bool> {
    let history = history::read(host)?;
    let last = history
        .iter()
        .rfind(|entry| entry.release == record.release);
    Ok(last.is_some_and(|entry| entry.event == event && !entry.reason.contains("; not whole: ")))
}

fn note(host: &Host, record: &Record, event: Event, reason: &str) {
    if let Err(error) = history::add(host, &record.release, event, "", &record.version, reason) {
        warn!("writing the history: {error:#}");
    }
}

/// Marks the change as made and healthy: it waits for its confirmation now. Gives the seconds left.
///
/// # Errors
/// When the mark cannot be written, or the time is over already.
pub(crate) fn wait_for_confirmation(host: &Host) -> Result<u64> {
    let Found::Sound(record) = record::find(host) else {
        bail!("the record of the change is gone");
    };
    let left = record.seconds_left().context("its time is over")?;
    durable::write_private(host, &host.path(WAITING), b"")?;
    Ok(left)
}

/// The release that waits for its confirmation, and the seconds left.
pub(crate) fn waiting(host: &Host) -> Option<(String, u64)> {
    match record::find(host) {
        Found::Sound(record) if record::is_waiting(host) => {
            let left = record.seconds_left()?;
            Some((record.release, left))
        }
        _ => None,
    }
}

/// What an earlier change left that has to be undone first, in words. The lock must be held: then
/// whoever made the change is at it no more.
///
/// # Errors
/// None so far; kept for callers that ask a machine.
pub(crate) fn left_behind(host: &Host) -> Result<Option<String>> {
    Ok(match record::find(host) {
        Found::Nothing => None,
        Found::Damaged(fault) => Some(format!(
            "the record of a change is damaged ({fault}); the rules before it come back"
        )),
        Found::Sound(record) if waiting(host).is_some() => {
            info!(release = %record.release, "waits for its confirmation");
            None
        }
        Found::Sound(record) => Some(format!(
            "{} was not put in place to the end; the state before it comes back first",
            record.release
        )),
    })
}

/// Undoes what an earlier change left behind, and says what that was.
///
/// # Errors
/// When a release waits for its confirmation, or not all could be undone.
pub(crate) fn repair(host: &Host) -> Result<Option<String>> {
    finish(host)?;
    if let Some((release, left)) = waiting(host) {
        bail!(
            "{release} waits for its confirmation for {left} s more; \
             run `bastion confirm {release}`, or let it go back by itself"
        );
    }
    let Some(what) = left_behind(host)? else {
        return Ok(None);
    };
    match go_back(host, "the run that put it in place was cut short", false)? {
        Some((State::Half, faults)) if record::find(host).is_there() => {
            bail!("the state before an earlier change cannot be brought back: {faults}")
        }
        _ => Ok(Some(what)),
    }
}

#[cfg(test)]
mod tests;
