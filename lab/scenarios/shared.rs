//! One lab for all scenarios, stood up by the first that needs it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use lab::artifacts::Artifacts;
use lab::matrix::Matrix;
use lab::roles::mqtt::Reader;
use lab::{Lab, diagnostics};
use libtest_mimic::Failed;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::delivery;

/// What a scenario does: it returns what it has shown, in words.
pub(crate) type Body =
    for<'a> fn(&'a Stage) -> Pin<Box<dyn Future<Output = Result<String>> + Send + 'a>>;

/// One thing that is proven.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    /// Module and sentence.
    pub(crate) name: &'static str,
    /// Whether it judges the matrix of attempts.
    pub(crate) needs_matrix: bool,
    /// How it is shown.
    pub(crate) body: Body,
}

/// A scenario from an `async fn(&Stage) -> Result<String>`.
macro_rules! scenario {
    ($name:literal, $body:path) => {
        $crate::shared::Scenario {
            name: $name,
            needs_matrix: false,
            body: |stage| Box::pin($body(stage)),
        }
    };
    ($name:literal, matrix, $body:path) => {
        $crate::shared::Scenario {
            name: $name,
            needs_matrix: true,
            body: |stage| Box::pin($body(stage)),
        }
    };
}
pub(crate) use scenario;

/// A lab that stands, and what was measured on it before the scenarios began.
pub(crate) struct Stage {
    /// The lab.
    pub(crate) lab: Lab,
    /// Held by scenarios that change the bastion, one at a time; they leave it as it was.
    pub(crate) bastion_turn: tokio::sync::Mutex<()>,
    matrix: Option<Matrix>,
    listening: OnceCell<Result<(), String>>,
}

impl Stage {
    /// What came of every attempt.
    pub(crate) fn matrix(&self) -> Result<&Matrix> {
        self.matrix.as_ref().context("the matrix was not measured")
    }

    /// The reader in the LAN, started once for all; when it does not start, it is not tried again.
    pub(crate) async fn reader(&self) -> Result<Reader<'_>> {
        let start = || async {
            let started = Reader::start(&self.lab, delivery::first_spare(&self.lab)?).await;
            started.map_err(|error| {
                error.context("promise broken: a reader in the LAN cannot read the broker")
            })
        };
        let started = self
            .listening
            .get_or_init(|| async { start().await.map_err(|error| format!("{error:#}")) });
        match started.await {
            Ok(()) => Ok(Reader::of(&self.lab)),
            Err(error) => bail!("{error}"),
        }
    }
}

/// What all scenarios share.
pub(crate) struct Shared {
    runtime: Runtime,
    artifacts: Artifacts,
    measure: bool,
    stage: OnceCell<Option<Stage>>,
    /// Selected scenarios that have not ended.
    waiting: AtomicUsize,
    shown: Mutex<Vec<String>>,
}

impl Shared {
    /// Nothing is started yet; these are the scenarios that will be run.
    pub(crate) fn new(artifacts: Artifacts, selected: &[Scenario]) -> Result<Shared> {
        let runtime = Runtime::new().context("starting the runtime")?;
        Ok(Shared {
            runtime,
            artifacts,
            measure: selected.iter().any(|scenario| scenario.needs_matrix),
            stage: OnceCell::new(),
            waiting: AtomicUsize::new(selected.len()),
            shown: Mutex::default(),
        })
    }

    /// Runs one scenario. The last one to end prints what all have shown; after a failure the
    /// evidence is in a folder.
    pub(crate) fn run(&self, scenario: &Scenario) -> Result<(), Failed> {
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
                Err(error) => {
                    let reason = blame(&stage.lab, &error);
                    let saved = diagnostics::save(&stage.lab, scenario.name, &reason).await;
                    Err(Failed::from(format!("{reason}\n{saved}")))
                }
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

    /// Stands the lab up; when that fails, says why once, and not for each scenario.
    async fn set(&self) -> Option<Stage> {
        let stage = async {
            let lab = Lab::start(self.artifacts.clone(), delivery::METERS).await?;
            let matrix = match self.measure {
                true => Some(self.measured(&lab).await?),
                false => None,
            };
            Ok(Stage {
                lab,
                matrix,
                bastion_turn: tokio::sync::Mutex::new(()),
                listening: OnceCell::new(),
            })
        };
        stage
            .await
            .map_err(|error: anyhow::Error| eprintln!("the lab does not come up: {error:#}"))
            .ok()
    }

    async fn measured(&self, lab: &Lab) -> Result<Matrix> {
        match Matrix::measure(lab).await {
            Ok(matrix) => Ok(matrix),
            Err(error) => {
                let saved = diagnostics::save(lab, "matrix", &format!("{error:#}")).await;
                lab.end().await?;
                Err(error.context(format!("making every attempt\n{saved}\n")))
            }
        }
    }

    /// Takes the lab down.
    pub(crate) fn end(&self) -> Result<()> {
        match self.stage.get() {
            Some(Some(stage)) => self.runtime.block_on(stage.lab.end()),
            _ => Ok(()),
        }
    }
}

/// The message of a failure; it names the rule that was taken out, and what it promised.
fn blame(lab: &Lab, error: &anyhow::Error) -> String {
    match &lab.taken_out {
        Some(rule) => format!(
            "{error:#}\n(the rule {} was taken out of the policy: \"{}\")",
            rule.name, rule.says
        ),
        None => format!("{error:#}"),
    }
}
