//! The program on the Pi: puts in place what was rendered for it, with a way back, and compares
//! what is there with it.
//!
//! It decides nothing about policy or accounts: those arrive rendered. Modules in reading order.

pub mod apply;
pub mod bundle;
pub mod cli;
pub mod clock;
pub mod daemon;
mod durable;
#[cfg(test)]
mod fake;
pub mod firewall;
mod health;
pub mod history;
pub mod host;
pub mod journal;
pub mod open;
pub mod packages;
pub mod plan;
mod process;
mod release;
pub mod rollback;
mod say;
pub mod serve;
mod service;
pub mod status;
pub mod system;
pub mod transaction;
mod units;
pub mod verify;
mod watch;
