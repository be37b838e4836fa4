//! What `cargo xtask lab` has built for the lab, and how the lab shall behave: read from the
//! environment that it sets, once.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// Set by `cargo xtask lab`, and by nothing else.
pub const SWITCH: &str = "SHELLY_LAB";

/// Images and programs.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// Image of every machine but the database, `name:tag`.
    pub node_image: String,
    /// Image of the database.
    pub influxdb_image: String,
    /// The armv7 program of the bastion.
    pub bastion: PathBuf,
    /// The static program of the collector.
    pub collector: PathBuf,
    /// The static simulator of meters.
    pub meters: PathBuf,
    /// The static prober.
    pub probe: PathBuf,
    /// Whether the lab is left standing.
    pub keep: bool,
    /// A rule of the policy that is taken out.
    pub without_rule: Option<String>,
}

impl Artifacts {
    /// Reads the environment through `variable`; `None` when the lab was not asked for.
    ///
    /// # Errors
    /// When it was asked for and something is missing.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Artifacts>> {
        if variable(SWITCH).is_none() {
            return Ok(None);
        }
        let need = |name: &str| {
            let name = format!("{SWITCH}_{name}");
            variable(&name)
                .with_context(|| format!("{name} is not set; start the lab with `cargo xtask lab`"))
        };
        Ok(Some(Artifacts {
            node_image: need("NODE_IMAGE")?,
            influxdb_image: need("INFLUXDB_IMAGE")?,
            bastion: need("BASTION")?.into(),
            collector: need("COLLECTOR")?.into(),
            meters: need("METERS")?.into(),
            probe: need("PROBE")?.into(),
            keep: variable(&format!("{SWITCH}_KEEP")).is_some(),
            without_rule: variable(&format!("{SWITCH}_WITHOUT_RULE")),
        }))
    }
}
