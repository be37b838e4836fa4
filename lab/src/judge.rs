//! Sent = stored: the fleet's ledger against what the database holds, reading by reading.
//!
//! Neither side has passed through the project's parsing code: the ledger was written from the
//! simulated physics, and the database is asked in its own language.

mod excused;
mod pairs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use actors::ledger::{Line, Value as Sent};
use anyhow::{Context as _, Result};
use serde_json::Value;

pub use excused::{Gap, Missing, excuse, take_wills};

/// How far a stored time may be from the time of sending.
pub const TOLERANCE_NS: u64 = 1_000_000_000;
/// The same across a restart of the bastion's daemon, when ticks date what waited.
pub const ACROSS_A_RESTART_NS: u64 = 1_500_000_000;
/// Values pass through decimal text and binary floating point, nothing else.
const RELATIVE_TOLERANCE: f64 = 1e-9;

/// What a reading belongs to: device, measurement, channel, field.
pub type Series = (String, String, Option<String>, String);

/// A value at a time, in nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// When it was sent or stored.
    pub at_ns: u64,
    /// What it says.
    pub value: Sent,
}

/// Readings by series, each in the order of time.
pub type Readings = BTreeMap<Series, Vec<Reading>>;

/// What differs; all empty when sent = stored.
#[derive(Debug, Default)]
pub struct Difference {
    /// Sent and not stored.
    pub lost: Vec<String>,
    /// Of those: device, and when it was sent.
    pub lost_at: Vec<(String, u64)>,
    /// Stored more often than sent.
    pub doubled: Vec<String>,
    /// Stored at another time than sent.
    pub moved: Vec<String>,
    /// Stored and never sent.
    pub invented: Vec<String>,
    /// Readings that were compared.
    pub compared: usize,
    /// The largest time difference of those that were stored right.
    pub largest_shift_ns: u64,
}

impl Difference {
    /// Whether sent = stored, and something was sent.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.compared > 0
            && [&self.lost, &self.doubled, &self.moved, &self.invented]
                .iter()
                .all(|list| list.is_empty())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} readings compared: {} lost, {} doubled, {} moved, {} invented; largest shift {} ms",
            self.compared,
            self.lost.len(),
            self.doubled.len(),
            self.moved.len(),
            self.invented.len(),
            self.largest_shift_ns / 1_000_000
        )?;
        // Whether everybody lost something at one moment, or one meter all the time.
        let times = || self.lost_at.iter().map(|(_, at_ns)| at_ns);
        if let (Some(first), Some(last)) = (times().min(), times().max()) {
            let meters: BTreeSet<&str> = self.lost_at.iter().map(|(id, _)| id.as_str()).collect();
            write!(
                f,
                "\n  lost by {} meters, sent from {first} to {last} ns",
                meters.len()
            )?;
        }
        for (kind, list) in [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("moved", &self.moved),
            ("invented", &self.invented),
        ] {
            for example in list.iter().take(5) {
                write!(f, "\n  {kind}: {example}")?;
            }
        }
        Ok(())
    }
}

/// What the fleet sent. Readings that a meter dropped itself are none.
#[must_use]
pub fn sent(ledger: &[Line]) -> Readings {
    let mut readings = Readings::new();
    for line in ledger {
        let Line::Entry(entry) = line else { continue };
        if !entry.sent {
            continue;
        }
        let series = (
            entry.device.clone(),
            entry.measurement.clone(),
            entry.channel.clone(),
            entry.field.clone(),
        );
        readings.entry(series).or_default().push(Reading {
            at_ns: entry.at_ns,
            value: entry.value.clone(),
        });
    }
    readings
}

/// What the database answered to `SELECT * … GROUP BY *` over all measurements.
///
/// # Errors
/// When the answer has another shape.
pub fn stored(answer: &Value) -> Result<Readings> {
    let mut readings = Readings::new();
    let results = answer
        .get("results")
        .and_then(Value::as_array)
        .context("the answer has no results")?;
    for series in results
        .iter()
        .filter_map(|result| result.get("series")?.as_array())
        .flatten()
    {
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let tags = series.get("tags");
        let tag = |name: &str| text(tags.and_then(|tags| tags.get(name)));
        let channel = Some(tag("channel")).filter(|channel| !channel.is_empty());
        let columns = series
            .get("columns")
            .and_then(Value::as_array)
            .context("a series has no columns")?;
        for row in series
            .get("values")
            .and_then(Value::as_array)
            .context("a series has no values")?
        {
            let row = row.as_array().context("a row is no list")?;
            let at_ns = row
                .first()
                .and_then(Value::as_u64)
                .context("a row has no time")?;
            for (column, value) in columns.iter().zip(row).skip(1) {
                let value = match value {
                    Value::Null => continue,
                    Value::Bool(truth) => Sent::Truth(*truth),
                    Value::String(text) => Sent::Text(text.clone()),
                    other => Sent::Number(
                        other
                            .as_f64()
                            .context("a value is neither number, truth nor text")?,
                    ),
                };
                let key = (
                    tag("device"),
                    text(series.get("name")),
                    channel.clone(),
                    text(Some(column)),
                );
                readings
                    .entry(key)
                    .or_default()
                    .push(Reading { at_ns, value });
            }
        }
    }
    for list in readings.values_mut() {
        list.sort_by_key(|reading| reading.at_ns);
    }
    Ok(readings)
}

/// The tags of every series in an answer.
///
/// # Errors
/// When the answer has another shape.
pub fn tags(answer: &Value) -> Result<Vec<BTreeMap<String, String>>> {
    let results = answer
        .get("results")
        .and_then(Value::as_array)
        .context("the answer has no results")?;
    let series = results
        .iter()
        .filter_map(|result| result.get("series")?.as_array())
        .flatten();
    series
        .map(|series| {
            let tags = series
                .get("tags")
                .cloned()
                .context("a series has no tags")?;
            serde_json::from_value(tags).context("the tags of a series are not texts")
        })
        .collect()
}

/// Compares series by series; a stored time may be [`TOLERANCE_NS`] from that of sending.
#[must_use]
pub fn compare(sent: &Readings, stored: &Readings) -> Difference {
    compare_within(TOLERANCE_NS, sent, stored)
}

/// Compares series by series; a stored time may be so many ns from that of sending.
#[must_use]
pub fn compare_within(tolerance_ns: u64, sent: &Readings, stored: &Readings) -> Difference {
    let mut difference = Difference::default();
    let nothing = Vec::new();
    for (series, wanted) in sent {
        compare_series(
            series,
            wanted,
            stored.get(series).unwrap_or(&nothing),
            tolerance_ns,
            &mut difference,
        );
    }
    for (series, found) in stored
        .iter()
        .filter(|(series, _)| !sent.contains_key(*series))
    {
        difference
            .invented
            .extend(found.iter().map(|reading| describe(series, reading)));
    }
    difference
}

/// What is left over on either side is the difference.
fn compare_series(
    series: &Series,
    sent: &[Reading],
    stored: &[Reading],
    tolerance_ns: u64,
    difference: &mut Difference,
) {
    difference.compared += sent.len();
    let (mut found, mut taken) = (BTreeSet::new(), BTreeSet::new());
    let mut looked_at = BTreeSet::new();
    for (place, reading) in sent.iter().enumerate() {
        if looked_at.contains(&place) {
            continue;
        }
        let same = |list: &[Reading]| -> Vec<(usize, u64)> {
            let each = list.iter().enumerate();
            each.filter(|(_, other)| equal(&other.value, &reading.value))
                .map(|(place, other)| (place, other.at_ns))
                .collect()
        };
        let (here, there) = (same(sent), same(stored));
        looked_at.extend(here.iter().map(|(place, _)| *place));
        for (one, other) in pairs::of(&here, &there, tolerance_ns) {
            found.insert(one.0);
            taken.insert(other.0);
            let shift = one.1.abs_diff(other.1);
            difference.largest_shift_ns = difference.largest_shift_ns.max(shift);
        }
    }
    let others = |list: &'_ [Reading], used: &BTreeSet<usize>| -> Vec<Reading> {
        let each = list.iter().enumerate();
        let left = each.filter(|(place, _)| !used.contains(place));
        left.map(|(_, reading)| reading.clone()).collect()
    };
    let missing = others(sent, &found);
    let mut left = others(stored, &taken);
    for reading in &missing {
        let elsewhere = left
            .iter()
            .position(|other| equal(&other.value, &reading.value));
        match elsewhere {
            Some(index) => {
                let other = left.remove(index);
                difference.moved.push(format!(
                    "{}, stored at {} ns",
                    describe(series, reading),
                    other.at_ns
                ));
            }
            None => {
                difference.lost.push(describe(series, reading));
                difference.lost_at.push((series.0.clone(), reading.at_ns));
            }
        }
    }
    for reading in left {
        let known = sent.iter().any(|other| equal(&other.value, &reading.value));
        let list = if known {
            &mut difference.doubled
        } else {
            &mut difference.invented
        };
        list.push(describe(series, &reading));
    }
}

fn equal(a: &Sent, b: &Sent) -> bool {
    match (a, b) {
        (Sent::Number(a), Sent::Number(b)) => {
            (a - b).abs() <= RELATIVE_TOLERANCE * a.abs().max(b.abs())
        }
        _ => a == b,
    }
}

fn describe((device, measurement, channel, field): &Series, reading: &Reading) -> String {
    let value = match &reading.value {
        Sent::Truth(truth) => truth.to_string(),
        Sent::Number(number) => number.to_string(),
        Sent::Text(text) => text.clone(),
    };
    let channel = channel
        .as_deref()
        .map(|channel| format!("[{channel}]"))
        .unwrap_or_default();
    format!(
        "{device} {measurement}{channel}.{field} = {value} at {} ns",
        reading.at_ns
    )
}

#[cfg(test)]
mod tests;
