//! Everything that the lab proves on the virtual Pi, as one test target, one scenario after the
//! other: there is one machine, and emulators side by side only ruin each other.

mod clock;
mod console_open;
mod deployed;
mod deployment;
mod device;
mod flow;
mod interrupted;
mod isolation;
mod journal;
mod listing;
mod lockout;
mod machine;
mod many;
mod network;
mod new_card;
mod outage;
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
mod verifying;

use std::process::ExitCode;

use stage::Scenario;

fn main() -> ExitCode {
    let core = std::env::var_os("SHELLY_LAB_CORE").is_some();
    lab::runner::run(wanted(all(), core), vec![])
}

/// What fits into every run.
const CORE: [&str; 5] = [
    "pi::boots_to_ssh",
    "pi::first_deployment_makes_a_bastion",
    "pi::second_deployment_changes_nothing",
    "pi::readings_flow_from_meters_to_the_database",
    "pi::bastion_cannot_reach_the_lan",
];

/// The core alone when it is asked for. A name that no scenario has would be left out in silence, so
/// that is no core.
fn wanted(all: Vec<Scenario>, core: bool) -> Vec<Scenario> {
    if !core {
        return all;
    }
    let wanted: Vec<Scenario> = all
        .into_iter()
        .filter(|scenario| CORE.contains(&scenario.name))
        .collect();
    assert_eq!(
        wanted.len(),
        CORE.len(),
        "a scenario of the core is not there"
    );
    wanted
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
        device::scenarios(),
        verifying::scenarios(),
        clock::scenarios(),
        journal::scenarios(),
        outage::scenarios(),
        network::scenarios(),
        secrets_leak::scenarios(),
        traps::scenarios(),
        new_card::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
