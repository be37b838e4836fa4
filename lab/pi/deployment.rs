//! Deploying to a machine that works: the first time, again, and with small changes.
//!
//! What cannot be deployed, and what goes back, is left to other modules.

mod again;
mod first;

use crate::deployed::DEPLOYED;
use crate::stage::{Scenario, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::dry_run_says_exactly_what_apply_changes", from DEPLOYED, first::dry_run),
        scenario!("pi::first_deployment_makes_a_bastion", from DEPLOYED, first::first),
        scenario!("pi::readings_flow_from_meters_to_the_database", from DEPLOYED, first::flow),
        scenario!("pi::second_deployment_changes_nothing", from DEPLOYED, again::second),
        scenario!(
            "pi::program_alone_is_updated_without_the_broker_noticing",
            from DEPLOYED,
            again::program_alone
        ),
        scenario!("pi::one_more_meter_drops_nobody", from DEPLOYED, again::one_more),
    ]
}
