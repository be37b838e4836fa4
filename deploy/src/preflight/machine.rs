//! Processor, C library, disks, memory and clock.

use super::{Context, Finding};
use crate::facts::Facts;

pub(super) fn check(_facts: &Facts, _context: &Context, _findings: &mut Vec<Finding>) {}
