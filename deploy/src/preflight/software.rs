//! Packages, systemd, the broker, and what an earlier release left.

use site::{Bastion, Site};

use super::{Context, Finding};
use crate::facts::Facts;

pub(super) fn check(
    _site: &Site,
    _bastion: &Bastion,
    _facts: &Facts,
    _context: &Context,
    _findings: &mut Vec<Finding>,
) {
}
