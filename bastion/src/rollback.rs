//! Puts an earlier release in place again, from what the machine kept; needs no network.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use site::answer::{Event, Outcome};

use crate::apply::{self, Options};
use crate::host::Host;
use crate::{history, process, release, say};

/// Puts a release in place again; the one before the one in place when none is named.
///
/// # Errors
/// When it is not kept, or as for [`apply::run`].
pub fn run(host: &Host, id: Option<&str>, options: &Options<'_>) -> Result<ExitCode> {
    process::lead_a_group();
    let outcome = rollback(host, id, options)?;
    say::answer(&outcome, options.json)
}

/// Puts a release in place again, and says how that ended.
pub(crate) fn rollback(host: &Host, id: Option<&str>, options: &Options<'_>) -> Result<Outcome> {
    let id = match id {
        Some(id) => id.to_owned(),
        None => release::before(host, &history::read(host)?)?,
    };
    release::check_id(&id)?;
    let folder = release::folder(host, &id);
    ensure!(
        folder.is_dir(),
        "no release {id} is kept on this machine; there are: {}",
        release::kept(host).join(", ")
    );
    let options = Options {
        release: Some(&id),
        event: Event::Rollback,
        ..*options
    };
    apply::apply(host, &folder, &options)
}
