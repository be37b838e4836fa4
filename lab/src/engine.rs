//! The container engine: networks as the lab needs them, with labels that say whose they are.
//!
//! Containers are started by `node`, and what was left behind is removed by `sweep`.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context as _, Result};
use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use ipnet::IpNet;

use crate::topology::nth;

/// On everything the lab makes: whose it is.
pub const OWNER_LABEL: &str = "org.shelly-bastion.lab.owner";
/// On everything of a lab that its owner leaves standing on purpose.
pub const KEPT_LABEL: &str = "org.shelly-bastion.lab.kept";
/// On every container: its name within the lab.
pub const NODE_LABEL: &str = "org.shelly-bastion.lab.node";

/// Number of the address in each network at which the engine believes a gateway.
const NOBODY: u8 = 250;

/// From this major version on, the engine drops what one bridge sends to another before it is
/// routed, unless the network says otherwise.
const STRICT_BRIDGES: u32 = 28;

/// A connection to the engine, and the name under which this lab makes things.
#[derive(Clone)]
pub struct Engine {
    /// The engine's own interface, for what is not wrapped here.
    pub docker: Docker,
    /// `PID-STARTTIME` of the process that owns the lab: a new process with an old number is
    /// another owner.
    pub owner: String,
    /// Prefix of all names of this lab.
    pub name: String,
    kept: bool,
    strict_bridges: bool,
}

impl Engine {
    /// Connects to the engine as the environment says, and agrees on a version with it.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(kept: bool) -> Result<Engine> {
        let docker =
            Docker::connect_with_defaults().context("connecting to the container engine")?;
        let docker = docker
            .negotiate_version()
            .await
            .context("agreeing on a version with the container engine")?;
        let version = docker
            .version()
            .await
            .context("asking the container engine for its version")?;
        let major = version
            .version
            .as_deref()
            .and_then(|version| version.split('.').next()?.parse().ok());
        let process = std::process::id();
        Ok(Engine {
            docker,
            owner: format!(
                "{process}-{}",
                start_time(process).context("reading the own start time")?
            ),
            name: format!("shelly-lab-{process}"),
            kept,
            strict_bridges: major.is_some_and(|major: u32| major >= STRICT_BRIDGES),
        })
    }

    /// The engine's own version, if it tells.
    pub async fn version(&self) -> Option<(String, String)> {
        let version = self.docker.version().await.ok()?.version?;
        Some(("container engine".to_owned(), version))
    }

    /// The labels of everything this lab makes.
    #[must_use]
    pub fn labels(&self) -> HashMap<String, String> {
        let mut labels = HashMap::from([(OWNER_LABEL.to_owned(), self.owner.clone())]);
        if self.kept {
            labels.insert(KEPT_LABEL.to_owned(), "yes".to_owned());
        }
        labels
    }

    /// Makes a bridge on which the host has no IPv4 address, so that no path leads through it.
    ///
    /// `networks` are one of IPv4 and one of IPv6. The engine insists on a gateway in each and
    /// hands it to containers; it is number [`NOBODY`], and nobody answers there.
    ///
    /// # Errors
    /// When the engine refuses, for one when a network is taken: the caller may try another.
    pub async fn create_network(&self, name: &str, networks: &[IpNet]) -> Result<String> {
        let full_name = format!("{}-{name}", self.name);
        let bridge = "com.docker.network.bridge";
        let mut options = HashMap::from([
            (format!("{bridge}.inhibit_ipv4"), "true".to_owned()),
            (format!("{bridge}.enable_ip_masquerade"), "false".to_owned()),
        ]);
        if self.strict_bridges {
            for family in ["ipv4", "ipv6"] {
                options.insert(
                    format!("{bridge}.gateway_mode_{family}"),
                    "nat-unprotected".to_owned(),
                );
            }
        }
        let pools = networks.iter().map(|network| IpamConfig {
            subnet: Some(network.to_string()),
            gateway: Some(nth(network, NOBODY).to_string()),
            ..IpamConfig::default()
        });
        let request = NetworkCreateRequest {
            name: full_name.clone(),
            driver: Some("bridge".to_owned()),
            enable_ipv6: Some(true),
            options: Some(options),
            labels: Some(self.labels()),
            ipam: Some(Ipam {
                config: Some(pools.collect()),
                ..Ipam::default()
            }),
            ..NetworkCreateRequest::default()
        };
        self.docker
            .create_network(request)
            .await
            .with_context(|| format!("creating network {full_name}"))?;
        Ok(full_name)
    }
}

/// When a process began, in clock ticks since boot: field 22 of `/proc/PID/stat`, counted after
/// the name, which may hold spaces and parentheses. `None` when there is no such process.
#[must_use]
pub fn start_time(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}
