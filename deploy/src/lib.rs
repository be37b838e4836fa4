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

/// The project's version and the git hash that it was built from, `0.1.0 (1a2b3c4d)`.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    // xtask names the hash; a build by hand has none.
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("SHELLY_BASTION_GIT") {
        Some(hash) => format!("{version} ({hash})"),
        None => version.to_owned(),
    }
});
