//! What the program on a bastion answers to the deployer: one JSON document on standard output.
//!
//! The deployer takes it as hostile input: it bounds the length before it parses, and neutralises
//! what it shows. How each answer comes about is left to `bastion`, how it is shown to `deploy`.

mod report;
mod verified;

use serde::{Deserialize, Serialize};

use crate::flow::Policy;

pub use verified::Verified;

/// The version of these answers.
pub const FORMAT: u32 = 1;

/// What applying a release would change: `bastion plan FOLDER --json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// Packages to install first.
    pub packages: Vec<PackageChange>,
    /// Files to write or remove.
    pub files: Vec<FileChange>,
    /// Units to start, stop or tell.
    pub units: Vec<UnitChange>,
    /// Accounts of the broker.
    pub accounts: AccountChange,
    /// The firewall; nothing when the loaded one is the rendered one.
    pub firewall: Option<FirewallChange>,
    /// What was left by a run that was cut short and will be made good, in words.
    pub repairs: Vec<String>,
}

impl Plan {
    /// Whether the machine is as rendered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
            && self.files.is_empty()
            && self.units.is_empty()
            && self.accounts.is_empty()
            && self.firewall.is_none()
            && self.repairs.is_empty()
    }
}

/// The same with `--verify`, which asks one thing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// What would change.
    #[serde(flatten)]
    pub plan: Plan,
    /// What `verify` found when nothing would; none otherwise.
    #[serde(default)]
    pub verify: Option<Report>,
}

/// A package to install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// The installed version; none when it is not installed.
    pub installed: Option<String>,
    /// The oldest version that will do, if that matters.
    pub at_least: Option<String>,
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileAction {
    /// There is none yet.
    New,
    /// Its content is replaced.
    Content,
    /// Only owner or mode are set.
    Attributes,
    /// It is removed: the release before had it.
    Remove,
}

/// One file that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Absolute path.
    pub path: String,
    /// What happens.
    pub action: FileAction,
    /// Its content so far, when that is text below [`LONGEST_SHOWN`] bytes and readable for
    /// everybody; never that of a secret.
    pub before: Option<String>,
    /// Owner and mode so far and to be, in words, when they differ.
    pub attributes: Option<String>,
}

/// The longest content, in bytes, that a plan carries for showing.
pub const LONGEST_SHOWN: usize = 256 * 1024;

/// What happens to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitAction {
    /// Set to start at boot, and started.
    Start,
    /// Set to start at boot; it runs already.
    Enable,
    /// Started afresh.
    Restart,
    /// Reads its settings again; nobody is disconnected.
    Reload,
    /// Stopped and masked.
    Stop,
    /// May start again, as the release before had masked it and this one does not name it. It is
    /// not started now.
    Unmask,
}

/// One unit that is started, stopped or told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitChange {
    /// Its full name.
    pub name: String,
    /// What happens.
    pub action: UnitAction,
}

/// Accounts, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountChange {
    /// New ones.
    pub added: Vec<String>,
    /// Those that can log in no more.
    pub removed: Vec<String>,
    /// Those whose password changes.
    pub password: Vec<String>,
}

impl AccountChange {
    /// Whether all stay as they are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.password.is_empty()
    }
}

/// How the loaded firewall differs from the rendered one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallChange {
    /// The policy in force so far; none when our table is not loaded: then nothing of ours filters.
    pub before: Option<Policy>,
    /// The differences in nft's words, for evidence.
    pub differences: Vec<String>,
}

/// How an `apply`, a `rollback` or a `confirm` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing had to be done.
    Nothing,
    /// In place; without a confirmation in time the bastion goes back by itself.
    Waiting,
    /// In place for good.
    Confirmed,
    /// Did not hold; the state before is back.
    Back,
    /// Did not hold, and the state before could not be brought back whole. The next run repairs.
    Half,
}

/// `bastion apply FOLDER --json`, `bastion rollback --json`, `bastion confirm ID --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`FORMAT`].
    pub format: u32,
    /// The release, see [`Entry::release`].
    pub release: String,
    /// How it ended.
    pub state: State,
    /// Why it ended so, in words; empty when there is nothing to say.
    pub reason: String,
    /// Seconds that are left for a confirmation.
    pub seconds_left: Option<u64>,
    /// What was changed.
    pub plan: Plan,
    /// What `verify` found on the new state; none when it was not asked.
    pub verify: Option<Report>,
}

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Held,
    /// Not as it should be.
    Broken,
    /// Nobody could tell.
    NotChecked,
    /// This machine has nothing of the kind, so there was nothing to look at: units where no
    /// systemd runs.
    Skipped,
}

impl Verdict {
    /// Whether there is nothing to do about it.
    #[must_use]
    pub fn is_well(self) -> bool {
        matches!(self, Verdict::Held | Verdict::Skipped)
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was found, or why nobody could tell. Empty when held.
    pub detail: String,
}

/// `bastion verify --json`: all checks of one run, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

/// One line of `bastion history --json`, which is a list of these, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of the release: time of rendering and the first hex digits of the manifest's
    /// SHA-256, `20261127T215500Z-1a2b3c4d`.
    pub release: String,
    /// The bastion's clock when it happened, RFC 3339 in UTC.
    pub at: String,
    /// What happened.
    pub event: Event,
    /// Who asked, as the deployer said; empty when the bastion did it by itself.
    pub by: String,
    /// The project's version that rendered the release.
    pub version: String,
    /// Why, when it was not asked for.
    pub reason: String,
}

/// What can happen to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It was put in place.
    Applied,
    /// It was confirmed over a new connection.
    Confirmed,
    /// It was taken back, and the one before is in place again.
    Back,
    /// It was put in place again by `rollback`.
    Rollback,
    /// SSH was opened from the console or the boot partition; the release did not change.
    Opened,
}

/// `bastion status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`FORMAT`].
    pub format: u32,
    /// Version and git hash of the program that answers.
    pub version: String,
    /// The release in place; none before the first.
    pub release: Option<String>,
    /// The release that waits for its confirmation, and the seconds left.
    pub waiting: Option<(String, u64)>,
    /// The bastion's clock, RFC 3339 in UTC.
    pub clock: String,
    /// Whether its clock is synchronised; none when nobody could tell.
    pub clock_synchronised: Option<bool>,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// Free and total bytes of the file system of [`crate::manifest::STATE_FOLDER`].
    pub disk: (u64, u64),
    /// Units of the manifest with what systemd says of them, `active`, `failed`, ….
    pub units: Vec<(String, String)>,
    /// What `verify` found.
    pub verify: Report,
    /// The last line of the history.
    pub last: Option<Entry>,
    /// Seconds for which SSH is still open to the whole LAN; none when it is not.
    pub open_s: Option<u64>,
    /// A package that was upgraded, such as the kernel's, is in use only after a restart.
    #[serde(default)]
    pub restart_due: bool,
    /// What the daemon says of itself and the journal; none when it has said nothing.
    #[serde(default)]
    pub journal: Option<crate::daemon::Report>,
    /// What the timer's `verify` found last; none before its first run since the start.
    #[serde(default)]
    pub verified: Option<Verified>,
}
