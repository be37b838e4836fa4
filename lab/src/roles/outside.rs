//! The Internet as the virtual Pi needs it: a time server and a package archive on the WAN.

use std::path::Path;

use anyhow::Result;

use crate::engine::Engine;
use crate::node::{Loans, Node, Plug};

const ARCHIVE: &str = "/srv/packages";

/// Starts the machine; `mirror` is the folder of the package archive on this host.
///
/// # Errors
/// When the engine refuses.
pub async fn start(engine: &Engine, image: &str, mirror: &Path, plug: Plug) -> Result<Node> {
    let loans = Loans {
        folder: Some((mirror.to_owned(), ARCHIVE)),
        ..Loans::default()
    };
    Node::start_with(engine, "outside", image, &[plug], loans).await
}

/// Starts its services. The time is the host's own.
///
/// # Errors
/// When one cannot be started.
pub async fn serve(node: &Node) -> Result<()> {
    packages(node, true).await?;
    time(node, true).await
}

/// Starts the time server, or ends it.
///
/// # Errors
/// When it cannot be started or ended.
pub async fn time(node: &Node, on: bool) -> Result<()> {
    if !on {
        return node.end("chronyd", "TERM").await;
    }
    node.spawn(
        "chronyd",
        &[
            "chronyd",
            "-d",
            // It tells the time and leaves the host's clock alone.
            "-x",
            "-u",
            "root",
            "local stratum 2",
            "allow",
            "cmdport 0",
            // Beside the one that is written at its start: it refuses to run where one is there.
            "pidfile /run/chronyd-own.pid",
        ],
    )
    .await
}

/// Starts the package archive's server, or ends it.
///
/// # Errors
/// When it cannot be started or ended.
pub async fn packages(node: &Node, on: bool) -> Result<()> {
    if !on {
        // Nothing else of that name runs there.
        return node.script("kill $(pidof busybox)").await.map(drop);
    }
    node.spawn(
        "httpd",
        &["busybox", "httpd", "-f", "-p", "80", "-h", ARCHIVE],
    )
    .await
}
