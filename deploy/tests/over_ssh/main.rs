//! The program `deploy` against a real `sshd` on loopback, which stands for a bastion: it logs in
//! with keys, runs commands, and can be cut off. The program of the bastion is a script that says
//! what a test tells it to, and notes what it was asked.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

mod answers;
mod faults;
mod host_key;
mod machine;
mod passwords;
mod steps;

/// Stands for the program of the bastion.
const STAND_IN: &str = include_str!("stand_in.sh");
/// What a healthy Pi answers to the script that looks.
const FACTS: &str = include_str!("pi.facts");
