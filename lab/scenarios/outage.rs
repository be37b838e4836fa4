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

use crate::shared::Scenario;

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
