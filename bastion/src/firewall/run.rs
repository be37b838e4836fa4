//! Loading what is in place, as the units do: the policy at the start, and the table of the device
//! whenever that appears. Whoever puts a release in place loads it from there, see
//! [`crate::apply`].

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value;
use site::manifest::RULESET_PATH;
use tracing::info;

use crate::host::{Host, read_text};

/// Loads the policy, or the table of the device alone. The run that changes this machine may be
/// the one that starts the unit, so its lock is not asked for.
///
/// # Errors
/// When the file cannot be read, or nft does not take it.
pub fn run(host: &Host, device: bool) -> Result<ExitCode> {
    let text = read_text(&host.path(RULESET_PATH))?;
    let ruleset: Value = serde_json::from_str(&text).context("reading the ruleset")?;
    if device {
        super::load_device(host, &ruleset)?;
        info!("what leaves by the device is held");
    } else {
        super::load(host, &ruleset)?;
        info!("the policy is loaded");
    }
    Ok(ExitCode::SUCCESS)
}
