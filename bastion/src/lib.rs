//! The program on the Pi: installs what was rendered for it, and compares what is there with it.
//!
//! It decides nothing about policy or accounts: those arrive rendered. Modules in reading order.

pub mod apply;
pub mod bundle;
pub mod cli;
pub mod clock;
pub mod daemon;
pub mod firewall;
pub mod host;
pub mod journal;
pub mod processes;
pub mod service;
pub mod verify;
