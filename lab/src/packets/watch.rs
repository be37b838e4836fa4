//! Watchers on all machines concerned, and what they saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use serde::Deserialize;

use crate::eventually::{Look, eventually};
use crate::lab::Lab;
use crate::node::{Node, Upload};

const PROGRAM: &str = "/root/watch.py";
const NAME: &str = "watch";
const SEEN: &str = "/run/watch.json";

#[derive(Debug, Default, Deserialize)]
struct Seen {
    #[serde(rename = "in")]
    came: BTreeSet<u16>,
    #[serde(rename = "out")]
    went: BTreeSet<u16>,
}

/// Marks that were seen, by machine.
pub(super) struct Sightings(BTreeMap<String, Seen>);

/// Watchers that run.
pub(super) struct Watchers<'a>(Vec<&'a Node>);

impl<'a> Watchers<'a> {
    pub(super) async fn start(lab: &'a Lab) -> Result<Watchers<'a>> {
        let nodes = vec![
            &lab.bastion,
            &lab.flat.node,
            &lab.router,
            &lab.neighbour,
            &lab.stranger,
            &lab.admin,
            &lab.collector,
            &lab.home_server,
        ];
        try_join_all(nodes.iter().map(|node| start(node))).await?;
        Ok(Watchers(nodes))
    }

    pub(super) async fn end(self) -> Result<Sightings> {
        let seen = try_join_all(self.0.into_iter().map(|node| async move {
            node.end(NAME, "TERM").await?;
            let text = node.run(&["cat", SEEN]).await?;
            let seen = serde_json::from_str(&text)
                .with_context(|| format!("what the watcher on {} saw", node.name))?;
            Ok::<_, anyhow::Error>((node.name.clone(), seen))
        }));
        Ok(Sightings(seen.await?.into_iter().collect()))
    }
}

async fn start(node: &Node) -> Result<()> {
    let program = Upload {
        path: PROGRAM.to_owned(),
        mode: 0o755,
        content: include_bytes!("watch.py").to_vec(),
    };
    node.upload(&[program]).await?;
    node.script(&format!("rm -f {SEEN}")).await?;
    node.spawn(NAME, &["python3", PROGRAM, SEEN]).await?;
    eventually(
        format!("a watcher on {}", node.name),
        Duration::from_secs(20),
        || async {
            let log = node.run(&["cat", "/var/log/watch.log"]).await;
            Ok(match log.unwrap_or_default() {
                log if log.contains("watching") => Look::Done(()),
                log => Look::NotYet(log),
            })
        },
    )
    .await
}

impl Sightings {
    pub(super) fn went_out(&self, machine: &str, id: u16) -> bool {
        self.0
            .get(machine)
            .is_some_and(|seen| seen.went.contains(&id))
    }

    pub(super) fn came_in(&self, machine: &str, id: u16) -> bool {
        self.0
            .get(machine)
            .is_some_and(|seen| seen.came.contains(&id))
    }

    /// Where it came in, but for the machine that sent it.
    pub(super) fn arrived(&self, sender: &str, id: u16) -> Vec<String> {
        let others = self.0.iter().filter(|(name, _)| *name != sender);
        others
            .filter(|(_, seen)| seen.came.contains(&id))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
