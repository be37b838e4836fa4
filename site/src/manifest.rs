//! The list of what a bastion is made of: written where files are rendered, compared where they
//! are installed. Reading, hashing and installing are left to those who do it.

use serde::{Deserialize, Serialize};

/// The version of this format that the project writes and reads.
pub const FORMAT: u32 = 2;

/// Where the ruleset lies on a bastion: commands in nft's JSON, one transaction.
pub const RULESET_PATH: &str = "/etc/shelly-bastion/policy.nft.json";
/// Where the small table lies that is loaded before the network; in the same form.
pub const EARLY_PATH: &str = "/etc/shelly-bastion/early.nft.json";
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
/// The program on a bastion.
pub const PROGRAM_PATH: &str = "/usr/local/sbin/bastion";
/// What a bastion remembers of releases and changes; for root alone.
pub const STATE_FOLDER: &str = "/var/lib/shelly-bastion";
/// The firewall table that belongs to the project, in family `inet`.
pub const TABLE: &str = "shelly_bastion";
/// The table that is in force until that one is loaded, in family `inet`.
pub const EARLY_TABLE: &str = "shelly_bastion_early";
/// The table of the device, in family `netdev`: it holds frames that the policy has not passed.
pub const EGRESS_TABLE: &str = "shelly_bastion_egress";
/// The mark of packets that the policy has passed, as it is rendered. Whoever loads the policy
/// puts one in its place that nobody can know.
pub const RENDERED_MARK: u32 = 0x5b42_0001;

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

impl FileEntry {
    /// Whether its content may be shown: everybody on the bastion may read it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        matches!(self.mode.as_bytes().last(), Some(b'4'..=b'7'))
    }
}

/// A package of the distribution that must be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageEntry {
    /// Its name.
    pub name: String,
    /// The oldest version that will do, as the distribution writes versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<String>,
}

/// How a unit of systemd shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitState {
    /// Starts at boot, and is active now.
    Running,
    /// Neither active nor able to start: masked. A unit that the machine does not have is in
    /// this state already.
    Off,
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitEntry {
    /// Its full name, `mosquitto.service`.
    pub name: String,
    /// How it shall be.
    pub state: UnitState,
    /// It starts afresh when one of these files changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_for: Vec<String>,
    /// It reads its settings again when one of these files changed, and none of `restart_for`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reload_for: Vec<String>,
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
    /// The project's version and git hash that rendered it, `0.1.0 (1a2b3c4d)`. For showing only.
    pub version: String,
    /// In the order in which they are installed. A file of the manifest before that is not in
    /// this one is removed.
    pub files: Vec<FileEntry>,
    /// In no order.
    pub packages: Vec<PackageEntry>,
    /// In the order in which they are started. Only on machines that run systemd.
    pub units: Vec<UnitEntry>,
    /// Names of all accounts, in the order of the password file.
    pub accounts: Vec<String>,
}
