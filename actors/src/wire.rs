//! From SI units to the bytes that real meters send: topics, decimals, key order, spacing.
//! Source: captured payloads. When something is said, and what of it counts, is left to `device`.

mod gen1;
mod gen2;

use crate::device::{Identity, Report};

/// One message as the broker gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The whole topic.
    pub topic: String,
    /// The payload, always text.
    pub payload: String,
    /// Whether the broker shall keep it.
    pub retain: bool,
}

/// The messages of a report: exactly one for Gen2, one per topic for Gen1. `wall_ns` is the time
/// that the meter's own clock shows.
#[must_use]
pub fn messages(identity: &Identity, report: &Report, wall_ns: u64) -> Vec<Message> {
    if identity.model.is_gen1() {
        gen1::messages(identity, report, wall_ns)
    } else {
        gen2::message(identity, report, wall_ns)
            .into_iter()
            .collect()
    }
}

/// Twelve hex digits in capitals, as every generation's JSON has them.
fn mac(identity: &Identity) -> String {
    let digits = identity
        .id
        .rsplit('-')
        .next()
        .unwrap_or_default()
        .to_uppercase();
    if digits.len() == 6 {
        format!("AABBCC{digits}")
    } else {
        digits
    }
}

fn fahrenheit(celsius: f64) -> f64 {
    celsius * 1.8 + 32.0
}

#[cfg(test)]
mod tests;
