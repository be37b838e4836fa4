//! One site as data: its networks, who may talk to whom, its meters and accounts.
//!
//! Everything here is pure: no file is read, no socket opened, no clock asked, so that
//! every other crate may use it and every decision can be tested without a machine.
//! Reading order: what a person writes and what it is checked into, then what follows from it.

pub mod account;
pub mod answer;
pub mod burst;
pub mod daemon;
pub mod description;
pub mod flow;
pub mod form;
pub mod manifest;
pub mod meter;
pub mod mistake;
pub mod network;
pub mod prefixes;
pub mod publication;
pub mod record;

pub use description::{
    Bastion, Database, Endpoint, Lan, Outbound, Placement, Reader, ReaderKind, Site, System,
};
pub use meter::{Generation, Meter, Model, Source};
pub use mistake::{Mistake, Mistakes};
