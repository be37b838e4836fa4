//! The collector: takes the readings of Shelly meters from a source, translates them and writes
//! them to InfluxDB.
//!
//! Nothing is acknowledged to the source before it is in the database or, with the reason, among
//! the dead letters. Reading order: what is read, what is made of it, where it goes, the loop.

pub mod cli;
pub mod collect;
pub mod config;
pub mod database;
pub mod dead_letter;
pub mod fleet;
mod patience;
pub mod points;
pub mod secret;
pub mod source;
