//! Scenarios as a test target of its own: filter, list and summary are libtest's, and all share
//! one stage, stood up by the first that needs it. What the stage is, is left to the target.
//!
//! Without `cargo xtask lab` there is no lab: then every scenario is named and skipped.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::artifacts::{Artifacts, Tier};
use crate::report::{About, Entry, Run, Verdict, own_versions};

/// What a scenario does: it returns what it has shown, in words.
pub type Body<S> = for<'a> fn(&'a S) -> Pin<Box<dyn Future<Output = Result<String>> + Send + 'a>>;

/// One thing that is proven on a stage `S`.
pub struct Scenario<S> {
    /// Module and sentence.
    pub name: &'static str,
    /// What the stage must have ready for it beyond the usual; the stage knows the words.
    pub needs: Option<&'static str>,
    /// Whether it is left out unless everything is asked for.
    pub only_in_full: bool,
    /// How it is shown.
    pub body: Body<S>,
}

impl<S> Clone for Scenario<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Scenario<S> {}

impl<S> Scenario<S> {
    /// Left out unless everything is asked for (`--full`).
    #[must_use]
    pub fn only_in_full(self) -> Scenario<S> {
        Scenario {
            only_in_full: true,
            ..self
        }
    }
}

/// Where scenarios take place.
pub trait Stage: Send + Sync + Sized + 'static {
    /// The tier that it belongs to.
    const TIER: Tier;
    /// How many scenarios run at once.
    const AT_ONCE: usize;

    /// Stands it up for these scenarios.
    fn set(
        artifacts: Artifacts,
        chosen: &[Scenario<Self>],
    ) -> impl Future<Output = Result<Self>> + Send;

    /// Saves the evidence of a failure, and returns the message.
    fn failed(
        &self,
        scenario: &'static str,
        error: anyhow::Error,
    ) -> impl Future<Output = String> + Send;

    /// What the report shall tell beside the verdicts.
    fn about(&self) -> impl Future<Output = About> + Send {
        async { About::default() }
    }

    /// Takes it down.
    fn end(&self) -> impl Future<Output = Result<()>> + Send;
}

/// Runs what the command line asks for. Where there is no lab, the checks are run, which need none.
#[must_use]
pub fn run<S: Stage>(scenarios: Vec<Scenario<S>>, checks: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(S::AT_ONCE);
    let artifacts = match Artifacts::read(|name| std::env::var(name).ok()) {
        Ok(artifacts) => artifacts.filter(|artifacts| artifacts.tier() == S::TIER),
        Err(error) => {
            eprintln!("lab: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let Some(artifacts) = artifacts else {
        if !arguments.list {
            eprintln!(
                "the lab does not run here: `cargo xtask lab` sets it up and starts these scenarios"
            );
        }
        // Nothing may run here, not even with `--include-ignored`.
        let listed = scenarios
            .into_iter()
            .map(|scenario| Trial::test(scenario.name, || Ok(())).with_ignored_flag(true));
        arguments.include_ignored = false;
        arguments.ignored = false;
        let listed = checks.into_iter().chain(listed).collect();
        return libtest_mimic::run(&arguments, listed).exit_code();
    };
    let chosen: Vec<Scenario<S>> = scenarios
        .iter()
        .filter(|scenario| selected(&arguments, scenario))
        .copied()
        .collect();
    let entries = scenarios.iter().map(|scenario| {
        let left_out = scenario.only_in_full && !arguments.include_ignored && !arguments.ignored;
        entry(scenario, left_out)
    });
    let shared = match Shared::new(artifacts, chosen, entries.collect()) {
        Ok(shared) => Arc::new(shared),
        Err(error) => {
            eprintln!("lab: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = scenarios.into_iter().map(|scenario| {
        let shared = Arc::clone(&shared);
        Trial::test(scenario.name, move || shared.run(&scenario))
            .with_ignored_flag(scenario.only_in_full)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if let Err(error) = shared.end() {
        eprintln!("lab: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// A scenario that was not run yet.
fn entry<S>(scenario: &Scenario<S>, only_in_full: bool) -> Entry {
    Entry {
        name: scenario.name,
        verdict: match only_in_full {
            true => Verdict::OnlyInFull,
            false => Verdict::LeftOut,
        },
        took: Duration::ZERO,
        said: String::new(),
    }
}

/// As libtest selects.
fn selected<S>(arguments: &Arguments, scenario: &Scenario<S>) -> bool {
    let fits = |pattern: &String| {
        if arguments.exact {
            scenario.name == pattern
        } else {
            scenario.name.contains(pattern.as_str())
        }
    };
    let kind = if arguments.ignored {
        scenario.only_in_full
    } else {
        !scenario.only_in_full || arguments.include_ignored
    };
    kind && !arguments.list
        && arguments.filter.as_ref().is_none_or(fits)
        && !arguments.skip.iter().any(fits)
}

/// What all scenarios share.
struct Shared<S: Stage> {
    runtime: Runtime,
    artifacts: Artifacts,
    chosen: Vec<Scenario<S>>,
    stage: OnceCell<Option<S>>,
    /// Selected scenarios that have not ended.
    waiting: AtomicUsize,
    begun: (SystemTime, Instant),
    /// All scenarios; what was not run stays as it was at first.
    entries: Mutex<Vec<Entry>>,
}

impl<S: Stage> Shared<S> {
    /// Nothing is started yet; these are the scenarios that will be run.
    fn new(
        artifacts: Artifacts,
        chosen: Vec<Scenario<S>>,
        entries: Vec<Entry>,
    ) -> Result<Shared<S>> {
        Ok(Shared {
            runtime: Runtime::new().context("starting the runtime")?,
            artifacts,
            waiting: AtomicUsize::new(chosen.len()),
            chosen,
            stage: OnceCell::new(),
            begun: (SystemTime::now(), Instant::now()),
            entries: Mutex::new(entries),
        })
    }

    /// Runs one scenario. The last one to end prints what all have shown, and writes the report; after
    /// a failure the evidence is in a folder.
    fn run(&self, scenario: &Scenario<S>) -> Result<(), Failed> {
        let begun = Instant::now();
        let outcome = self.runtime.block_on(async {
            let stage = self.stage.get_or_init(|| self.set()).await;
            let Some(stage) = stage else {
                return Err("the lab did not come up, see above".to_owned());
            };
            // Standing it up is nobody's own time.
            let begun = Instant::now();
            let shown = (scenario.body)(stage).await;
            let took = begun.elapsed();
            match shown {
                Ok(evidence) => Ok((evidence, took)),
                Err(error) => Err(stage.failed(scenario.name, error).await),
            }
        });
        let (verdict, took, said) = match &outcome {
            Ok((evidence, took)) => (Verdict::Passed, *took, evidence),
            Err(message) => (Verdict::Failed, begun.elapsed(), message),
        };
        let mut entries = self.entries();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.name == scenario.name) {
            *entry = Entry {
                name: scenario.name,
                verdict,
                took,
                said: said.clone(),
            };
        }
        drop(entries);
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tell();
        }
        outcome.map(drop).map_err(Failed::from)
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints what all have shown, and where the report is.
    fn tell(&self) {
        let entries = self.entries().clone();
        let shown = entries
            .iter()
            .filter(|entry| entry.verdict == Verdict::Passed);
        let mut shown: Vec<String> = shown
            .map(|entry| format!("  {}: {}", entry.name, entry.said))
            .collect();
        shown.sort();
        let report = match self.report(entries) {
            Ok(paths) => paths,
            Err(error) => format!("the report could not be written: {error:#}"),
        };
        // One write, so that the list of verdicts does not break it up.
        println!("\nshown:\n{}\n\n{report}\n", shown.join("\n"));
    }

    fn report(&self, entries: Vec<Entry>) -> Result<String> {
        let mut about = match self.stage.get() {
            Some(Some(stage)) => self.runtime.block_on(stage.about()),
            _ => About::default(),
        };
        about.versions = [own_versions(), about.versions].concat();
        let run = Run {
            tier: match S::TIER {
                Tier::Containers => "containers",
                Tier::Vm => "vm",
            },
            begun: self.begun.0,
            took: self.begun.1.elapsed(),
            about,
            entries,
        };
        let [page, junit] = run.write()?;
        Ok(format!(
            "report: {}\nJUnit:  {}",
            page.display(),
            junit.display()
        ))
    }

    /// Stands the stage up; when that fails, says why once, and not for each scenario.
    async fn set(&self) -> Option<S> {
        S::set(self.artifacts.clone(), &self.chosen)
            .await
            .map_err(|error: anyhow::Error| eprintln!("the lab does not come up: {error:#}"))
            .ok()
    }

    /// Takes the stage down.
    fn end(&self) -> Result<()> {
        match self.stage.get() {
            Some(Some(stage)) => self.runtime.block_on(stage.end()),
            _ => Ok(()),
        }
    }
}
