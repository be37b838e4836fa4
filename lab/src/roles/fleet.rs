//! The machine on which the simulated meters run, and what they wrote down.

use actors::fleet::Fleet;
use actors::ledger::Line;
use anyhow::{Context as _, Result};

use crate::node::{Node, Output, Upload};

const PROGRAM: &str = "/usr/local/bin/meters";
const FLEET: &str = "/root/fleet.json";
/// Where the fleet writes down what it sends.
pub const LEDGER: &str = "/root/ledger.jsonl";

/// Puts a fleet on the machine. Its file holds passwords.
///
/// # Errors
/// When the engine refuses.
pub async fn install(node: &Node, fleet: &Fleet) -> Result<()> {
    let content = serde_json::to_vec(fleet).context("writing the fleet's file")?;
    node.upload(&[Upload {
        path: FLEET.to_owned(),
        mode: 0o600,
        content,
    }])
    .await
}

/// Lets the fleet publish until its time is over.
///
/// # Errors
/// When it cannot be started.
pub async fn publish(node: &Node) -> Result<Output> {
    node.exec("root", &[PROGRAM, "--fleet", FLEET, "--ledger", LEDGER])
        .await
}

/// Lets the fleet publish in the background.
///
/// # Errors
/// When it cannot be started.
pub async fn start(node: &Node) -> Result<()> {
    node.spawn("meters", &[PROGRAM, "--fleet", FLEET, "--ledger", LEDGER])
        .await
}

/// What the fleet wrote down so far.
///
/// # Errors
/// When it is not what a fleet writes.
pub async fn ledger(node: &Node) -> Result<Vec<Line>> {
    let text = node.run(&["cat", LEDGER]).await?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("ledger line {line}")))
        .collect()
}
