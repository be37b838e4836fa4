//! Readings on their whole way: the fleet on the WAN, the router's port forward, the virtual Pi's
//! broker, the collector in the LAN, the database. Judged as in the tier of containers: as sets,
//! without the project's own parsing.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use actors::ledger::Line;
use anyhow::{Context as _, Result, ensure};
use deploy::Secrets;
use deploy::render::collector_files;
use lab::eventually::{Look, eventually};
use lab::judge::{self, ACROSS_A_RESTART_NS, Gap, Readings, TOLERANCE_NS};
use lab::live::{arrives, fleet_for, stored_in};
use lab::roles::{collector, database, fleet};
use lab::site_file::{COLLECTOR_ACCOUNT, DATABASE};
use lab::virtual_pi::access::Access;
use site::Site;

use crate::deployed::site_of;
use crate::stage::Stage;

const PERIOD_MS: u64 = 1000;
/// A meter or collector that was cut off waits up to a minute before it tries again.
const COMES_BACK: Duration = Duration::from_secs(150);
const ON_ITS_WAY: Duration = Duration::from_secs(30);

/// What journals readings on the Pi.
pub(crate) const JOURNAL_UNITS: [&str; 2] = [
    "shelly-bastion-daemon.service",
    "shelly-bastion-ticker.service",
];
/// An emulated machine starts a program in seconds.
const JOURNALS: Duration = Duration::from_secs(120);

/// A site whose collector reads.
pub(crate) struct Flow<'a> {
    stage: &'a Stage,
    site: Site,
    secrets: Secrets,
    /// Between two reports of a meter.
    period_ms: u64,
    /// Nothing changes between two reports.
    periods_only: bool,
}

impl<'a> Flow<'a> {
    /// Empties database and journal, and starts the collector with the settings of a folder's site.
    /// Each meter reports every second.
    pub(crate) async fn begin(stage: &'a Stage, from: &Access) -> Result<Flow<'a>> {
        Flow::begin_with(stage, from, PERIOD_MS).await
    }

    /// The same, and each meter reports once in so many ms.
    pub(crate) async fn begin_with(
        stage: &'a Stage,
        from: &Access,
        period_ms: u64,
    ) -> Result<Flow<'a>> {
        let (site, secrets) = site_of(from)?;
        let lab = &stage.lab;
        stop(stage, "meters").await?;
        stop(stage, "collector").await?;
        database_is_up(stage).await?;
        for words in ["DROP DATABASE", "CREATE DATABASE"] {
            database::query(&lab.influxdb, &format!("{words} {DATABASE}")).await?;
        }
        let reader = site
            .readers
            .iter()
            .find(|one| one.name == COLLECTOR_ACCOUNT);
        let reader = reader.context("the lab's site has no collector")?;
        let settings = collector_files(&site, &site.bastions, reader, &secrets)?;
        let program = &lab.artifacts.collector;
        let program =
            fs::read(program).with_context(|| format!("reading {}", program.display()))?;
        lab.collector
            .script("rm -rf /var/lib/collector; : > /var/log/collector.log")
            .await?;
        collector::install(&lab.collector, program, settings).await?;
        begin_journal(stage).await?;
        collector::start(&lab.collector)
            .await
            .context("promise broken: the collector cannot read the broker")?;
        Ok(Flow {
            stage,
            site,
            secrets,
            period_ms,
            periods_only: false,
        })
    }

    /// The same, and meters say nothing between two reports.
    pub(crate) fn in_periods_only(mut self) -> Flow<'a> {
        self.periods_only = true;
        self
    }

    /// Lets all meters publish for a while, and judges what came of it.
    pub(crate) async fn publish(&self, duration_ms: u64) -> Result<String> {
        self.say(duration_ms).await?;
        self.judge().await
    }

    /// Lets all meters publish for a while.
    pub(crate) async fn say(&self, duration_ms: u64) -> Result<()> {
        let all = fleet_for(&self.site, &self.secrets, self.period_ms, Some(duration_ms))?;
        let meters = &self.stage.lab.meters;
        fleet::install(meters, &all).await?;
        let published = fleet::publish(meters).await?;
        ensure!(
            published.code == 0,
            "the fleet ended with {}: {}",
            published.code,
            published.stderr
        );
        Ok(())
    }

    /// Lets all meters publish until [`Flow::end`], and waits until each has got through.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut all = fleet_for(&self.site, &self.secrets, self.period_ms, None)?;
        if self.periods_only {
            all.changes_per_s = 0.0;
        }
        fleet::install(&self.stage.lab.meters, &all).await?;
        fleet::start(&self.stage.lab.meters).await?;
        self.all_arrive_since(0).await
    }

    /// Waits until a reading of every meter is stored that was taken later than `since_ns`.
    pub(crate) async fn all_arrive_since(&self, since_ns: u64) -> Result<()> {
        let wanted: BTreeSet<&str> = self
            .site
            .meters
            .iter()
            .map(|meter| meter.id.as_str())
            .collect();
        let limit = COMES_BACK + Duration::from_millis(self.period_ms);
        eventually("a new reading of every meter", limit, || async {
            let stored = self.stored().await?;
            let later = stored
                .iter()
                .filter(|(_, list)| list.last().is_some_and(|one| one.at_ns > since_ns));
            let there: BTreeSet<&str> = later.map(|((device, ..), _)| device.as_str()).collect();
            let missing: Vec<_> = wanted.difference(&there).collect();
            Ok(if missing.is_empty() {
                Look::Done(())
            } else {
                Look::NotYet(format!("none of {missing:?}"))
            })
        })
        .await
    }

    /// Ends what [`Flow::start`] began, and judges: no meter was disconnected, and sent = stored
    /// within so many ns.
    pub(crate) async fn end(&self, tolerance_ns: u64) -> Result<String> {
        stop(self.stage, "meters").await?;
        let ledger = fleet::ledger(&self.stage.lab.meters).await?;
        // Ending the fleet cuts its own connections; what is lost by that was sent last.
        let last = ledger.iter().filter_map(|line| match line {
            Line::Entry(entry) => Some(entry.at_ns),
            Line::Lost(_) => None,
        });
        let last = last.max().context("the fleet sent nothing")?;
        for line in &ledger {
            if let Line::Lost(lost) = line {
                ensure!(
                    lost.lost_to_ns + 3 * self.period_ms * 1_000_000 > last,
                    "promise broken: {} lost its connection: {}",
                    lost.device,
                    lost.reason
                );
            }
        }
        self.judge_within(tolerance_ns).await
    }

    /// Ends what [`Flow::start`] began when meters were cut off, and the broker lost at most what
    /// came in these gaps: nothing else may be missing, nothing doubled or moved.
    pub(crate) async fn end_with_gaps(&self, gaps: &[Gap]) -> Result<String> {
        stop(self.stage, "meters").await?;
        let ledger = fleet::ledger(&self.stage.lab.meters).await?;
        let sent = judge::sent(&ledger);
        self.of_all_meters(&sent)?;
        eventually("the database to hold what the meters sent", ON_ITS_WAY, || async {
            let mut stored = self.stored_since(&sent).await?;
                let wills = judge::take_wills(&mut stored, &sent);
            let difference = judge::compare_within(ACROSS_A_RESTART_NS, &sent, &stored);
            let missing = judge::excuse(&difference, &ledger, gaps);
            let others = [&difference.doubled, &difference.moved, &difference.invented];
            let text = format!(
                "{} readings compared, and {wills} wills that the broker said for meters: {} on connections that broke unanswered, {} that the broker or an open \
                 group had, {} lost beside these, {} doubled, {} moved, {} invented; largest shift {} ms",
                difference.compared,
                missing.never_vouched,
                missing.with_the_broker,
                missing.unexplained.len(),
                difference.doubled.len(),
                difference.moved.len(),
                difference.invented.len(),
                difference.largest_shift_ns / 1_000_000
            );
            let whole = missing.unexplained.is_empty() && others.iter().all(|list| list.is_empty());
            Ok(if whole {
                Look::Done(text)
            } else {
                let lists = others.into_iter().chain([&missing.unexplained]);
                let examples: Vec<&String> = lists.flat_map(|list| list.iter().take(3)).collect();
                Look::NotYet(format!("{text}: {examples:?}"))
            })
        })
        .await
        .context("promise broken: sent and stored are not the same")
    }

    /// When the broker ended that was told to at `told_ns`, as the meters saw it: their connections
    /// broke. And the latest reading before that which is stored.
    pub(crate) async fn end_of_the_broker(&self, told_ns: u64) -> Result<(u64, u64)> {
        let ledger = fleet::ledger(&self.stage.lab.meters).await?;
        let broken = ledger.iter().filter_map(|line| match line {
            Line::Lost(lost) => Some(lost.lost_to_ns).filter(|at| *at > told_ns),
            Line::Entry(_) => None,
        });
        let broken = broken.min().context("no meter lost its connection")?;
        let stored = self.stored().await?;
        let before = stored.values().flatten().map(|one| one.at_ns);
        let before = before.filter(|at| *at <= broken).max();
        Ok((before.context("nothing is stored of before")?, broken))
    }

    async fn stored(&self) -> Result<Readings> {
        judge::stored(&stored_in(&self.stage.lab.influxdb).await?)
    }

    /// Waits until what the fleet said last is stored, exactly.
    pub(crate) async fn judge(&self) -> Result<String> {
        self.judge_within(TOLERANCE_NS).await
    }

    async fn judge_within(&self, tolerance_ns: u64) -> Result<String> {
        let ledger = fleet::ledger(&self.stage.lab.meters).await?;
        let sent = judge::sent(&ledger);
        let meters = self.of_all_meters(&sent)?;
        let verdict = arrives(&sent, tolerance_ns, ON_ITS_WAY, || self.stored_since(&sent)).await?;
        Ok(format!("{meters} meters, {verdict}"))
    }

    /// How many meters there are; all of them must have got through.
    fn of_all_meters(&self, sent: &Readings) -> Result<usize> {
        let devices: BTreeSet<&str> = sent.keys().map(|(device, ..)| device.as_str()).collect();
        ensure!(
            devices.len() == self.site.meters.len(),
            "promise broken: {} of {} meters got their readings to the broker",
            devices.len(),
            self.site.meters.len()
        );
        Ok(devices.len())
    }

    /// What is stored since the fleet that was started last began.
    async fn stored_since(&self, sent: &Readings) -> Result<Readings> {
        let first = sent.values().flatten().map(|one| one.at_ns).min();
        let first = first
            .unwrap_or_default()
            .saturating_sub(judge::TOLERANCE_NS);
        let mut stored = self.stored().await?;
        for list in stored.values_mut() {
            list.retain(|reading| reading.at_ns >= first);
        }
        stored.retain(|_, list| !list.is_empty());
        Ok(stored)
    }
}

/// Begins a new journal, and waits until the daemon hears the broker. A recalled machine has slept
/// without knowing: its time since boot went on as if there had been no pause, so that what the old
/// journal remembers of this boot's wall time is no longer right. No real machine does that.
async fn begin_journal(stage: &Stage) -> Result<()> {
    let units = JOURNAL_UNITS.join(" ");
    let script = format!(
        "systemctl stop {units} && rm -rf /var/lib/private/shelly-bastion-journal/* && systemctl start {units}"
    );
    stage.machine().at_console(&script).await?;
    eventually("the daemon to hear the broker", JOURNALS, || async {
        let said = stage.machine().console("bastion journal", JOURNALS).await?;
        Ok(match said.code {
            0 => Look::Done(()),
            _ => Look::NotYet(format!("{}{}", said.stdout, said.stderr)),
        })
    })
    .await
}

/// Starts the database unless it runs.
pub(crate) async fn database_is_up(stage: &Stage) -> Result<()> {
    let node = &stage.lab.influxdb;
    match database::query(node, "SHOW DATABASES").await {
        Ok(_) => Ok(()),
        Err(_) => database::start(node).await,
    }
}

/// Ends a program of a machine of the lab, and waits for its end.
async fn stop(stage: &Stage, program: &str) -> Result<()> {
    let node = match program {
        "meters" => &stage.lab.meters,
        _ => &stage.lab.collector,
    };
    node.script(&format!(
        "for pid in $(pidof {program}); do
             kill -TERM $pid
             while kill -0 $pid 2>/dev/null; do sleep 0.1; done
         done"
    ))
    .await
    .map(drop)
}
