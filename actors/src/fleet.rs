//! The fleet file: which meters to simulate, against which broker, for how long.
//! The lab writes it with these same types. What a model does is left to `device`.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::Model;

/// A fleet as the file holds it. All times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// The broker, `host:port`.
    pub server: String,
    /// The same seed gives the same values, meter by meter.
    pub seed: u64,
    /// From one full set of a meter to its next. The vendor's default is 30 s.
    pub period_ms: u64,
    /// How long to run, counted from the start of the program; `null` means until SIGTERM.
    pub duration_ms: Option<u64>,
    /// First wait after a lost or refused connection. Doubles up to thirty times itself, as the
    /// meters' own back-off goes from 2 s to 60 s.
    #[serde(default = "default_backoff_ms")]
    pub backoff_ms: u64,
    /// Mean rate of extra full sets per meter because a load changed, in 1/s; 0 to 1.
    #[serde(default = "default_changes_per_s")]
    pub changes_per_s: f64,
    /// Energy runs this many times faster than time. Not physics, and said so: with a real clock
    /// a counter that carries 0.1 Wh would often repeat itself between two sets of a short run.
    #[serde(default = "default_energy_factor")]
    pub energy_factor: f64,
    /// Whether Gen2+ meters also send `NotifyStatus` on `<prefix>/events/rpc`, with other
    /// values than on `status/…`, so that a reader who takes both is found out.
    #[serde(default = "default_rpc_ntf")]
    pub rpc_ntf: bool,
    /// The meters; their order spreads their phases over the period.
    pub meters: Vec<Meter>,
}

fn default_backoff_ms() -> u64 {
    2_000
}

fn default_changes_per_s() -> f64 {
    0.1
}

fn default_energy_factor() -> f64 {
    60.0
}

fn default_rpc_ntf() -> bool {
    true
}

/// One meter of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// Device id, user name and client id in one: `shellyem-D3B45C`.
    pub id: String,
    /// What it is.
    pub model: Model,
    /// Topic prefix without a slash at the end: `shellies/shellyem-D3B45C`.
    pub prefix: String,
    /// The password of its account.
    pub password: Password,
}

/// A password that never prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// A password from its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a fleet file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The file cannot be read.
    #[error("cannot read the fleet file {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others than the owner may open the file.
    #[error("the fleet file {path} holds passwords and has mode {mode:o}: chmod 600 {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is not a fleet.
    #[error("the fleet file {path} is not as expected")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Line, column and what was expected.
        source: serde_json::Error,
    },
    /// A key has a value that makes no sense.
    #[error("the fleet file {path}: {key} is {value}; {remedy}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        remedy: &'static str,
    },
}

impl Fleet {
    /// Reads and checks a fleet file.
    ///
    /// # Errors
    /// When the file cannot be read, is open to others than its owner, or makes no sense.
    pub fn read(path: &Path) -> Result<Self, FleetError> {
        let read = |source| FleetError::Read {
            path: path.to_owned(),
            source,
        };
        let mode = std::fs::metadata(path).map_err(read)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(FleetError::Open {
                path: path.to_owned(),
                mode,
            });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let fleet: Self = serde_json::from_str(&text).map_err(|source| FleetError::Parse {
            path: path.to_owned(),
            source,
        })?;
        fleet.check(path)?;
        Ok(fleet)
    }

    fn check(&self, path: &Path) -> Result<(), FleetError> {
        let fault = |key, value: String, remedy| {
            Err(FleetError::Value {
                path: path.to_owned(),
                key,
                value,
                remedy,
            })
        };
        if !(100..=3_600_000).contains(&self.period_ms) {
            return fault(
                "period_ms",
                self.period_ms.to_string(),
                "give 100 to 3600000",
            );
        }
        if !(1..=600_000).contains(&self.backoff_ms) {
            return fault(
                "backoff_ms",
                self.backoff_ms.to_string(),
                "give 1 to 600000",
            );
        }
        if !(0.0..=1.0).contains(&self.changes_per_s) {
            return fault(
                "changes_per_s",
                self.changes_per_s.to_string(),
                "give 0 to 1",
            );
        }
        if !(1.0..=10_000.0).contains(&self.energy_factor) {
            return fault(
                "energy_factor",
                self.energy_factor.to_string(),
                "give 1 to 10000",
            );
        }
        let mut ids = std::collections::HashSet::new();
        for meter in &self.meters {
            if meter.id.is_empty() || meter.id.len() > 64 || !ids.insert(&meter.id) {
                return fault(
                    "meters.id",
                    meter.id.clone(),
                    "give each meter an id of its own of 1 to 64 bytes",
                );
            }
            // Longer than any firmware takes, and far below what one MQTT string can carry.
            if meter.prefix.is_empty()
                || meter.prefix.len() > 300
                || meter.prefix.contains(['#', '+', '\0'])
            {
                return fault(
                    "meters.prefix",
                    meter.prefix.clone(),
                    "give 1 to 300 bytes without '#' and '+'",
                );
            }
            if meter.password.reveal().len() > 1_000 {
                return fault(
                    "meters.password",
                    "***".to_owned(),
                    "give at most 1000 bytes",
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"server":"a:1883","seed":1,"period_ms":3000,"duration_ms":null,"meters":[
        {"id":"shellyem-D3B45C","model":"shellyem","prefix":"shellies/shellyem-D3B45C","password":"geheim"}]}"#;

    #[track_caller]
    fn check(text: &str, mode: u32, expected: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let said = match Fleet::read(file.path()) {
            Ok(fleet) => format!("{fleet:?}"),
            Err(error) => format!("{:#}", anyhow::Error::new(error)),
        };
        assert!(said.contains(expected), "expected {expected:?} in {said:?}");
        assert!(!said.contains("geheim"), "the password is in {said:?}");
    }

    #[test]
    fn a_good_file_is_read_with_defaults_and_prints_no_password() {
        check(
            GOOD,
            0o600,
            "backoff_ms: 2000, changes_per_s: 0.1, energy_factor: 60.0, rpc_ntf: true",
        );
    }

    #[test]
    fn a_file_open_to_others_is_refused() {
        check(GOOD, 0o644, "has mode 644: chmod 600");
    }

    #[test]
    fn an_unknown_model_is_answered_with_the_known_ones() {
        let text = GOOD.replace("\"shellyem\"", "\"shelly1em\"");
        check(
            &text,
            0o600,
            "unknown model \"shelly1em\": this simulates shellyem, shellyem3, shellyplug-s, ",
        );
        check(&text, 0o600, "shellyplus1pm, shellypro3em");
    }

    #[test]
    fn senseless_values_are_named() {
        check(
            &GOOD.replace("3000", "3"),
            0o600,
            "period_ms is 3; give 100 to 3600000",
        );
        check(
            &GOOD.replace("shellies/", "shellies/#"),
            0o600,
            "meters.prefix is shellies/#shellyem-D3B45C",
        );
        check(
            &GOOD.replace("\"seed\"", "\"sead\""),
            0o600,
            "unknown field `sead`",
        );
    }
}
