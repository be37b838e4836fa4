//! The operator's side: what a bastion and a collector are made of, and how it gets there.
//!
//! Secrets are generated once and kept beside the site file; rendering is a pure function of
//! site and secrets, so it gives the same files every time. The release is carried over by
//! OpenSSH, planned and applied by the program on the bastion, and confirmed over a new connection.

// Rendering.
pub mod render;
pub mod secrets;
// Judging and showing: pure.
pub mod facts;
pub mod plan;
pub mod preflight;
pub mod shown;
// Deploying.
pub mod cli;
pub mod connect;
pub mod deployment;
pub mod ending;
pub mod offline;
pub mod passwords;
pub mod pi;
pub mod program;
pub mod release;
pub mod report;
pub mod run;
pub mod settle;
pub mod ssh;
pub mod steps;

use std::sync::LazyLock;

pub use render::{Rendered, RenderedFile};
pub use secrets::Secrets;

/// The project's version and the git hash of what this was built from, `0.1.0 (1a2b3c4d)`.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    // `cargo xtask deploy` names the hash when it starts the program: compiled in, each commit
    // would build the whole crate anew.
    let hash = std::env::var("SHELLY_BASTION_GIT").unwrap_or_default();
    if hash.is_empty() || hash.len() > 40 || !hash.chars().all(|c| c.is_ascii_hexdigit()) {
        return version.to_owned();
    }
    format!("{version} ({hash})")
});
