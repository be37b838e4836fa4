//! A second bastion that stands in the LAN itself (placement `flat`), as most households have it: the
//! same program, the same policy's source, another site file. It has no journal and no collector;
//! what is shown with it is what it may reach, and who reaches it.

use std::fs;

use anyhow::{Context as _, Result};
use deploy::{Rendered, Secrets};
use site::flow::Policy;
use site::{Bastion, Site};

use crate::artifacts::Artifacts;
use crate::engine::Engine;
use crate::node::Node;
use crate::roles::bastion;
use crate::site_file;
use crate::topology::{FLAT, Topology};

/// The machine and its site.
pub struct Flat {
    /// The machine.
    pub node: Node,
    /// Its site.
    pub site: Site,
    /// The one bastion of that site.
    pub description: Bastion,
    /// Passwords of its accounts.
    pub secrets: Secrets,
    /// Its policy, less the rule that was taken out.
    pub policy: Policy,
}

impl Flat {
    /// Starts the machine and describes its site.
    ///
    /// # Errors
    /// When the engine refuses or the description has a mistake.
    pub async fn start(
        engine: &Engine,
        artifacts: &Artifacts,
        topology: &Topology,
    ) -> Result<Flat> {
        let site = site_file::describe_flat(topology)?;
        let mut secrets = Secrets::default();
        secrets.complete(&site)?;
        let description = site
            .bastions
            .first()
            .context("the site of the bastion in the LAN has none")?
            .clone();
        let policy = Policy::of(&site, &description);
        // A rule that this placement lacks is taken out of the other one only.
        let without = artifacts.without_rule.as_deref();
        let policy = without
            .and_then(|name| policy.without(name))
            .unwrap_or(policy);
        let plugs = [topology.lan.plug(FLAT)];
        let node = Node::start(engine, "flat", &artifacts.node_image, &plugs).await?;
        Ok(Flat {
            node,
            site,
            description,
            secrets,
            policy,
        })
    }

    /// Makes it a bastion.
    ///
    /// # Errors
    /// When a step fails.
    pub async fn install(&self, artifacts: &Artifacts) -> Result<()> {
        let program = fs::read(&artifacts.bastion)
            .with_context(|| format!("reading {}", artifacts.bastion.display()))?;
        bastion::install_program(&self.node, program).await?;
        bastion::start_ssh(&self.node).await?;
        self.apply(&self.policy).await
    }

    /// Applies a policy.
    ///
    /// # Errors
    /// When `bastion apply` fails.
    pub async fn apply(&self, policy: &Policy) -> Result<()> {
        let rendered = Rendered::with_policy(&self.site, &self.description, &self.secrets, policy)?;
        bastion::bring(&self.node, &rendered).await?;
        bastion::apply(&self.node, &[])
            .await?
            .success()
            .context("bastion apply in the LAN")?;
        Ok(())
    }
}
