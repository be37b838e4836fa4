//! Everything that the lab proves, as one test target: filter, list and summary are libtest's.
//!
//! Without `cargo xtask lab` there is no lab: then every scenario is named and skipped.

mod admin_access;
mod delivery;
mod guide_defects;
mod guide_tests;
mod housekeeping;
mod identity;
mod isolation;
mod limits;
mod outbound;
mod shared;

use std::process::ExitCode;
use std::sync::Arc;

use lab::artifacts::Artifacts;
use libtest_mimic::{Arguments, Trial};
use shared::{Scenario, Shared};

/// Scenarios wait far more than they work.
const AT_ONCE: usize = 16;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let artifacts = match Artifacts::read(|name| std::env::var(name).ok()) {
        Ok(artifacts) => artifacts,
        Err(error) => {
            eprintln!("lab: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let scenarios = all();
    let Some(artifacts) = artifacts else {
        if !arguments.list {
            eprintln!(
                "the lab does not run here: `cargo xtask lab` sets it up and starts these scenarios"
            );
        }
        let skipped = scenarios
            .into_iter()
            .map(|scenario| Trial::test(scenario.name, || Ok(())).with_ignored_flag(true));
        return libtest_mimic::run(&arguments, skipped.collect()).exit_code();
    };
    let chosen: Vec<Scenario> = scenarios
        .iter()
        .filter(|scenario| selected(&arguments, scenario.name))
        .copied()
        .collect();
    let shared = match Shared::new(artifacts, &chosen) {
        Ok(shared) => Arc::new(shared),
        Err(error) => {
            eprintln!("lab: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = scenarios.into_iter().map(|scenario| {
        let shared = Arc::clone(&shared);
        Trial::test(scenario.name, move || shared.run(&scenario))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if let Err(error) = shared.end() {
        eprintln!("lab: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// In the order in which a stranger would ask.
fn all() -> Vec<Scenario> {
    [
        isolation::scenarios(),
        admin_access::scenarios(),
        outbound::scenarios(),
        limits::scenarios(),
        delivery::scenarios(),
        guide_tests::scenarios(),
        identity::scenarios(),
        guide_defects::scenarios(),
        housekeeping::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// As libtest selects.
fn selected(arguments: &Arguments, name: &str) -> bool {
    let fits = |pattern: &String| {
        if arguments.exact {
            name == pattern
        } else {
            name.contains(pattern.as_str())
        }
    };
    !arguments.list
        && arguments.filter.as_ref().is_none_or(fits)
        && !arguments.skip.iter().any(fits)
}
