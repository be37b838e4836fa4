//! `bastion journal`: the daemon's last report, for people and for programs.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::read;
use crate::clock::{Clock as _, MachineClock};
use crate::say;

/// Prints the report; exit code 0 when the daemon runs and journals, 1 when it does not.
///
/// # Errors
/// When there is no report, or it is none.
pub fn run(report: &Path, json: bool) -> Result<ExitCode> {
    let found = read::report(report)?.with_context(|| {
        format!(
            "there is no report {}; is the daemon running? systemctl status shelly-bastion-daemon",
            report.display()
        )
    })?;
    let now_s = now_s();
    if json {
        say::json(&found)?;
    } else {
        for (name, words) in found.rows(now_s, usize::MAX) {
            say::line(&format!("{name:<10} {words}"));
        }
    }
    let fault = read::fault(Some(&found), now_s);
    Ok(ExitCode::from(u8::from(fault.is_some())))
}

/// As the report counts: seconds since boot.
pub(crate) fn now_s() -> u64 {
    MachineClock::new(true).boot_ns() / 1_000_000_000
}
