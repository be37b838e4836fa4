//! Addresses, interface and routes against those of the site.

use site::{Bastion, Site};

use super::Finding;
use crate::facts::Facts;

pub(super) fn check(
    _site: &Site,
    _bastion: &Bastion,
    _facts: &Facts,
    _findings: &mut Vec<Finding>,
) {
}
