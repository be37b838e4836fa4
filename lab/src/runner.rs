//! Scenarios as a test target of its own: filter, list and summary are libtest's, and all share
//! one stage, stood up by the first that needs it. What the stage is, is left to the target.
//!
//! Without `cargo xtask lab` there is no lab: then every scenario is named and skipped.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::artifacts::{Artifacts, Tier};

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

    /// Takes it down.
    fn end(&self) -> impl Future<Output = Result<()>> + Send;
}

/// Runs what the command line asks for.
#[must_use]
pub fn run<S: Stage>(scenarios: Vec<Scenario<S>>) -> ExitCode {
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
        return libtest_mimic::run(&arguments, listed.collect()).exit_code();
    };
    let chosen: Vec<Scenario<S>> = scenarios
        .iter()
        .filter(|scenario| selected(&arguments, scenario))
        .copied()
        .collect();
    let shared = match Shared::new(artifacts, chosen) {
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
    shown: Mutex<Vec<String>>,
}

impl<S: Stage> Shared<S> {
    /// Nothing is started yet; these are the scenarios that will be run.
    fn new(artifacts: Artifacts, chosen: Vec<Scenario<S>>) -> Result<Shared<S>> {
        Ok(Shared {
            runtime: Runtime::new().context("starting the runtime")?,
            artifacts,
            waiting: AtomicUsize::new(chosen.len()),
            chosen,
            stage: OnceCell::new(),
            shown: Mutex::default(),
        })
    }

    /// Runs one scenario. The last one to end prints what all have shown; after a failure the
    /// evidence is in a folder.
    fn run(&self, scenario: &Scenario<S>) -> Result<(), Failed> {
        let outcome = self.runtime.block_on(async {
            let stage = self.stage.get_or_init(|| self.set()).await;
            let Some(stage) = stage else {
                return Err(Failed::from("the lab did not come up, see above"));
            };
            match (scenario.body)(stage).await {
                Ok(evidence) => {
                    self.shown()
                        .push(format!("  {}: {evidence}", scenario.name));
                    Ok(())
                }
                Err(error) => Err(Failed::from(stage.failed(scenario.name, error).await)),
            }
        });
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            let mut shown = self.shown();
            shown.sort();
            // One write, so that the list of verdicts does not break it up.
            println!("\nshown:\n{}\n", shown.join("\n"));
        }
        outcome
    }

    fn shown(&self) -> MutexGuard<'_, Vec<String>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
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
