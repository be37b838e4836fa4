//! Everything that the lab proves on the virtual Pi, as one test target, one scenario after the
//! other: there is one machine, and emulators side by side only ruin each other.

mod clock;
mod console_open;
mod deployed;
mod deployment;
mod flow;
mod interrupted;
mod isolation;
mod journal;
mod listing;
mod lockout;
mod machine;
mod network;
mod new_card;
mod power;
mod reboot;
mod refused;
mod rollback;
mod running;
mod second;
mod secrets_leak;
mod stage;
mod system;
mod traps;

use std::process::ExitCode;

use stage::Scenario;

fn main() -> ExitCode {
    lab::runner::run(all(), vec![])
}

/// The machine itself first: when that does not work, nothing else is worth looking at.
fn all() -> Vec<Scenario> {
    [
        machine::scenarios(),
        lockout::scenarios(),
        interrupted::scenarios(),
        power::scenarios(),
        deployment::scenarios(),
        isolation::scenarios(),
        refused::scenarios(),
        rollback::scenarios(),
        system::scenarios(),
        console_open::scenarios(),
        reboot::scenarios(),
        clock::scenarios(),
        journal::scenarios(),
        network::scenarios(),
        secrets_leak::scenarios(),
        traps::scenarios(),
        new_card::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
