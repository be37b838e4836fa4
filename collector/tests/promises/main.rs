//! What the collector promises as a whole, shown with a database that misbehaves on command and,
//! where `mosquitto` is installed, a real broker.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bastions;
mod broker;
mod cable;
mod command;
mod database;
mod fake_database;
mod journal;
mod mosquitto;

/// The settings that `--help` shows.
const EXAMPLE: &str = include_str!("../../examples/collector.toml");
