//! What to save when a scenario fails: logs, rulesets, addresses, counters, packets, into a named folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::capture;
use crate::lab::Lab;
use crate::node::Node;

/// What is looked at on each machine, and the file it goes to.
const LOOKS: [(&str, &str); 4] = [
    ("ruleset.txt", "nft list ruleset"),
    (
        "network.txt",
        "ip addr; ip -4 route; ip -6 route; ip neigh; cat /etc/resolv.conf",
    ),
    ("sockets.txt", "ss -tunap"),
    (
        "logs.txt",
        "for f in /var/log/*.log; do echo \"== $f\"; tail -n 400 \"$f\"; done",
    ),
];

/// Below `target/`, which git ignores.
pub(crate) fn folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    workspace.unwrap_or(Path::new(".")).join("target/lab")
}

/// Saves what can be had, and says where it is, or why it could not be saved.
pub async fn save(lab: &Lab, scenario: &str, reason: &str) -> String {
    match write(lab, scenario, reason).await {
        Ok(folder) => format!("logs, rulesets, counters and packets: {}", folder.display()),
        Err(error) => format!("and the evidence could not be saved: {error:#}"),
    }
}

async fn write(lab: &Lab, scenario: &str, reason: &str) -> Result<PathBuf> {
    let folder = folder_of(&lab.engine.name, scenario)?;
    keep(&folder, "reason.txt", reason)?;
    let packets = capture::save(&folder, &lab.recorded()).await;
    keep(&folder, "packets.txt", &packets)?;
    look_at(&folder, &lab.nodes()).await?;
    Ok(folder)
}

/// A folder for the evidence of one scenario.
pub(crate) fn folder_of(lab: &str, scenario: &str) -> Result<PathBuf> {
    let folder = folder().join(lab).join(scenario.replace("::", "-"));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Writes one piece of evidence.
pub(crate) fn keep(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// Looks at every machine. Goes on when a look fails: the failure is written where the look would
/// have been.
pub(crate) async fn look_at(folder: &Path, nodes: &[&Node]) -> Result<()> {
    for node in nodes {
        for (file, look) in LOOKS {
            let text = match node.exec("root", &["sh", "-c", look]).await {
                Ok(output) => output.stdout + &output.stderr,
                Err(error) => format!("{error:#}"),
            };
            keep(folder, &format!("{}-{file}", node.name), &text)?;
        }
    }
    Ok(())
}
