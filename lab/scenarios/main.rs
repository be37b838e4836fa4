//! Everything that the lab proves in containers, as one test target.

mod admin_access;
mod compromise;
mod delivery;
mod flat;
mod flood;
mod guide_broker;
mod guide_defects;
mod guide_tests;
mod hardening;
mod housekeeping;
mod identity;
mod isolation;
mod limits;
mod malformed;
mod outage;
mod outbound;
mod packets;
mod shared;
mod side_doors;
mod verifying;

use std::process::ExitCode;

use shared::Scenario;

fn main() -> ExitCode {
    lab::runner::run(all())
}

/// In the order in which a stranger would ask.
fn all() -> Vec<Scenario> {
    [
        isolation::scenarios(),
        packets::scenarios(),
        flat::scenarios(),
        compromise::scenarios(),
        admin_access::scenarios(),
        outbound::scenarios(),
        limits::scenarios(),
        delivery::scenarios(),
        guide_tests::scenarios(),
        identity::scenarios(),
        side_doors::scenarios(),
        hardening::scenarios(),
        malformed::scenarios(),
        flood::scenarios(),
        guide_defects::scenarios(),
        guide_broker::scenarios(),
        housekeeping::scenarios(),
        verifying::scenarios(),
        outage::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
