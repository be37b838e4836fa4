//! One run: the fleet publishes for a while, something happens meanwhile, and what was sent is
//! compared with what is stored. What happens is left to the scenarios.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actors::ledger::Line;
use actors::run::Summary;
use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::judge::{self, Readings};
use lab::live::{self, fleet_of, stored_since};
use lab::node::Node;
use lab::roles::{collector, database, fleet, journal};
use lab::site_file::COLLECTOR_ACCOUNT;
use serde_json::Value;
use site::daemon::{ReaderReport, Report};

use crate::delivery::spares;
use crate::shared::Stage;

/// Meters that publish.
const METERS: usize = 120;
const PERIOD_MS: u64 = 4000;
/// Messages a second; fewer prove too little.
const LEAST_RATE: f64 = 200.0;
/// Long enough for a collector that was away and waits up to a minute before it tries again.
const CATCHES_UP: Duration = Duration::from_secs(75);

/// Between two runs.
const APART: Duration = Duration::from_millis(1500);

/// What the fleet published in a run.
pub(crate) struct Published<'a> {
    pub(super) lab: &'a Lab,
    pub(super) ledger: Vec<Line>,
    pub(super) sent: Readings,
    summary: Summary,
    length: Duration,
    began_ns: u64,
}

/// ns since 1970; the machines have the same clock.
pub(super) fn now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Lets the fleet publish, with some trouble meanwhile; afterwards everything runs again, whatever
/// came of it.
pub(crate) async fn during<'a, T>(
    stage: &'a Stage,
    length: Duration,
    trouble: impl Future<Output = Result<T>>,
) -> Result<(Published<'a>, T)> {
    let lab = &stage.lab;
    all_run(lab).await?;
    // What an earlier run sent last may be stored up to a second later; it is none of ours.
    tokio::time::sleep(APART).await;
    let began_ns = now_ns();
    let mut all = fleet_of(lab, PERIOD_MS, Some(u64::try_from(length.as_millis())?))?;
    // The others may still be spoken for.
    let spares: BTreeSet<&str> = spares(lab).map(|meter| meter.id.as_str()).collect();
    all.meters
        .retain(|meter| !spares.contains(meter.id.as_str()));
    all.meters.truncate(METERS);
    fleet::install(&lab.meters, &all).await?;
    let (output, outcome) = tokio::join!(fleet::publish(&lab.meters), trouble);
    // What the trouble took away it has brought back, so nothing else may be missing.
    let ended = ended(lab).await;
    let again = all_run(lab).await;
    let (output, outcome) = (output?, outcome?);
    let ended = ended?;
    ensure!(
        ended.is_empty(),
        "promise broken: {ended:?} ended by itself"
    );
    again.context("everything shall run again")?;
    ensure!(
        output.code == 0,
        "the fleet ended with {}: {}",
        output.code,
        output.stderr
    );
    let summary = output.stdout.trim();
    let summary = serde_json::from_str(summary).with_context(|| format!("reading {summary}"))?;
    let ledger = fleet::ledger(&lab.meters).await?;
    let published = Published {
        lab,
        sent: judge::sent(&ledger),
        ledger,
        summary,
        length,
        began_ns,
    };
    published.is_enough()?;
    Ok((published, outcome))
}

impl Published<'_> {
    fn is_enough(&self) -> Result<()> {
        let devices: BTreeSet<&str> = self
            .sent
            .keys()
            .map(|(device, ..)| device.as_str())
            .collect();
        ensure!(
            devices.len() == METERS && self.rate() >= LEAST_RATE,
            "proves nothing: {} of {METERS} meters published {:.0} messages a second",
            devices.len(),
            self.rate()
        );
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "thousands of messages")]
    fn rate(&self) -> f64 {
        self.summary.messages as f64 / self.length.as_secs_f64()
    }

    /// What is stored of this run.
    pub(super) async fn stored(&self) -> Result<Readings> {
        let half = u64::try_from(APART.as_nanos() / 2)?;
        let from = self.began_ns.saturating_sub(half);
        judge::stored(&stored_since(&self.lab.influxdb, from).await?)
    }

    /// Both runs as one; the other one is later.
    pub(super) fn and(mut self, later: Self) -> Self {
        self.ledger.extend(later.ledger);
        self.sent = judge::sent(&self.ledger);
        self.summary.messages += later.summary.messages;
        self.length += later.length;
        self
    }

    /// In words: what was published, what happened, and how it ended.
    pub(super) fn said(&self, happened: impl Display, verdict: impl Display) -> String {
        format!(
            "{METERS} meters, {} messages, {:.0} a second; {happened}; {verdict}",
            self.summary.messages,
            self.rate()
        )
    }

    /// Waits until sent = stored, to the last reading and within a second.
    pub(crate) async fn arrives(&self, happened: impl Display) -> Result<String> {
        self.arrives_within(judge::TOLERANCE_NS, happened).await
    }

    /// The same within so many ns, for what a way itself needs.
    pub(super) async fn arrives_within(
        &self,
        tolerance_ns: u64,
        happened: impl Display,
    ) -> Result<String> {
        let lost = self.ledger.iter().find_map(|line| match line {
            Line::Lost(lost) => Some(lost),
            Line::Entry(_) => None,
        });
        ensure!(
            lost.is_none(),
            "proves nothing: a meter lost its connection: {lost:?}"
        );
        let arrives = live::arrives(&self.sent, tolerance_ns, CATCHES_UP, || self.stored());
        let verdict = arrives.await.with_context(|| format!("{happened}"))?;
        Ok(self.said(happened, verdict))
    }
}

/// Does something again and again while the fleet publishes; says how often.
pub(super) async fn again_and_again<F>(
    length: Duration,
    pause: Duration,
    mut act: impl FnMut() -> F,
) -> Result<usize>
where
    F: Future<Output = Result<()>>,
{
    let start = Instant::now();
    let mut times = 0;
    loop {
        tokio::time::sleep(pause).await;
        if start.elapsed() >= length {
            return Ok(times);
        }
        act().await?;
        times += 1;
    }
}

/// Whether a program that was started by its name runs.
pub(super) async fn runs(node: &Node, name: &str) -> Result<bool> {
    let look = format!(
        "pid=$(cat /run/{name}.pid); state=$(cut -d' ' -f3 /proc/$pid/stat); [ \"$state\" != Z ]"
    );
    Ok(node.exec("root", &["sh", "-ec", &look]).await?.code == 0)
}

const DATABASE: &str = "influxd";

/// What does not run of all that should.
async fn ended(lab: &Lab) -> Result<Vec<&'static str>> {
    let mut ended = Vec::new();
    if !answers(lab).await {
        ended.push(DATABASE);
    }
    for (node, name) in [
        (&lab.bastion, journal::DAEMON),
        (&lab.bastion, journal::TICKER),
        (&lab.collector, collector::NAME),
    ] {
        if !runs(node, name).await? {
            ended.push(name);
        }
    }
    Ok(ended)
}

/// Whether the database answers.
pub(super) async fn answers(lab: &Lab) -> bool {
    let asked = database::query(&lab.influxdb, "SHOW DATABASES");
    asked.await.is_ok()
}

/// Starts what does not run.
pub(super) async fn all_run(lab: &Lab) -> Result<()> {
    for name in ended(lab).await? {
        match name {
            journal::DAEMON => journal::start_daemon(&lab.bastion).await?,
            journal::TICKER => journal::start_ticker(&lab.bastion).await?,
            collector::NAME => collector::start(&lab.collector).await?,
            _ => database::start(&lab.influxdb).await?,
        }
    }
    Ok(())
}

/// Number of the last record that the collector has stored; 0 before the first.
pub(super) async fn cursor(lab: &Lab) -> Result<u64> {
    let look = format!(
        "find {} -name 'cursor-*.json' -exec cat {{}} +",
        collector::STATE
    );
    let text = lab.collector.script(&look).await?;
    if text.is_empty() {
        return Ok(0);
    }
    let cursor: Value = serde_json::from_str(&text).context("reading the cursor")?;
    let number = cursor.get("sequence").and_then(Value::as_u64);
    number.with_context(|| format!("the cursor has no number: {text}"))
}

/// Waits until the collector has stored more than it had.
pub(super) async fn more_is_stored(lab: &Lab) -> Result<()> {
    let before = cursor(lab).await?;
    eventually("the collector to store more", CATCHES_UP, || async {
        let now = cursor(lab).await?;
        Ok(if now > before {
            Look::Done(())
        } else {
            Look::NotYet(format!("nothing behind record {now}"))
        })
    })
    .await
}

/// How a reader stands, as the daemon knows it.
pub(super) async fn reader(lab: &Lab, name: &str) -> Result<(Report, ReaderReport)> {
    let report = journal::report(&lab.bastion).await?;
    let found = report.readers.iter().find(|one| one.name == name).cloned();
    Ok((report, found.unwrap_or_default()))
}

/// Waits until the collector has stored all that the daemon has recorded.
pub(super) async fn all_taken(lab: &Lab) -> Result<()> {
    eventually("the collector to take everything", CATCHES_UP, || async {
        let (report, reader) = reader(lab, COLLECTOR_ACCOUNT).await?;
        let newest = report.journal.newest;
        Ok(if report.connected && reader.taken == newest {
            Look::Done(())
        } else {
            Look::NotYet(format!("{} of {newest}", reader.taken))
        })
    })
    .await
}
