//! The operator's side: what a bastion and a collector are made of.
//!
//! Secrets are generated once and kept beside the site file; rendering is a pure function of
//! site and secrets, so it gives the same files every time.
//! Carrying the files to a machine and confirming them is left to later modules.

pub mod facts;
pub mod plan;
pub mod preflight;
pub mod render;
pub mod secrets;

pub use render::{Rendered, RenderedFile};
pub use secrets::Secrets;
