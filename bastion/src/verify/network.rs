//! What has to be asked over the network: who listens, who is let in, what is passed on, and
//! what is refused on its way out.

use site::answer::Report;

use super::{LISTENERS, accounts, listeners, mqtt, probes};
use crate::host::Host;

/// Adds these checks to a report.
pub(crate) fn ask(host: &Host, report: &mut Report) {
    report.add(LISTENERS, listeners::check());
    report.add("anonymous login", accounts::anonymous_is_refused());
    report.add("health login", accounts::health_is_accepted(host));
    report.add("broker's access rules", mqtt::probe(host));
    probes::add(host, report);
}
