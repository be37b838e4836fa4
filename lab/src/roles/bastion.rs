//! The bastion: its own armv7 program under emulation, real Mosquitto, real SSH, real rules.

use anyhow::{Context as _, Result};
use deploy::Rendered;
use serde_json::Value;
use site::manifest::{EGRESS_TABLE, TABLE};

use crate::node::{Node, Output, Upload};

/// Where the rendered folder is put.
pub const RENDERED: &str = "/root/rendered";
const PROGRAM: &str = "/usr/local/lib/bastion";
/// The program with its launcher.
pub const LAUNCHER: &str = "/usr/local/bin/bastion";

/// Puts the program on the machine, with a launcher that emulates the Pi's processor for it.
/// What it starts (`nft`, `mosquitto`) is the machine's own.
///
/// # Errors
/// When the engine refuses.
pub async fn install_program(node: &Node, program: Vec<u8>) -> Result<()> {
    let launcher =
        format!("#!/bin/sh\nexec qemu-arm-static -L /usr/arm-linux-gnueabihf {PROGRAM} \"$@\"\n");
    node.upload(&[
        Upload {
            path: PROGRAM.to_owned(),
            mode: 0o755,
            content: program,
        },
        Upload {
            path: LAUNCHER.to_owned(),
            mode: 0o755,
            content: launcher.into_bytes(),
        },
    ])
    .await
}

/// Takes away the rules with which the container engine turns names over to its own resolver: no
/// machine of a site has them, and the lab's machines ask the lab's router.
///
/// # Errors
/// When nft refuses.
pub async fn forget_the_engine(node: &Node) -> Result<()> {
    let table = "table ip nat";
    node.script(&format!("nft 'add {table}; delete {table}'"))
        .await?;
    Ok(())
}

/// Starts SSH, as on a Pi that somebody can get at.
///
/// # Errors
/// When it does not start.
pub async fn start_ssh(node: &Node) -> Result<()> {
    node.script("mkdir -p /run/sshd; ssh-keygen -A >/dev/null; /usr/sbin/sshd")
        .await?;
    Ok(())
}

/// Puts a rendered folder on the machine, in place of an earlier one.
///
/// # Errors
/// When the engine refuses.
pub async fn bring(node: &Node, rendered: &Rendered) -> Result<()> {
    let file = |path: String, content: &[u8]| Upload {
        path,
        mode: 0o600,
        content: content.to_vec(),
    };
    let manifest = serde_json::to_vec_pretty(&rendered.manifest).context("writing the manifest")?;
    let mut uploads = vec![file(format!("{RENDERED}/manifest.json"), &manifest)];
    uploads.extend(
        rendered
            .files
            .iter()
            .map(|each| file(format!("{RENDERED}/files{}", each.path), &each.content)),
    );
    node.run(&["rm", "-rf", RENDERED]).await?;
    node.upload(&uploads).await
}

/// `bastion apply` with what was brought.
///
/// # Errors
/// When it cannot be started.
pub async fn apply(node: &Node, options: &[&str]) -> Result<Output> {
    node.exec("root", &[&[LAUNCHER, "apply", RENDERED], options].concat())
        .await
}

/// Loads the policy of what was rendered, and nothing else of it: without the program, which
/// looks around before and behind.
///
/// # Errors
/// When nft refuses it.
pub async fn load(node: &Node, rendered: &Rendered) -> Result<()> {
    let ruleset = rendered
        .files
        .iter()
        .find(|file| file.path == site::manifest::RULESET_PATH)
        .context("no policy was rendered")?;
    let path = "/run/policy.nft.json";
    let file = Upload {
        path: path.to_owned(),
        mode: 0o600,
        content: ruleset.content.clone(),
    };
    node.upload(&[file]).await?;
    node.run(&["nft", "-j", "-f", path]).await.map(drop)
}

/// `bastion verify`.
///
/// # Errors
/// When it cannot be started.
pub async fn verify(node: &Node) -> Result<Output> {
    node.exec("root", &[LAUNCHER, "verify"]).await
}

/// Takes the whole policy away: the twin of every refusal.
///
/// # Errors
/// When there is none.
pub async fn remove_policy(node: &Node) -> Result<()> {
    node.run(&["nft", "delete", "table", "inet", TABLE]).await?;
    // Without the policy nothing is marked, and what is left at the device would hold everything.
    node.run(&["nft", "delete", "table", "netdev", EGRESS_TABLE])
        .await?;
    Ok(())
}

/// How many packets each rule of the loaded policy has counted, by name, in the policy's order.
///
/// # Errors
/// When the policy is not loaded.
pub async fn counters(node: &Node) -> Result<Vec<(String, u64)>> {
    let listing = node
        .run(&["nft", "-j", "list", "table", "inet", TABLE])
        .await?;
    let listing: Value = serde_json::from_str(&listing).context("reading the loaded policy")?;
    let rules = listing
        .get("nftables")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    Ok(rules
        .filter_map(|object| {
            let rule = object.get("rule")?;
            let statements = rule.get("expr")?.as_array()?;
            let packets = statements
                .iter()
                .find_map(|statement| statement.get("counter")?.get("packets")?.as_u64())?;
            Some((rule.get("comment")?.as_str()?.to_owned(), packets))
        })
        .collect())
}
