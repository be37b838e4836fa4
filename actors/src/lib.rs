//! The programs that run inside the lab's machines: `meters`, a simulated fleet; `probe`, attempted
//! connections and the listeners at their other end; and `weather`, a line with delay and loss.
//!
//! Invariant: nothing here uses the project's own parsing or rendering. Simulator and judge stand
//! apart from what they judge, so that a wrong unit cannot cancel itself out.
//! Reading order: the two files that the lab exchanges with `meters`, then what a meter measures,
//! what it says and how that looks on the wire, then connections; `probe` and `weather` are on their own.

pub mod fleet;
pub mod ledger;

pub mod model;
pub mod physics;

pub mod device;
pub mod wire;

pub mod run;
pub mod session;

pub mod probe;
pub mod weather;
