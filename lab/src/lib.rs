//! Three networks in containers, with real programs on them, and what is needed to judge them.
//!
//! Modules in reading order: the engine, the map, the machines on it, then sending and judging.
//! What is proven with it stands in `scenarios/`, and in `pi/` what takes an emulated machine.

pub mod artifacts;
pub mod bad_release;
pub mod capture;
pub mod diagnostics;
pub mod engine;
pub mod eventually;
pub mod flat;
pub mod judge;
pub mod lab;
pub mod live;
pub mod matrix;
pub mod mutation;
pub mod node;
pub mod packets;
pub mod probe;
pub mod proof;
pub mod report;
pub mod roles;
pub mod runner;
pub mod sample;
pub mod site_file;
pub mod steps;
pub mod sweep;
pub mod topology;
pub mod virtual_pi;

pub use lab::Lab;
