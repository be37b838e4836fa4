//! Everything that the lab proves in containers, as one test target.

mod admin_access;
mod delivery;
mod guide_defects;
mod guide_tests;
mod housekeeping;
mod identity;
mod isolation;
mod limits;
mod loopback;
mod masqueraded;
mod outage;
mod outbound;
mod shared;

use std::process::ExitCode;

use shared::Scenario;

fn main() -> ExitCode {
    lab::runner::run(all())
}

/// In the order in which a stranger would ask.
fn all() -> Vec<Scenario> {
    [
        isolation::scenarios(),
        admin_access::scenarios(),
        outbound::scenarios(),
        limits::scenarios(),
        masqueraded::scenarios(),
        loopback::scenarios(),
        delivery::scenarios(),
        guide_tests::scenarios(),
        identity::scenarios(),
        guide_defects::scenarios(),
        housekeeping::scenarios(),
        outage::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
