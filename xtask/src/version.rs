//! The git hash that programs carry beside their version: that of the last commit that changed
//! what they are made of. A commit that touches only other things builds nothing anew.

use crate::run::Run;
use crate::workspace::Workspace;

/// The variable in which programs are told.
pub(crate) const VARIABLE: &str = "SHELLY_BASTION_GIT";

/// What the Pi's program is made of.
pub(crate) const BASTION: &[&str] = &[
    "bastion/src",
    "bastion/Cargo.toml",
    "site/src",
    "site/Cargo.toml",
    "Cargo.toml",
    "Cargo.lock",
    "Cross.toml",
    ".cargo/config.toml",
    "rust-toolchain.toml",
];

/// What decides what a bastion gets.
pub(crate) const DEPLOY: &[&str] = &[
    "deploy/src",
    "bastion/src",
    "site/src",
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
];

/// The hash, if this is a git repository.
pub(crate) fn of(workspace: &Workspace, sources: &[&str]) -> Option<String> {
    let hash = workspace
        .program("git")
        .args(["log", "-1", "--abbrev=8", "--format=%h", "--"])
        .args(sources)
        .ask()
        .said()?;
    hash.chars()
        .all(|c| c.is_ascii_hexdigit())
        .then_some(hash)
        .filter(|hash| !hash.is_empty())
}
