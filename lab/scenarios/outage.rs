//! Promise 2 while parts of the way fail: a fleet publishes, something is killed, cut off or taken
//! away meanwhile, and what was sent is compared with what is stored, as sets and in time.
//!
//! Each has the whole lab for itself, and leaves it whole. What a broker cannot keep, since it keeps
//! nothing on disk, is computed from the fleet's own record, see `broker`.

mod broker;
mod contrast;
mod database;
mod memory;
mod network;
mod programs;
pub(crate) mod run;
mod soak;

use lab::sample::take_in;

use crate::shared::Scenario;

/// Of those that take part in a run only with `--full`, so many are run each time.
const SAMPLE: usize = 2;

pub(crate) fn scenarios() -> Vec<Scenario> {
    [
        programs::scenarios(),
        database::scenarios(),
        network::scenarios(),
        broker::scenarios(),
        memory::scenarios(),
        contrast::scenarios(),
        soak::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Takes as many outages into a run as its time allows, chosen by the seed. The contrast shows what
/// another way loses, and the soak is a run of its own.
pub(crate) fn with_sample(scenarios: Vec<Scenario>, seed: u64) -> Vec<Scenario> {
    take_in(scenarios, seed, SAMPLE, |name| {
        let outage = name.strip_prefix("outage::");
        outage.is_some_and(|name| !name.starts_with("contrast") && !name.starts_with("soak"))
    })
}
