//! One attempt to speak to somebody, seen from both ends.
//!
//! The attempt is made by the `probe` program on the sending machine; what arrived is asked of
//! the receiving one (`roles::witness`).

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::node::Node;

/// How long an attempt waits for an answer.
pub const PATIENCE_MS: &str = "2000";

/// Where an attempt goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Where to.
    pub address: IpAddr,
    /// To which port.
    pub port: u16,
    /// From which port, when it matters.
    pub from: Option<u16>,
}

/// An attempt over TCP.
#[must_use]
pub fn tcp(address: IpAddr, port: u16) -> Target {
    Target {
        protocol: "tcp",
        address,
        port,
        from: None,
    }
}

/// An attempt over UDP.
#[must_use]
pub fn udp(address: IpAddr, port: u16) -> Target {
    Target {
        protocol: "udp",
        address,
        port,
        from: None,
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target {
            protocol,
            address,
            port,
            from,
        } = self;
        match address {
            IpAddr::V4(address) => write!(f, "{protocol}:{address}:{port}")?,
            IpAddr::V6(address) => write!(f, "{protocol}:[{address}]:{port}")?,
        }
        from.map_or(Ok(()), |from| write!(f, ",from={from}"))
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Outcome {
    /// The target as it was written.
    pub target: String,
    /// `open`, `answered`, `refused`, `rejected`, `timeout`, `unreachable`, `denied` or `error`.
    pub outcome: String,
    /// The system's word for it, if any.
    pub errno: Option<String>,
}

impl Outcome {
    /// Whether somebody answered.
    #[must_use]
    pub fn got_through(&self) -> bool {
        matches!(self.outcome.as_str(), "open" | "answered")
    }
}

/// Makes all attempts at the same time, as `user`.
///
/// # Errors
/// When the prober cannot be run; an attempt that fails is an outcome, no error.
pub async fn attempt(from: &Node, user: &str, targets: &[Target]) -> Result<Vec<Outcome>> {
    let words: Vec<String> = targets.iter().map(Target::to_string).collect();
    let mut command = vec!["/usr/local/bin/probe", "--timeout-ms", PATIENCE_MS];
    command.extend(words.iter().map(String::as_str));
    let text = from
        .exec(user, &command)
        .await?
        .success()
        .with_context(|| format!("probing from {}", from.name))?;
    let outcomes: Vec<Outcome> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("the prober said {line}")))
        .collect::<Result<_>>()?;
    ensure!(
        outcomes.len() == targets.len(),
        "the prober answered {} of {} attempts",
        outcomes.len(),
        targets.len()
    );
    Ok(outcomes)
}
