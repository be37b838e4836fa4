//! The last packets of a few machines, kept only for a scenario that fails.
//!
//! One recorder per machine runs all the time, into a ring of small files: many scenarios share a
//! lab, and the attempts that they judge were made before they began. What is recorded is cut (the
//! first bytes of each packet) and bounded, so a run that passes pays little.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{join_all, try_join_all};

use crate::eventually::{Look, eventually};
use crate::node::Node;

/// Bytes of each packet: headers, and the beginning of what they carry.
const BYTES: &str = "160";
/// Files in a ring, and the size of each in millions of bytes.
const FILES: &str = "4";
const SIZE: &str = "1";
const FOLDER: &str = "/run/capture";
const NAME: &str = "capture";

/// Begins to record on these machines.
///
/// # Errors
/// When a recorder does not begin.
pub async fn begin(nodes: &[&Node]) -> Result<()> {
    try_join_all(nodes.iter().map(|node| begin_on(node)))
        .await
        .map(drop)
}

async fn begin_on(node: &Node) -> Result<()> {
    node.run(&["mkdir", "-p", FOLDER]).await?;
    let file = format!("{FOLDER}/{}.pcap", node.name);
    // Files change their owner's name with the ring, so it stays root; packets are not held back, or
    // the last ones, which matter most, would be missing.
    let command = [
        "tcpdump",
        "-i",
        "any",
        "-n",
        "-Z",
        "root",
        "-U",
        "--immediate-mode",
        "-s",
        BYTES,
        "-C",
        SIZE,
        "-W",
        FILES,
        "-w",
        &file,
    ];
    node.spawn(NAME, &command).await?;
    let log = format!("/var/log/{NAME}.log");
    eventually(
        format!("the recorder of packets on {}", node.name),
        Duration::from_secs(10),
        || async {
            let log = node.run(&["cat", &log]).await.unwrap_or_default();
            Ok(match log.contains("listening on") {
                true => Look::Done(()),
                false => Look::NotYet(log),
            })
        },
    )
    .await
}

/// Saves what was recorded, and says what is there. Goes on when a machine gives nothing.
pub async fn save(folder: &Path, nodes: &[&Node]) -> String {
    let saved = join_all(nodes.iter().map(|node| save_from(folder, node))).await;
    let saved = nodes.iter().zip(saved).map(|(node, saved)| match saved {
        Ok(files) => format!("{} ({files} files)", node.name),
        Err(error) => format!("{}: {error:#}", node.name),
    });
    format!("packets of {}", saved.collect::<Vec<_>>().join(", "))
}

async fn save_from(folder: &Path, node: &Node) -> Result<usize> {
    let names = node
        .script(&format!("cd {FOLDER}; ls -t -r {}.pcap*", node.name))
        .await?;
    let mut files = 0;
    for name in names.lines() {
        // Text is all that comes out of a machine as it is.
        let text = node
            .run(&["base64", "-w", "0", &format!("{FOLDER}/{name}")])
            .await?;
        let bytes = STANDARD
            .decode(text.trim())
            .context("reading a recording")?;
        files += 1;
        let path = folder.join(format!("{}-{files}.pcap", node.name));
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(files)
}
