//! Everything that the lab proves in containers, as one test target.

mod admin_access;
mod compromise;
mod delivery;
mod flat;
mod flood;
mod groups;
mod guide_broker;
mod guide_defects;
mod guide_tests;
mod hardening;
mod housekeeping;
mod identity;
mod isolation;
mod limits;
mod loopback;
mod malformed;
mod masqueraded;
mod mutate;
mod outage;
mod outbound;
mod packets;
mod shared;
mod side_doors;
mod updates;
mod verifying;

use std::process::ExitCode;

use libtest_mimic::Trial;
use shared::Scenario;

fn main() -> ExitCode {
    // One that is no number is refused by whoever reads the rest.
    let seed = lab::artifacts::seed(|name| std::env::var(name).ok()).unwrap_or_default();
    let scenarios = outage::with_sample(all(), seed);
    mutate::run(&all()).unwrap_or_else(|| lab::runner::run(scenarios, vec![named_by_the_page()]))
}

/// `docs/security.md` names the scenarios that prove its lines; each must be there.
fn named_by_the_page() -> Trial {
    Trial::test("page::every_scenario_that_it_names_is_there", || {
        let scenarios = all();
        let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name).collect();
        let missing = lab::proof::missing(&names);
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("docs/security.md names {}", missing.join(", ")).into())
    })
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
        groups::scenarios(),
        loopback::scenarios(),
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
        // With the lab for itself: whoever comes behind must wait.
        updates::scenarios(),
        masqueraded::scenarios(),
        outage::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
