//! The collector's machine: the static program with the settings that were rendered for it.

use std::time::Duration;

use anyhow::Result;
use deploy::RenderedFile;
use deploy::render::COLLECTOR_FOLDER;

use crate::eventually::{Look, eventually};
use crate::node::{Node, Upload};

/// Where the program is.
pub const PROGRAM: &str = "/usr/local/bin/collector";
/// Where it keeps what outlives it: cursors, what was set aside, the last status.
pub const STATE: &str = "/var/lib/collector";
/// The name under which it is started.
pub const NAME: &str = "collector";

/// Puts program and settings on the machine.
///
/// # Errors
/// When the engine refuses.
pub async fn install(node: &Node, program: Vec<u8>, settings: Vec<RenderedFile>) -> Result<()> {
    let mut files = vec![Upload {
        path: PROGRAM.to_owned(),
        mode: 0o755,
        content: program,
    }];
    files.extend(settings.into_iter().map(|file| Upload {
        path: file.path,
        mode: file.mode,
        content: file.content,
    }));
    node.upload(&files).await?;
    node.run(&["mkdir", "-p", STATE]).await?;
    Ok(())
}

/// What it says when it can read: from a bastion's journal, or from a broker.
const READS: [&str; 2] = ["connected to the bastion", "subscribed"];
const LOG: &str = "/var/log/collector.log";

/// Starts the program, and waits until it reads.
///
/// # Errors
/// When it does not get there; the message carries the end of its log.
pub async fn start(node: &Node) -> Result<()> {
    let log = || async { node.run(&["cat", LOG]).await.unwrap_or_default() };
    let reads = |log: &str| READS.map(|words| log.matches(words).count());
    let before = reads(&log().await);
    spawn(node).await?;
    eventually(
        "the collector to read the bastion",
        Duration::from_secs(15),
        || async {
            let log = log().await;
            let end: Vec<&str> = log.lines().rev().take(3).collect();
            Ok(if reads(&log) != before {
                Look::Done(())
            } else {
                Look::NotYet(end.join(" | "))
            })
        },
    )
    .await
}

/// Starts the program, whatever becomes of it.
///
/// # Errors
/// When the engine refuses.
pub async fn spawn(node: &Node) -> Result<()> {
    let settings = format!("{COLLECTOR_FOLDER}/collector.toml");
    node.spawn(NAME, &[PROGRAM, "run", "--config", &settings])
        .await
}
