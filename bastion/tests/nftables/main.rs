//! The rendered rulesets in a kernel, in a network namespace of their own.
//!
//! Needs root, `nft` and `unshare`; without them each test says that it was skipped. The tests
//! marked as ignored are the inner halves: they run in the namespace, and refuse to run elsewhere.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod changes;
mod console;
mod early;
mod egress;
mod limits;
mod namespace;
mod segment;
mod verify;
