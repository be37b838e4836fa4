//! Attempted connections, and the listeners at their other end.
//! Which of them ought to succeed is left to the lab.

mod attempt;
mod listen;
mod target;

pub use attempt::{Outcome, Verdict, attempt};
pub use listen::{ListenError, PortCount, listen};
pub use target::{Port, Protocol, Target, TargetError};

#[cfg(test)]
mod tests;
