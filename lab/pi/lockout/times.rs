//! When things happen, by one clock: that of the host, which the admin's machine shares. What the
//! Pi knows by its own uptime is carried over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use lab::topology::BASTION;

use crate::stage::Stage;

/// Seconds of the host's clock.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct At(pub(crate) f64);

impl At {
    /// Now.
    pub(crate) fn now() -> Result<At> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(At(now.context("reading the clock")?.as_secs_f64()))
    }

    /// Seconds since an earlier moment; negative when that one is later.
    pub(crate) fn since(self, earlier: At) -> f64 {
        self.0 - earlier.0
    }

    /// The same in ns.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds since 1970 with some digits"
    )]
    pub(crate) fn nanoseconds(self) -> u64 {
        (self.0 * 1e9) as u64
    }

    /// The later one.
    pub(crate) fn or_later(self, other: At) -> At {
        At(self.0.max(other.0))
    }

    /// Waits for it; does nothing when it is over.
    pub(crate) async fn come(self) -> Result<()> {
        let left = self.since(At::now()?).max(0.0);
        tokio::time::sleep(Duration::from_secs_f64(left)).await;
        Ok(())
    }
}

/// When the Pi was switched on or began to start again, so that its uptime can be told as a time.
pub(crate) async fn began(stage: &Stage) -> Result<At> {
    let before = At::now()?;
    let uptime = stage.machine().at_console("cut -d' ' -f1 /proc/uptime");
    let uptime: f64 = uptime
        .await?
        .trim()
        .parse()
        .context("reading the Pi's uptime")?;
    let after = At::now()?;
    // The question took its time, half of it on the way there.
    Ok(At((before.0 + after.0) / 2.0 - uptime))
}

/// When the Pi has come to the end of its start: all that it starts at boot was started.
pub(crate) async fn booted(stage: &Stage, limit: Duration) -> Result<At> {
    let script = "until t=$(systemctl show --property=ActiveEnterTimestampMonotonic --value multi-user.target)
         [ \"$t\" -gt 0 ]; do sleep 0.5; done; echo \"$t\"";
    let said = stage.machine().console(script, limit).await?;
    let said = said.success().context("waiting for the Pi's start")?;
    let microseconds: f64 = said
        .trim()
        .parse()
        .context("reading when the Pi had started")?;
    Ok(At(began(stage).await?.0 + microseconds / 1e6))
}

/// Greets in a loop on the admin's machine: a look from here would come late on a busy host.
fn greeting(stage: &Stage, rest: &str) -> String {
    let address = stage.lab.topology.dmz.host(BASTION).v4;
    format!(
        "greets() {{ echo | nc -N -w 3 {address} 22 2>/dev/null | grep -q ^SSH-; }}
         {rest}
         date +%s.%N"
    )
}

async fn on_the_spot(stage: &Stage, script: &str, limit: Duration) -> Result<Option<At>> {
    let seconds = limit.as_secs_f64().max(1.0).to_string();
    let said = stage
        .lab
        .admin
        .exec("root", &["timeout", &seconds, "sh", "-c", script])
        .await?;
    if said.code == 124 {
        return Ok(None);
    }
    let said = said
        .success()
        .context("greeting the Pi from the admin's machine")?;
    Ok(Some(At(said
        .trim()
        .parse()
        .context("reading the admin's clock")?)))
}

/// When SSH greets the admin, from now on; none when it does not in time.
pub(crate) async fn greeted(stage: &Stage, limit: Duration) -> Result<Option<At>> {
    let script = greeting(stage, "until greets; do sleep 0.1; done");
    on_the_spot(stage, &script, limit).await
}

/// When SSH greets the admin no more, twice in a row; none when it always does.
pub(crate) async fn locked_out(stage: &Stage, limit: Duration) -> Result<Option<At>> {
    // Each greeting costs the emulated Pi a good part of a second of its time, and it has a release
    // to put in place meanwhile.
    let script = greeting(stage, "while greets || greets; do sleep 0.5; done");
    on_the_spot(stage, &script, limit).await
}
