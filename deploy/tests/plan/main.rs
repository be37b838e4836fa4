//! Plans as people read them, compared whole with the files in `shown/`.
//!
//! `UPDATE_GOLDEN=1` writes them anew. The plans themselves are put together here as a bastion
//! would answer them; that it answers so is tested with `bastion`.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod ordinary;
mod strange;
mod world;
