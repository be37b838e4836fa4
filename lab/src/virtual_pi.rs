//! The lab around a virtual Pi: the same networks as in the tier of containers, and in the place of
//! the bastion an emulated armv7 machine with its own kernel, systemd, OpenSSH and card.
//!
//! How the machine is started, cut off and looked at is left to `machine` and `console`, how a
//! deployer reaches it to `access`, and what is proven with it to `pi/`.

pub mod access;
mod console;
mod evidence;
pub mod machine;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;

use crate::artifacts::{Artifacts, VirtualPi};
use crate::diagnostics;
use crate::engine::Engine;
use crate::node::{Node, Plug};
use crate::roles::{join, outside, router};
use crate::steps::Steps;
use crate::sweep::{Reach, sweep, swept};
use crate::topology::{self, Topology};

use access::Access;
use machine::{Machine, PowerOn};

/// A machine that has booted fresh, and on which nothing was done yet.
pub const BLANK: &str = "blank";

/// How long the machine may take from power to SSH, however busy the host is. What is promised on
/// an idle host is another, shorter time.
pub const BOOT: Duration = Duration::from_secs(900);

/// The machines and everything known about them.
pub struct PiLab {
    /// What was done since the lab began.
    pub steps: Steps,
    /// What was built.
    pub artifacts: Artifacts,
    /// What was built for the emulated machine.
    pub built: VirtualPi,
    /// The container engine.
    pub engine: Engine,
    /// The map.
    pub topology: Topology,
    /// The emulated machine.
    pub machine: Machine,
    /// How it is reached over SSH when nobody has deployed to it.
    pub access: Access,
    /// How long its first boot took, from power to SSH.
    pub first_boot: Duration,
    /// NAT, port forwards, names, addresses.
    pub router: Node,
    /// Time and packages.
    pub outside: Node,
    /// Another machine on the bastion's segment.
    pub neighbour: Node,
    /// The simulated meters' machine.
    pub meters: Node,
    /// Somebody on the Internet.
    pub stranger: Node,
    /// The admin's machine.
    pub admin: Node,
    /// The collector's machine.
    pub collector: Node,
    /// The database.
    pub influxdb: Node,
    /// What a taken bastion would like to reach.
    pub home_server: Node,
}

impl PiLab {
    /// Sweeps what dead labs left, stands a lab up, boots the Pi and remembers it as [`BLANK`].
    ///
    /// # Errors
    /// When a step fails; what was made so far is removed.
    pub async fn start(artifacts: Artifacts) -> Result<PiLab> {
        let engine = Engine::connect(artifacts.keep).await?;
        // On the heap: it is large, and a thread's stack is not.
        swept(&engine, Box::pin(PiLab::stand_up(&engine, artifacts))).await
    }

    async fn stand_up(engine: &Engine, artifacts: Artifacts) -> Result<PiLab> {
        let steps = Steps::begin();
        let built = artifacts
            .virtual_pi
            .clone()
            .context("start the lab with `cargo xtask lab --tier vm`")?;
        access::forget_others(&built.access, engine).await?;
        let topology = Topology::create(engine).await?;
        steps.done("networks");
        let (wan, dmz, lan) = (&topology.wan, &topology.dmz, &topology.lan);
        let node = |name: &'static str, plugs: Vec<Plug>| {
            let image = if name == "influxdb" {
                &artifacts.influxdb_image
            } else {
                &artifacts.node_image
            };
            async move { Node::start(engine, name, image, &plugs).await }
        };
        let everywhere = [wan, dmz, lan].map(|segment| segment.plug(topology::ROUTER));
        let (
            machine,
            router,
            outside,
            neighbour,
            meters,
            stranger,
            admin,
            collector,
            influxdb,
            home_server,
        ) = tokio::try_join!(
            Machine::new(engine, &built, &topology),
            node("router", everywhere.to_vec()),
            outside::start(
                engine,
                &built.image,
                &built.mirror,
                wan.plug(topology::OUTSIDE)
            ),
            node("neighbour", vec![dmz.plug(topology::NEIGHBOUR)]),
            node("meters", vec![wan.plug(topology::METERS)]),
            node("stranger", vec![wan.plug(topology::STRANGER)]),
            node("admin", vec![lan.plug(topology::ADMIN)]),
            node("collector", vec![lan.plug(topology::COLLECTOR)]),
            node("influxdb", vec![lan.plug(topology::INFLUXDB)]),
            node("home_server", vec![lan.plug(topology::HOME_SERVER)]),
        )?;
        steps.done("machines");
        let folder = built.access.join(&engine.owner);
        let access = Access::write(&folder.join(BLANK), engine, &built, &topology)?;
        let mut lab = PiLab {
            steps,
            engine: engine.clone(),
            artifacts,
            built,
            machine,
            access,
            first_boot: Duration::ZERO,
            router,
            outside,
            neighbour,
            meters,
            stranger,
            admin,
            collector,
            influxdb,
            home_server,
            topology,
        };
        if let Err(error) = lab.equip().await {
            let saved = lab.save("start", &format!("{error:#}")).await;
            return Err(error.context(format!("equipping the machines\n{saved}\n")));
        }
        Ok(lab)
    }

    async fn equip(&mut self) -> Result<()> {
        let Topology { wan, dmz, lan, .. } = &self.topology;
        router::become_router_of_a_pi(&self.router, &self.topology, machine::MAC).await?;
        let ends = [
            (&self.outside, wan),
            (&self.neighbour, dmz),
            (&self.meters, wan),
            (&self.stranger, wan),
            (&self.admin, lan),
            (&self.collector, lan),
            (&self.influxdb, lan),
            (&self.home_server, lan),
        ];
        try_join_all(ends.map(|(node, segment)| join(node, segment))).await?;
        let programs = self.artifacts.programs()?;
        for node in [&self.meters, &self.stranger, &self.admin, &self.collector] {
            node.upload(&programs).await?;
        }
        outside::serve(&self.outside).await?;
        self.steps.done("routes, names, time and packages");
        let start = std::time::Instant::now();
        self.machine.power_on(&PowerOn::default()).await?;
        self.wait_for_ssh(BOOT).await?;
        self.first_boot = start.elapsed();
        self.steps.done("the virtual Pi answers SSH");
        self.machine.wait_until_settled(BOOT).await?;
        self.machine.remember(BLANK).await?;
        self.steps.done("it has come to rest, and is remembered");
        Ok(())
    }

    /// Waits until the Pi's SSH server greets the admin's machine.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_for_ssh(&self, limit: Duration) -> Result<()> {
        let address = self.topology.dmz.host(topology::BASTION).v4;
        // One loop on the spot: each look from here would cost the emulator its processor.
        let script = format!(
            "until echo | nc -N -w 3 {address} 22 2>/dev/null | grep -q ^SSH-; do sleep 0.3; done"
        );
        let seconds = limit.as_secs().to_string();
        let waited = self
            .admin
            .exec("root", &["timeout", &seconds, "sh", "-c", &script])
            .await?;
        waited
            .success()
            .map(drop)
            .with_context(|| format!("the Pi does not greet the admin over SSH within {seconds} s"))
    }

    /// Whether the Pi's SSH server greets the admin's machine now.
    ///
    /// # Errors
    /// When the admin's machine does not answer.
    pub async fn greets(&self) -> Result<bool> {
        Ok(self.wait_for_ssh(Duration::from_secs(5)).await.is_ok())
    }

    /// Brings the Pi back to a state that was remembered, running, with the right time.
    ///
    /// # Errors
    /// When there is no such state, or the machine does not come back.
    pub async fn recall(&self, state: &str) -> Result<()> {
        self.machine.recall(state).await?;
        self.wait_for_ssh(BOOT).await
    }

    /// All containers.
    #[must_use]
    pub fn nodes(&self) -> [&Node; 10] {
        [
            &self.router,
            &self.machine.hull,
            &self.outside,
            &self.neighbour,
            &self.meters,
            &self.stranger,
            &self.admin,
            &self.collector,
            &self.influxdb,
            &self.home_server,
        ]
    }

    /// Saves what can be had of a failure, and says where it is, or why it could not be saved.
    pub async fn save(&self, scenario: &str, reason: &str) -> String {
        match self.write(scenario, reason).await {
            Ok(folder) => format!("console, journal, logs and rules: {folder}"),
            Err(error) => format!("and the evidence could not be saved: {error:#}"),
        }
    }

    async fn write(&self, scenario: &str, reason: &str) -> Result<String> {
        let folder = diagnostics::folder_of(&self.engine.name, scenario)?;
        diagnostics::keep(&folder, "reason.txt", reason)?;
        for (file, text) in self.machine.evidence().await {
            diagnostics::keep(&folder, file, &text)?;
        }
        diagnostics::look_at(&folder, &self.nodes()).await?;
        Ok(folder.display().to_string())
    }

    /// Takes the lab down, or leaves it standing when it is kept.
    ///
    /// # Errors
    /// When the engine refuses; what can be removed is removed.
    pub async fn end(&self) -> Result<()> {
        if self.artifacts.keep {
            eprintln!(
                "the lab is left standing as {}; `cargo xtask lab clean` takes it down",
                self.engine.name
            );
            return Ok(());
        }
        sweep(&self.engine, Reach::Own).await?;
        let folder = self.built.access.join(&self.engine.owner);
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
    }
}
