//! The collector's machine: the static program with the settings that were rendered for it.

use std::time::Duration;

use anyhow::Result;
use deploy::RenderedFile;
use deploy::render::COLLECTOR_FOLDER;

use crate::eventually::{Look, eventually};
use crate::node::{Node, Upload};

const PROGRAM: &str = "/usr/local/bin/collector";

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
    node.run(&["mkdir", "-p", "/var/lib/collector"]).await?;
    Ok(())
}

/// Starts the program, and waits until it reads the broker.
///
/// # Errors
/// When it does not get there; the message carries the end of its log.
pub async fn start(node: &Node) -> Result<()> {
    let settings = format!("{COLLECTOR_FOLDER}/collector.toml");
    node.spawn("collector", &[PROGRAM, "run", "--config", &settings])
        .await?;
    eventually(
        "the collector to subscribe to the broker",
        Duration::from_secs(15),
        || async {
            let log = node
                .run(&["cat", "/var/log/collector.log"])
                .await
                .unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(3).collect();
            Ok(if log.contains("subscribed") {
                Look::Done(())
            } else {
                Look::NotYet(end.join(" | "))
            })
        },
    )
    .await
}
