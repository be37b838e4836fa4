//! What each machine of the lab becomes: its routes, its rules, its programs.

pub mod bastion;
pub mod collector;
pub mod database;
pub mod fleet;
pub mod guide;
pub mod ill_will;
pub mod journal;
pub mod mqtt;
pub mod outside;
pub mod router;
pub mod witness;

use anyhow::Result;

use crate::node::Node;
use crate::topology::{Host, ROUTER, Segment};

/// Makes the router of its segment a machine's only way out, and its only resolver.
///
/// # Errors
/// When a route cannot be set.
pub async fn join(node: &Node, segment: &Segment) -> Result<()> {
    let Host { v4, v6 } = segment.host(ROUTER);
    node.script(&format!(
        "ip -4 route replace default via {v4}
         ip -6 route replace default via {v6}
         echo nameserver {v4} > /etc/resolv.conf"
    ))
    .await?;
    Ok(())
}
