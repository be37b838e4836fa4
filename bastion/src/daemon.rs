//! The daemon (`bastion run`): from the broker to the journal, and from the journal to readers.
//!
//! A session that survives the daemon brings the meters' messages; each is dated, written in a
//! group, and acknowledged only then. Two threads beside the one that polls: one writes, one serves
//! pages, so that neither a slow disk nor a flood of requests holds the other up. Memory is bounded
//! by a budget for what is not yet written; when it is used up nothing more is read, and the broker
//! keeps the rest.
//!
//! What is on disk and what it guarantees is told in `journal`; when messages arrived in
//! `clock::ticks`.

mod budget;
mod counters;
mod intake;
mod link;
mod packets;
mod pages;
pub(crate) mod read;
mod session;
pub mod shown;
mod streams;
mod subscriptions;
pub mod ticker;
mod writer;

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use site::burst::Bursts;
use site::daemon::Settings;
use site::prefixes::Prefixes;
use site::record::Id;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::clock::ticks::Ticks;
use crate::journal::{self, Journal, Place, Resent};
use budget::Budget;
use counters::Counters;
use intake::Intake;
use link::Link;
use pages::{Pages, ToPages};
use session::Session;
use writer::{ToWriter, Writer};

/// How long the last acknowledgements may take to go out.
const GOODBYE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(250);
const REPORT: Duration = Duration::from_secs(5);

/// What is said while it runs, for who looks after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The journal is open: what comes is written. Whether the broker is there is another matter.
    Open,
    /// Everything is subscribed, for the first time.
    Subscribed,
    /// Every now and then, as long as the thread that writes goes on.
    Alive,
}

/// All that the daemon needs to know.
pub struct Options {
    /// As they were rendered.
    pub settings: Settings,
    /// Of the daemon's account.
    pub password: String,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// This boot of the machine.
    pub boot: Id,
    /// Where the journal lies.
    pub place: Place,
    /// Where the report is written, if anywhere.
    pub report: Option<PathBuf>,
}

/// Reads the settings.
///
/// # Errors
/// When they cannot be read, or are of another version.
pub fn read_settings(path: &Path) -> Result<Settings> {
    let text = crate::host::read_text(path)?;
    let settings: Settings =
        serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        settings.format == site::daemon::FORMAT,
        "{} has format {}, this program knows {}; deploy again",
        path.display(),
        settings.format,
        site::daemon::FORMAT
    );
    Ok(settings)
}

fn keep(settings: &Settings) -> journal::Settings {
    journal::Settings {
        keep_bytes: settings.keep.bytes,
        keep_for: Duration::from_secs(u64::from(settings.keep.days) * 24 * 3600),
        keep_free: settings.keep.free_bytes,
        reserve_bytes: settings.keep.reserve_bytes,
        ..journal::Settings::default()
    }
}

/// Runs until `shutdown`; `say` is told how it goes.
///
/// # Errors
/// When the journal's folder cannot be used, or a thread cannot be started.
pub async fn run(
    options: Options,
    say: impl Fn(Sign),
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let Options {
        settings,
        password,
        clock,
        boot,
        place,
        report,
    } = options;
    let (journal, recovered) = Journal::open(Path::new(&settings.folder), keep(&settings), place)?;
    let extent = journal.extent();
    info!(
        journal = %extent.journal,
        origin = ?recovered.origin,
        oldest = extent.oldest,
        newest = extent.newest,
        damaged = recovered.damaged,
        "the journal is open"
    );
    let reader = journal.reader();
    let meters = Arc::new(settings.meters.clone());
    let link = Arc::new(Link::default());
    let counters = Arc::new(Counters::new(meters.len(), recovered.damaged));
    let settled = Arc::new(AtomicU64::new(recovered.settled));
    let half_window = (settings.window / 2).max(1);
    let (to_writer, writer_told) = mpsc::channel();
    let (to_pages, pages_told) = mpsc::sync_channel(pages::MOST_WAITING);
    let budget = Arc::new(Budget::default());
    let writer = Writer {
        journal,
        clock: Arc::clone(&clock),
        boot,
        session: recovered.session,
        commit: Duration::from_millis(settings.commit_ms),
        most: u32::from(half_window),
        clock_patience: Duration::from_secs(settings.clock_patience_s),
        budget: Arc::clone(&budget),
        link: Arc::clone(&link),
        counters: Arc::clone(&counters),
        pages: to_pages.clone(),
        settled: Arc::clone(&settled),
    };
    let writing = thread("journal", move || writer.run(&writer_told))?;
    let pages = Pages {
        journal: reader.clone(),
        readers: settings.readers.clone(),
        link: Arc::clone(&link),
        counters: Arc::clone(&counters),
        clock: Arc::clone(&clock),
        writer: to_writer.clone(),
    };
    let serving = thread("pages", move || pages.run(&pages_told))?;
    let heard_ns = recovered
        .heard
        .filter(|(heard, _)| *heard == boot)
        .map_or(0, |(_, ns)| ns);
    let intake = Arc::new(Mutex::new(Intake {
        clock: Arc::clone(&clock),
        boot,
        prefixes: Prefixes::new(meters.iter().map(|meter| meter.prefix.as_str())),
        near: 0,
        meters: Arc::clone(&meters),
        ticks: Ticks::new(heard_ns),
        resent: Resent::new(recovered.resent),
        link: Arc::clone(&link),
        counters: Arc::clone(&counters),
        writer: to_writer.clone(),
        told: Vec::new(),
        pages: to_pages.clone(),
        budget: Arc::clone(&budget),
        bursts: Bursts::default(),
        held: Vec::new(),
        most_held: usize::from(half_window),
        asked: HashMap::new(),
        stopped: false,
    }));
    let (stop, stopping) = watch::channel(false);
    let subscribed = Arc::new(Notify::new());
    let session = Session {
        port: settings.port,
        password,
        window: settings.window,
        meters: Arc::clone(&meters),
        intake: Arc::clone(&intake),
        budget,
        link: Arc::clone(&link),
        settled,
        ready: Arc::clone(&subscribed),
        stopping,
        counters: Arc::clone(&counters),
    };
    let mut session = tokio::spawn(session.run());
    say(Sign::Open);

    let (mut was_subscribed, mut was_heard) = (false, false);
    let (mut looks, mut reports) = (interval(LOOK), interval(REPORT));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            ended = &mut session => {
                ended.context("the session ended")?;
                break;
            }
            () = subscribed.notified(), if !was_subscribed => {
                was_subscribed = true;
                say(Sign::Subscribed);
            }
            _ = looks.tick() => {
                if link.is_subscribed() != was_heard {
                    // Who looks after a change must not wait for it to be said.
                    reports.reset_immediately();
                }
                intake.lock().unwrap_or_else(PoisonError::into_inner).look();
            }
            _ = reports.tick() => {
                let now_ns = clock.boot_ns();
                if now_ns.saturating_sub(counters.alive_ns()) < 30_000_000_000 {
                    say(Sign::Alive);
                }
                was_heard = link.is_subscribed();
                if let Some(path) = &report {
                    let report = counters.report(&reader, boot, &meters, &link, now_ns);
                    if let Err(error) = counters::write(&report, path) {
                        warn!(path = %path.display(), %error, "the report cannot be written");
                    }
                }
            }
        }
    }
    info!("stopping: what is here is written and acknowledged");
    stop.send_replace(true);
    intake.lock().unwrap_or_else(PoisonError::into_inner).stop();
    drop(to_writer.send(vec![ToWriter::Stop]));
    drop(to_pages.try_send(ToPages::Stop));
    let joined = tokio::task::spawn_blocking(move || (writing.join(), serving.join()));
    // A full disk may keep the writer for ever.
    drop(timeout(GOODBYE, joined).await);
    link.goodbye();
    if timeout(GOODBYE, &mut session).await.is_err() {
        session.abort();
    }
    Ok(())
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("starting the thread {name}"))
}
