//! What the Pi says at its console about the change that is under way there.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::times::{At, began};
use crate::running::Running;
use crate::stage::Stage;

/// The record of a change, on the Pi.
pub(crate) const RECORD: &str = "/var/lib/shelly-bastion/transaction/record.json";
/// A look waits so long on the Pi before it asks here how the deployer is.
const ONE_LOOK: Duration = Duration::from_secs(4);

/// Waits on the Pi until a condition of its shell holds. No when the time is over.
pub(crate) async fn until(stage: &Stage, condition: &str, limit: Duration) -> Result<bool> {
    let script = format!("until {condition}; do sleep 0.3; done");
    let said = stage.machine().console(&script, limit).await?;
    match said.code {
        0 => Ok(true),
        124 => Ok(false),
        code => bail!(
            "waiting on the Pi for `{condition}`: code {code}, {}",
            said.stdout
        ),
    }
}

/// Waits on the Pi for a condition while a deployer runs. No when the deployer ends before.
pub(crate) async fn until_or_ended(
    stage: &Stage,
    running: &mut Running,
    condition: &str,
    limit: Duration,
) -> Result<bool> {
    let start = std::time::Instant::now();
    while start.elapsed() < limit {
        let ended = running.has_ended()?;
        if until(stage, condition, ONE_LOOK).await? {
            return Ok(true);
        }
        if ended {
            return Ok(false);
        }
    }
    bail!(
        "waited {} s on the Pi for `{condition}`, in vain",
        limit.as_secs()
    )
}

/// When the change that is under way goes back by itself, as its record says; none when there is
/// none any more.
pub(crate) async fn window_ends(stage: &Stage) -> Result<Option<At>> {
    let script = format!("grep -o 'deadline_s[^,}}]*' {RECORD} || true");
    let said = stage.machine().at_console(&script).await?;
    let digits: String = said
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    if digits.is_empty() {
        return Ok(None);
    }
    let uptime: f64 = digits.parse().context("reading the record's deadline")?;
    Ok(Some(At(began(stage).await?.0 + uptime)))
}

/// Waits until no change is under way on the Pi, and nothing of one is left to be done.
pub(crate) async fn settled(stage: &Stage, limit: Duration) -> Result<()> {
    let folder = "/var/lib/shelly-bastion/transaction";
    let none = format!("[ ! -e {folder} ] && [ ! -e {folder}-done ] && [ ! -e {folder}-back ]");
    let gone = until(stage, &none, limit).await?;
    anyhow::ensure!(
        gone,
        "a change is still under way on the Pi after {} s",
        limit.as_secs()
    );
    Ok(())
}
