//! What `cargo xtask lab` has built for the lab, and how the lab shall behave: read from the
//! environment that it sets, once.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::node::Upload;

/// Set by `cargo xtask lab`, and by nothing else.
pub const SWITCH: &str = "SHELLY_LAB";

/// The seed that samples are chosen by, for those who choose before there is a lab; 0 where none is
/// given.
///
/// # Errors
/// When it is no number.
pub fn seed(variable: impl Fn(&str) -> Option<String>) -> Result<u64> {
    let name = format!("{SWITCH}_SEED");
    let seed = variable(&name).map(|seed| seed.parse().with_context(|| format!("{name}={seed}")));
    Ok(seed.transpose()?.unwrap_or_default())
}

/// What the lab consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Containers alone.
    Containers,
    /// Containers around an emulated machine.
    Vm,
}

/// What only the tier with an emulated machine needs.
#[derive(Debug, Clone)]
pub struct VirtualPi {
    /// Image of the container in which it is emulated, and of the one that plays the Internet.
    pub image: String,
    /// Folder with `disk.img`, `kernel`, `initrd`, `id_ed25519` and `host_key.pub`.
    pub folder: PathBuf,
    /// Folder with the package archive, `raspbian/…`.
    pub mirror: PathBuf,
    /// Where folders for a deployer go: how to reach this lab's Pi.
    pub access: PathBuf,
    /// The deployer for this machine; it may not be built yet.
    pub deployer: PathBuf,
}

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
    /// The static program for lines with delay and loss.
    pub weather: PathBuf,
    /// Whether the lab is left standing.
    pub keep: bool,
    /// A rule of the policy that is taken out.
    pub without_rule: Option<String>,
    /// Whether the policy is made wrong, place by place: those changes that have this in their name.
    pub mutate: Option<String>,
    /// The emulated machine; none in the tier of containers.
    pub virtual_pi: Option<VirtualPi>,
    /// From which samples are chosen.
    pub seed: u64,
}

impl Artifacts {
    /// The tier that was asked for.
    #[must_use]
    pub fn tier(&self) -> Tier {
        match self.virtual_pi {
            Some(_) => Tier::Vm,
            None => Tier::Containers,
        }
    }

    /// The programs that the lab's own machines have on their path.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn programs(&self) -> Result<[Upload; 3]> {
        let program = |name: &str, path: &Path| -> Result<Upload> {
            Ok(Upload {
                path: format!("/usr/local/bin/{name}"),
                mode: 0o755,
                content: std::fs::read(path)
                    .with_context(|| format!("reading {}", path.display()))?,
            })
        };
        Ok([
            program("probe", &self.probe)?,
            program("meters", &self.meters)?,
            program("weather", &self.weather)?,
        ])
    }

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
        let virtual_pi = match variable(&format!("{SWITCH}_TIER")).as_deref() {
            Some("vm") => Some(VirtualPi {
                image: need("MACHINE_IMAGE")?,
                folder: need("VIRTUAL_PI")?.into(),
                mirror: need("MIRROR")?.into(),
                access: need("ACCESS")?.into(),
                deployer: need("DEPLOY")?.into(),
            }),
            _ => None,
        };
        Ok(Some(Artifacts {
            node_image: need("NODE_IMAGE")?,
            influxdb_image: need("INFLUXDB_IMAGE")?,
            bastion: need("BASTION")?.into(),
            collector: need("COLLECTOR")?.into(),
            meters: need("METERS")?.into(),
            probe: need("PROBE")?.into(),
            weather: need("WEATHER")?.into(),
            keep: variable(&format!("{SWITCH}_KEEP")).is_some(),
            without_rule: variable(&format!("{SWITCH}_WITHOUT_RULE")),
            mutate: variable(&format!("{SWITCH}_MUTATE")),
            virtual_pi,
            seed: seed(&variable)?,
        }))
    }
}
