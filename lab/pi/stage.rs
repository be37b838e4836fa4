//! What a scenario on the virtual Pi has: the machine in the state that it begins from, a folder
//! to deploy from, and the deployer.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::artifacts::{Artifacts, Tier};
use lab::node::Output;
use lab::report::About;
use lab::runner;
use lab::virtual_pi::PiLab;
use lab::virtual_pi::access::Access;
use lab::virtual_pi::machine::Machine;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::deployed::{DEPLOYED, First};
use crate::second::Second;

/// One thing that is proven on the virtual Pi.
pub(crate) type Scenario = runner::Scenario<Stage>;

/// A scenario from an `async fn(&Stage) -> Result<String>`, which begins with the machine in a
/// state that is remembered.
macro_rules! scenario {
    ($name:literal, from $state:path, $body:path) => {
        lab::runner::Scenario::<$crate::stage::Stage> {
            name: $name,
            needs: Some($state),
            only_in_full: false,
            body: |stage| {
                Box::pin(async move {
                    stage.begin_from($state).await?;
                    $body(stage).await
                })
            },
        }
    };
}
pub(crate) use scenario;

/// The lab with its machine.
pub(crate) struct Stage {
    /// Networks, machines, and what was built.
    pub(crate) lab: PiLab,
    /// See [`Stage::first`].
    pub(crate) first: OnceCell<Result<First, String>>,
    /// See [`Stage::second`].
    pub(crate) second: OnceCell<Result<Second, String>>,
    /// See [`Stage::begin_with_many_meters`].
    pub(crate) many: OnceCell<Result<Access, String>>,
}

impl Stage {
    /// The virtual Pi.
    pub(crate) fn machine(&self) -> &Machine {
        &self.lab.machine
    }

    /// Brings the machine into a remembered state.
    pub(crate) async fn begin_from(&self, state: &str) -> Result<()> {
        if state == DEPLOYED {
            self.first().await?;
        }
        let recalled = self.lab.recall(state).await;
        recalled.with_context(|| format!("bringing the virtual Pi into the state `{state}`"))
    }

    /// A new folder to deploy from, with a site file for this lab and no secrets yet.
    pub(crate) fn site(&self, scenario: &str) -> Result<Access> {
        let folder = self.lab.built.access.join(&self.lab.engine.owner);
        Access::write(
            &folder.join(scenario),
            &self.lab.engine,
            &self.lab.built,
            &self.lab.topology,
        )
    }

    /// The deployer on this host, ready to be started.
    pub(crate) fn command(&self, from: &Access, arguments: &[&str]) -> Command {
        let mut deployer = Command::new(&self.lab.built.deployer);
        deployer
            .arg("--program")
            .arg(
                from.program()
                    .unwrap_or_else(|| self.lab.artifacts.bastion.clone()),
            )
            .args(arguments)
            .arg("--site")
            .arg(from.site())
            .arg("--ssh-config")
            .arg(from.ssh_config())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        deployer
    }

    /// Runs the deployer on this host, as `cargo xtask deploy` does: `arguments`, then the site
    /// file and what OpenSSH is told.
    pub(crate) async fn deployer(
        &self,
        from: &Access,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Output> {
        let mut deployer = self.command(from, arguments);
        let ended = tokio::time::timeout(limit, deployer.output()).await;
        let Ok(ended) = ended else {
            bail!(
                "the deployer ({}) has not ended within {} s",
                arguments.join(" "),
                limit.as_secs()
            );
        };
        let ended = ended.context("starting the deployer")?;
        Ok(Output {
            code: ended.status.code().map_or(-1, i64::from),
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
        })
    }
}

impl runner::Stage for Stage {
    const TIER: Tier = Tier::Vm;
    /// There is one machine.
    const AT_ONCE: usize = 1;

    async fn set(artifacts: Artifacts, _: &[Scenario]) -> Result<Stage> {
        Ok(Stage {
            lab: PiLab::start(artifacts).await?,
            first: OnceCell::new(),
            second: OnceCell::new(),
            many: OnceCell::new(),
        })
    }

    async fn failed(&self, scenario: &'static str, error: anyhow::Error) -> String {
        let reason = format!("{error:#}");
        let saved = self.lab.save(scenario, &reason).await;
        format!("{reason}\n{saved}")
    }

    async fn about(&self) -> About {
        About {
            versions: self.lab.engine.version().await.into_iter().collect(),
            seed: Some(self.lab.artifacts.seed),
            ..About::default()
        }
    }

    async fn end(&self) -> Result<()> {
        self.lab.end().await
    }
}
