//! One lab for all scenarios, and what was measured on it before they began.

use anyhow::{Context as _, Result, bail};
use lab::artifacts::{Artifacts, Tier};
use lab::matrix::Matrix;
use lab::packets::Packets;
use lab::report::About;
use lab::roles::mqtt::Reader;
use lab::{Lab, diagnostics, runner};
use tokio::sync::OnceCell;

use crate::delivery;

/// One thing that is proven in containers.
pub(crate) type Scenario = runner::Scenario<Stage>;

/// What a scenario needs that judges the matrix of attempts.
pub(crate) const MATRIX: &str = "matrix";
/// What a scenario needs that judges packets of every kind.
pub(crate) const PACKETS: &str = "packets";

/// A scenario from an `async fn(&Stage) -> Result<String>`: among others, or with the lab for itself.
macro_rules! scenario {
    ($name:literal, $body:path) => {
        $crate::shared::scenario!($name, None, read, $body)
    };
    ($name:literal, matrix, $body:path) => {
        $crate::shared::scenario!($name, Some($crate::shared::MATRIX), read, $body)
    };
    ($name:literal, packets, $body:path) => {
        $crate::shared::scenario!($name, Some($crate::shared::PACKETS), read, $body)
    };
    ($name:literal, alone, $body:path) => {
        $crate::shared::scenario!($name, None, write, $body)
    };
    ($name:literal, $needs:expr, $turn:ident, $body:path) => {
        lab::runner::Scenario::<$crate::shared::Stage> {
            name: $name,
            needs: $needs,
            only_in_full: false,
            body: |stage| {
                Box::pin(async move {
                    let _turn = stage.whole_lab.$turn().await;
                    $body(stage).await
                })
            },
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
    /// Held by scenarios that change the bastion in the LAN; they leave it as it was.
    pub(crate) flat_turn: tokio::sync::Mutex<()>,
    /// Held by scenarios that let parts of the way fail: then nobody else may rely on them.
    pub(crate) whole_lab: tokio::sync::RwLock<()>,
    pub(crate) matrix: Option<Matrix>,
    packets: Option<Packets>,
    listening: OnceCell<Result<(), String>>,
    /// The guide's broker, started once for all.
    pub(crate) guides_broker: OnceCell<Result<(), String>>,
}

impl Stage {
    /// What came of every attempt.
    pub(crate) fn matrix(&self) -> Result<&Matrix> {
        self.matrix.as_ref().context("the matrix was not measured")
    }

    /// What came of packets of every kind, in both placements.
    pub(crate) fn packets(&self) -> Result<&Packets> {
        self.packets.as_ref().context("no packets were sent")
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

impl runner::Stage for Stage {
    const TIER: Tier = Tier::Containers;
    /// Scenarios wait far more than they work.
    const AT_ONCE: usize = 16;

    async fn set(artifacts: Artifacts, chosen: &[Scenario]) -> Result<Stage> {
        let needs = |what| chosen.iter().any(|scenario| scenario.needs == Some(what));
        let lab = Lab::start(artifacts, delivery::METERS).await?;
        let matrix = match needs(MATRIX) {
            true => Some(measured(&lab, Matrix::measure(&lab)).await?),
            false => None,
        };
        let packets = match needs(PACKETS) {
            true => Some(measured(&lab, Packets::measure(&lab)).await?),
            false => None,
        };
        Ok(Stage {
            lab,
            matrix,
            packets,
            bastion_turn: tokio::sync::Mutex::new(()),
            flat_turn: tokio::sync::Mutex::new(()),
            whole_lab: tokio::sync::RwLock::new(()),
            listening: OnceCell::new(),
            guides_broker: OnceCell::new(),
        })
    }

    async fn failed(&self, scenario: &'static str, error: anyhow::Error) -> String {
        let reason = blame(&self.lab, &error);
        let saved = diagnostics::save(&self.lab, scenario, &reason).await;
        format!("{reason}\n{saved}")
    }

    async fn about(&self) -> About {
        About {
            versions: self.lab.versions().await,
            seed: Some(self.lab.artifacts.seed),
            taken_out: self
                .lab
                .taken_out
                .as_ref()
                .map(|rule| (rule.name.clone(), rule.says.clone())),
            attempts: self
                .matrix
                .as_ref()
                .map(Matrix::in_words)
                .unwrap_or_default(),
        }
    }

    async fn end(&self) -> Result<()> {
        self.lab.end().await
    }
}

async fn measured<T>(lab: &Lab, measuring: impl Future<Output = Result<T>>) -> Result<T> {
    match measuring.await {
        Ok(measured) => Ok(measured),
        Err(error) => {
            let saved = diagnostics::save(lab, "matrix", &format!("{error:#}")).await;
            lab.end().await?;
            Err(error.context(format!("making every attempt\n{saved}\n")))
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
