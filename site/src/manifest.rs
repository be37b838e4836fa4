//! The list of what a bastion is made of: written where files are rendered, compared where they
//! are installed. Reading, hashing and installing are left to those who do it.

use serde::{Deserialize, Serialize};

/// The version of this format that the project writes and reads.
pub const FORMAT: u32 = 1;

/// Where the ruleset lies on a bastion: commands in nft's JSON, one transaction.
pub const RULESET_PATH: &str = "/etc/shelly-bastion/policy.nft.json";
/// Where the list of flows lies on a bastion: a [`crate::flow::Policy`] as JSON.
pub const FLOWS_PATH: &str = "/etc/shelly-bastion/flows.json";
/// Where the health account's password lies on a bastion; for root alone.
pub const HEALTH_PASSWORD_PATH: &str = "/etc/shelly-bastion/health.password";
/// Where a bastion keeps the manifest that was applied last.
pub const APPLIED_PATH: &str = "/etc/shelly-bastion/manifest.json";
/// The broker's configuration.
pub const MOSQUITTO_CONF_PATH: &str = "/etc/mosquitto/mosquitto.conf";
/// The broker's password file: `name:$7$…` per line.
pub const PASSWD_PATH: &str = "/etc/mosquitto/shelly-bastion.passwd";
/// The broker's access rules.
pub const ACL_PATH: &str = "/etc/mosquitto/shelly-bastion.acl";
/// The firewall table that belongs to the project, in family `inet`.
pub const TABLE: &str = "shelly_bastion";

/// One file of a bastion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Absolute path on the bastion. In a rendered folder the file lies below `files/`.
    pub path: String,
    /// SHA-256 of the content, lower-case hex.
    pub sha256: String,
    /// Permission bits as octal text, `0640`.
    pub mode: String,
    /// User name of the owner.
    pub owner: String,
    /// Group name.
    pub group: String,
}

/// Everything that `bastion apply` installs and `bastion verify` compares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the site.
    pub site: String,
    /// Name of the bastion.
    pub bastion: String,
    /// In the order in which they are installed.
    pub files: Vec<FileEntry>,
    /// Names of all accounts, in the order of the password file.
    pub accounts: Vec<String>,
}
