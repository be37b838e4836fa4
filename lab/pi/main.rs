//! Everything that the lab proves on the virtual Pi, as one test target, one scenario after the
//! other: there is one machine, and emulators side by side only ruin each other.

mod deployed;
mod interrupted;
mod listing;
mod lockout;
mod machine;
mod power;
mod running;
mod second;
mod stage;

use std::process::ExitCode;

use stage::Scenario;

fn main() -> ExitCode {
    lab::runner::run(all())
}

/// The machine itself first: when that does not work, nothing else is worth looking at.
fn all() -> Vec<Scenario> {
    [
        machine::scenarios(),
        lockout::scenarios(),
        interrupted::scenarios(),
        power::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
