//! A standing lab: all machines up, the site rendered and applied; collector and meters are
//! ready and do not speak yet.

mod addresses;
mod versions;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use deploy::render::collector_files;
use deploy::{Rendered, Secrets};
use futures_util::future::{try_join, try_join_all};
use site::flow::{Policy, Rule};
use site::{Bastion, Site};

use crate::artifacts::Artifacts;
use crate::capture;
use crate::diagnostics;
use crate::engine::Engine;
use crate::flat::Flat;
use crate::node::{Node, Plug};
use crate::roles::witness::Post;
use crate::roles::{bastion, collector, database, guide, join, journal, router, witness};
use crate::site_file::{self, COLLECTOR_ACCOUNT};
use crate::steps::Steps;
use crate::sweep::{Reach, sweep, swept};
use crate::topology::{self, Segment, Topology};

/// The machines and everything known about them.
pub struct Lab {
    /// What was done since the lab began.
    pub steps: Steps,
    /// What was built.
    pub artifacts: Artifacts,
    /// The container engine.
    pub engine: Engine,
    /// The map.
    pub topology: Topology,
    /// The description of this lab.
    pub site: Site,
    /// The one bastion of that site.
    pub description: Bastion,
    /// Passwords of its accounts; they live as long as the lab.
    pub secrets: Secrets,
    /// The policy that is applied: the site's, less the rule that was taken out.
    pub policy: Policy,
    /// The rule that was taken out.
    pub taken_out: Option<Rule>,
    /// NAT, port forwards, names.
    pub router: Node,
    /// What it is all about.
    pub bastion: Node,
    /// Another machine on the bastion's segment.
    pub neighbour: Node,
    /// A bastion as the guide orders it.
    pub guide: Node,
    /// A bastion in the LAN itself, with a site of its own.
    pub flat: Flat,
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

impl Lab {
    /// Sweeps what dead labs left, then stands a lab up and says how long each step took.
    ///
    /// # Errors
    /// When a step fails; what was made so far is removed.
    pub async fn start(artifacts: Artifacts, meters: usize) -> Result<Lab> {
        let engine = Engine::connect(artifacts.keep).await?;
        // On the heap: it is large, and a thread's stack is not.
        swept(&engine, Box::pin(Lab::stand_up(&engine, artifacts, meters))).await
    }

    async fn stand_up(engine: &Engine, artifacts: Artifacts, meters: usize) -> Result<Lab> {
        let steps = Steps::begin();
        let topology = Topology::create(engine).await?;
        steps.done("networks");
        let site = site_file::describe(&topology, meters)?;
        let mut secrets = Secrets::default();
        secrets.complete(&site)?;
        let description = site
            .bastions
            .first()
            .context("the lab's site has no bastion")?
            .clone();
        let (policy, taken_out) =
            applied_policy(&site, &description, artifacts.without_rule.as_deref())?;

        let (wan, dmz, lan) = (&topology.wan, &topology.dmz, &topology.lan);
        let node = |name: &'static str, plugs: Vec<Plug>| {
            let image = if name == "influxdb" {
                &artifacts.influxdb_image
            } else {
                &artifacts.node_image
            };
            // Ten at once are more than a thread's stack bears.
            Box::pin(async move { Node::start(engine, name, image, &plugs).await })
        };
        let on = |segment: &Segment, n: u8| vec![segment.plug(n)];
        let everywhere = vec![
            wan.plug(topology::ROUTER),
            dmz.plug(topology::ROUTER),
            lan.plug(topology::ROUTER),
        ];
        let (
            router,
            bastion,
            neighbour,
            guide,
            flat,
            meters,
            stranger,
            admin,
            collector,
            influxdb,
            home_server,
        ) = tokio::try_join!(
            node("router", everywhere),
            node("bastion", on(dmz, topology::BASTION)),
            node("neighbour", on(dmz, topology::NEIGHBOUR)),
            node("guide", on(dmz, topology::GUIDE)),
            Box::pin(Flat::start(engine, &artifacts, &topology)),
            node("meters", on(wan, topology::METERS)),
            node("stranger", on(wan, topology::STRANGER)),
            node("admin", on(lan, topology::ADMIN)),
            node("collector", on(lan, topology::COLLECTOR)),
            node("influxdb", on(lan, topology::INFLUXDB)),
            node("home_server", on(lan, topology::HOME_SERVER)),
        )?;
        steps.done("machines");
        let lab = Lab {
            steps,
            engine: engine.clone(),
            artifacts,
            site,
            description,
            secrets,
            policy,
            taken_out,
            router,
            bastion,
            neighbour,
            guide,
            flat,
            meters,
            stranger,
            admin,
            collector,
            influxdb,
            home_server,
            topology,
        };
        if let Err(error) = lab.equip().await {
            let saved = diagnostics::save(&lab, "start", &format!("{error:#}")).await;
            let why = match &lab.taken_out {
                Some(rule) => format!(
                    "promise broken without the rule {}: \"{}\"",
                    rule.name, rule.says
                ),
                None => "equipping the machines".to_owned(),
            };
            return Err(error.context(format!("{why}\n{saved}\n")));
        }
        Ok(lab)
    }

    async fn equip(&self) -> Result<()> {
        self.wire().await?;
        self.steps.done("routes and listeners");
        self.install().await?;
        self.steps.done("bastion, database and collector");
        Ok(())
    }

    /// Routes, names, listeners and witnesses.
    async fn wire(&self) -> Result<()> {
        let Topology { wan, dmz, lan, .. } = &self.topology;
        router::become_router(&self.router, &self.topology).await?;
        let ends = [
            (&self.bastion, dmz),
            (&self.neighbour, dmz),
            (&self.guide, dmz),
            (&self.flat.node, lan),
            (&self.meters, wan),
            (&self.stranger, wan),
            (&self.admin, lan),
            (&self.collector, lan),
            (&self.influxdb, lan),
            (&self.home_server, lan),
        ];
        try_join_all(ends.map(|(node, segment)| join(node, segment))).await?;
        self.extra_addresses().await?;
        capture::begin(&self.recorded()).await?;
        let programs = &self.artifacts.programs()?;
        let upload = |node| async move { Node::upload(node, programs).await };
        try_join_all(
            [&self.router]
                .into_iter()
                .chain(ends.map(|(node, _)| node))
                .map(upload),
        )
        .await?;
        try_join_all(self.witnesses().map(|(node, post, ports)| async move {
            witness::watch(node, post).await?;
            if !ports.is_empty() {
                witness::listen(node, ports).await?;
            }
            Ok::<(), anyhow::Error>(())
        }))
        .await?;
        Ok(())
    }

    /// The machines that must not be reached, where each writes down what comes, and what listens
    /// there beside its own work.
    #[must_use]
    pub fn witnesses(&self) -> [(&Node, Post, &'static [&'static str]); 10] {
        let home_server = &[
            "tcp:80", "tcp:443", "tcp:22", "tcp:445", "tcp:53", "udp:53", "udp:123",
        ];
        [
            (&self.home_server, Post::Door, home_server),
            (&self.collector, Post::Door, &["tcp:22", "tcp:443"]),
            (&self.influxdb, Post::Door, &["tcp:22"]),
            (&self.admin, Post::Door, &["tcp:22", "tcp:443"]),
            (
                &self.router,
                Post::Door,
                &["tcp:80", "tcp:443", "udp:67", "udp:123"],
            ),
            (
                &self.neighbour,
                Post::Door,
                &["tcp:80", "tcp:443", "udp:123"],
            ),
            (&self.stranger, Post::Door, &["tcp:80", "udp:123"]),
            (&self.meters, Post::Door, &["tcp:80", "udp:123"]),
            // What comes to the bastion is refused by its own rules, so the witness stands behind.
            (&self.bastion, Post::Inside, &[]),
            (&self.flat.node, Post::Inside, &[]),
        ]
    }

    /// The programs that the project is about.
    async fn install(&self) -> Result<()> {
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let reader = self
            .site
            .readers
            .iter()
            .find(|reader| reader.name == COLLECTOR_ACCOUNT);
        let reader = reader.context("the lab's site has no collector")?;
        let settings = collector_files(&self.site, &self.site.bastions, reader, &self.secrets)?;
        let rendered = self.render(&self.policy)?;
        let bastion_side = async {
            bastion::install_program(&self.bastion, read(&self.artifacts.bastion)?).await?;
            bastion::forget_the_engine(&self.bastion).await?;
            bastion::start_ssh(&self.bastion).await?;
            bastion::bring(&self.bastion, &rendered).await?;
            bastion::apply(&self.bastion, &[])
                .await?
                .success()
                .context("bastion apply")?;
            // Each would do without the other; the first tick must find a session that keeps it.
            journal::start_daemon(&self.bastion).await?;
            journal::start_ticker(&self.bastion).await
        };
        let lan_side = async {
            collector::install(&self.collector, read(&self.artifacts.collector)?, settings).await?;
            database::start(&self.influxdb).await
        };
        let others = try_join(
            guide::follow(&self.guide),
            Box::pin(self.flat.install(&self.artifacts)),
        );
        try_join(bastion_side, try_join(lan_side, others)).await?;
        Ok(())
    }

    /// The bastion's files with another policy.
    ///
    /// # Errors
    /// When an account has no password.
    pub fn render(&self, policy: &Policy) -> Result<Rendered> {
        Ok(Rendered::with_policy(
            &self.site,
            &self.description,
            &self.secrets,
            policy,
        )?)
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
        Ok(())
    }

    /// The machines whose packets are recorded.
    #[must_use]
    pub fn recorded(&self) -> [&Node; 3] {
        [&self.bastion, &self.router, &self.home_server]
    }

    /// All machines.
    #[must_use]
    pub fn nodes(&self) -> [&Node; 11] {
        [
            &self.router,
            &self.bastion,
            &self.neighbour,
            &self.guide,
            &self.flat.node,
            &self.meters,
            &self.stranger,
            &self.admin,
            &self.collector,
            &self.influxdb,
            &self.home_server,
        ]
    }
}

/// The site's policy, less the rule that shall be taken out, and that rule.
fn applied_policy(
    site: &Site,
    bastion: &Bastion,
    without: Option<&str>,
) -> Result<(Policy, Option<Rule>)> {
    let policy = Policy::of(site, bastion);
    let Some(name) = without else {
        return Ok((policy, None));
    };
    let taken_out = policy.rules.iter().find(|rule| rule.name == name).cloned();
    match policy.without(name) {
        Some(policy) => Ok((policy, taken_out)),
        None => {
            let names: Vec<&str> = policy.rules.iter().map(|rule| rule.name.as_str()).collect();
            bail!("the policy has no rule {name}; it has {}", names.join(", "))
        }
    }
}
