//! One cell of the matrix: a bad release, and what happens while it is deployed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::bad_release::{ALL, BadRelease, Parts, Stopped};
use lab::virtual_pi::BOOT;
use lab::virtual_pi::access::Access;
use site::answer::{Event, Status};

use super::times::{self, At};
use super::watch::{RECORD, settled, until, until_or_ended, window_ends};
use crate::deployed::{DEPLOYED, LATER, site_of};
use crate::listing::{HISTORY, Listing, RELEASES};
use crate::running::Running;
use crate::stage::Stage;

/// Seconds for a confirmation. Half of it is enough on an idle host to put a release in place.
pub(super) const WINDOW: &str = "30";
/// Seconds after the window, or the start, in which SSH must be back.
pub(super) const MARGIN: f64 = 10.0;
/// Longer than this nobody waits to see how late SSH is.
const TOO_LATE: Duration = Duration::from_secs(90);
/// A pulled cable is noticed within this time.
const NOTICED: Duration = Duration::from_secs(20);

/// What happens while a release is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing beside the release.
    ClientAlive,
    /// The deployer is killed.
    ClientKilled,
    /// The bastion restarts within the window.
    TargetRebooted,
    /// The bastion's cable is pulled, and put back after the window.
    LinkCut,
}

/// One cell.
#[derive(Clone, Copy)]
pub(super) struct Cell {
    pub(super) release: BadRelease,
    pub(super) fate: Fate,
}

/// What was seen of SSH.
struct Back {
    at: At,
    /// Since when the seconds count, and its name.
    since: At,
    what: &'static str,
    /// Whether it was shut before.
    shut: bool,
}

impl Cell {
    /// Goes through it, from the state that was deployed to.
    pub(super) async fn show(&self, stage: &Stage) -> Result<String> {
        stage.begin_from(DEPLOYED).await?;
        let start = Instant::now();
        let before = &stage.first().await?.after;
        let in_place = in_place(stage).await?;
        let mut running = begin(stage, &self.release).await?;
        let armed = match self.release.stopped {
            Stopped::ByThePlan => {
                running.wait_for("transfer", LATER).await?;
                false
            }
            _ => {
                let record = format!("[ -e {RECORD} ]");
                until_or_ended(stage, &mut running, &record, LATER).await?
            }
        };
        let ends = match armed {
            true => window_ends(stage).await?,
            false => None,
        };
        let back = self.happen(stage, &mut running, ends).await?;
        let late = back.at.since(back.since);
        let exit = self.exit(running).await?;
        ensure!(
            late <= MARGIN,
            "SSH came back {late:.1} s after {}, more than {MARGIN} s; {exit}",
            back.what
        );
        settled(stage, TOO_LATE).await?;
        if self.fate == Fate::TargetRebooted {
            stage.machine().wait_until_settled(BOOT).await?;
        }
        is_in_place(stage, &in_place, armed).await?;
        let things = as_before(stage, before, "after going back").await?;
        let shut = if back.shut { "shut, then " } else { "" };
        let arming = if armed {
            ""
        } else {
            "refused before anything was changed, "
        };
        Ok(format!(
            "{} ({}): {arming}SSH {shut}back {late:+.1} s from {}, {exit}, {things} things as before, \
             in {:.0} s",
            self.release.name,
            self.release.says,
            back.what,
            start.elapsed().as_secs_f32()
        ))
    }

    /// Lets it happen, and sees SSH come back.
    async fn happen(&self, stage: &Stage, running: &mut Running, ends: Option<At>) -> Result<Back> {
        // Half of the releases meet their fate while they are put in place.
        let early = ALL
            .iter()
            .position(|one| one.name == self.release.name)
            .is_none_or(|at| at % 2 == 0);
        let shuts = self.release.stopped == Stopped::ByTheLock;
        if self.fate == Fate::ClientKilled && (early || !shuts) {
            running.kill().await?;
        }
        let shut = match ends {
            // The cable shuts it anyway.
            Some(ends) if shuts && self.fate != Fate::LinkCut => {
                let left = ends.since(At::now()?).max(1.0);
                let shut = times::locked_out(stage, Duration::from_secs_f64(left)).await?;
                shut.context("SSH was never shut in the window, so nothing is shown")?;
                true
            }
            _ => false,
        };
        match self.fate {
            Fate::ClientAlive => self.after_the_window(stage, ends, shut).await,
            Fate::ClientKilled => {
                running.kill().await?;
                self.after_the_window(stage, ends, shut).await
            }
            Fate::TargetRebooted => {
                stage.machine().reboot(BOOT).await?;
                let at = greeted(stage, BOOT).await?;
                let booted = times::booted(stage, BOOT).await?;
                let window = ends.filter(|ends| ends.since(booted) > 0.0);
                Ok(Back {
                    at,
                    since: window.unwrap_or(booted),
                    what: if window.is_some() {
                        "the window's end"
                    } else {
                        "the end of the start"
                    },
                    shut,
                })
            }
            Fate::LinkCut => {
                stage.machine().pull_cable().await?;
                let shut = times::locked_out(stage, NOTICED).await?;
                shut.context("SSH answers without a cable")?;
                if let Some(ends) = ends {
                    ends.come().await?;
                }
                stage.machine().plug_cable().await?;
                let plugged = At::now()?;
                Ok(Back {
                    at: greeted(stage, TOO_LATE).await?,
                    since: ends.map_or(plugged, |ends| plugged.or_later(ends)),
                    what: "the cable's return after the window",
                    shut: true,
                })
            }
        }
    }

    async fn after_the_window(&self, stage: &Stage, ends: Option<At>, shut: bool) -> Result<Back> {
        let now = At::now()?;
        let since = ends.unwrap_or(now);
        let left = Duration::from_secs_f64(since.since(now).max(1.0));
        // What the bastion finds itself goes back before.
        if ends.is_some() {
            until(stage, &format!("[ ! -e {RECORD} ]"), left).await?;
        }
        Ok(Back {
            at: greeted(stage, TOO_LATE).await?,
            since,
            what: if ends.is_some() {
                "the window's end"
            } else {
                "the fate"
            },
            shut,
        })
    }

    /// How the deployer ended: anything but well.
    async fn exit(&self, mut running: Running) -> Result<String> {
        if self.fate == Fate::ClientKilled {
            running.kill().await?;
            return Ok("deployer killed".to_owned());
        }
        let output = running.end(LATER).await?;
        ensure!(
            output.code != 0,
            "the deployer says that it went well:\n{}{}",
            output.stderr,
            output.stdout
        );
        Ok(format!("exit code {}", output.code))
    }
}

/// Starts to deploy a bad release.
pub(super) async fn begin(stage: &Stage, release: &BadRelease) -> Result<Running> {
    let access = stage.again(&format!("lockout-{}", release.name)).await?;
    let folder = write(stage, &access, release)?;
    let folder = folder.display().to_string();
    let arguments = [
        "pi",
        "--yes",
        "--confirm-within",
        WINDOW,
        "--release",
        &folder,
    ];
    stage.start(&access, &arguments)
}

fn write(stage: &Stage, access: &Access, release: &BadRelease) -> Result<std::path::PathBuf> {
    let (site, secrets) = site_of(access)?;
    let path = &stage.lab.artifacts.bastion;
    let program = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let parts = Parts {
        site: &site,
        bastion: site.bastions.first().context("the site has no bastion")?,
        secrets: &secrets,
        program: &program,
        version: "a bad release",
    };
    let folder = access.folder.join("release");
    release.make(&parts)?.write_to(&folder)?;
    Ok(folder)
}

async fn greeted(stage: &Stage, limit: Duration) -> Result<At> {
    let at = times::greeted(stage, limit).await?;
    at.with_context(|| format!("SSH did not come back within {} s", limit.as_secs()))
}

/// Name of the release that is in place.
pub(super) async fn in_place(stage: &Stage) -> Result<String> {
    let said = stage
        .machine()
        .at_console("cat /var/lib/shelly-bastion/in-place");
    Ok(said.await?.trim().to_owned())
}

/// Over SSH: this release is in place, nothing waits, and everything holds.
pub(super) async fn is_in_place(stage: &Stage, release: &str, went_back: bool) -> Result<()> {
    let access = &stage.first().await?.access;
    let said = access.ssh("sudo bastion status --json", LATER).await?;
    let status: Status = serde_json::from_str(&said.stdout)
        .with_context(|| format!("reading the status: {}{}", said.stdout, said.stderr))?;
    ensure!(
        status.release.as_deref() == Some(release),
        "in place is {:?}, not {release}",
        status.release
    );
    ensure!(
        status.waiting.is_none(),
        "a release still waits for its confirmation: {:?}",
        status.waiting
    );
    let not_held: Vec<String> = status
        .verify
        .checks
        .iter()
        .filter(|check| !check.verdict.is_well())
        .map(|check| format!("{}: {}", check.subject, check.detail))
        .collect();
    ensure!(
        not_held.is_empty(),
        "not everything holds: {}",
        not_held.join("; ")
    );
    ensure!(!status.verify.checks.is_empty(), "nothing was checked");
    let last = status.last.map(|entry| entry.event);
    ensure!(
        !went_back || last == Some(Event::Back),
        "the history does not end with going back: {last:?}"
    );
    Ok(())
}

/// The machine is what it was; only its memory of deployments has grown. Gives the number of things.
async fn as_before(stage: &Stage, before: &Listing, what: &str) -> Result<usize> {
    let after = Listing::of(stage.machine()).await?;
    let grown = |change: &crate::listing::Change| {
        change.before.is_none() && change.thing.starts_with(RELEASES)
    };
    let changes: Vec<String> = before
        .clone()
        .without(&[HISTORY])
        .changes(&after.clone().without(&[HISTORY]))
        .iter()
        .filter(|change| !grown(change))
        .map(ToString::to_string)
        .collect();
    ensure!(
        changes.is_empty(),
        "{what}: the machine is not as it was, {} things differ:\n{}",
        changes.len(),
        changes.join("\n")
    );
    Ok(before.len())
}
