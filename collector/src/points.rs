//! What one message says: a pure function from meter, topic, payload and time to points in line
//! protocol. It asks no clock and remembers nothing, so translating a message again gives the
//! same points and writing them again changes nothing.
//!
//! Left to others: where messages come from, which time they have, and what is done with those
//! that make no sense.
//!
//! - Only topics that can carry a reading are looked into. Everything else below a meter's prefix
//!   (relay state, inputs, commands, replies, housekeeping) is counted and never an error.
//! - A payload is hostile: at most [`LARGEST_PAYLOAD`], JSON no deeper than the parser's limit.
//! - A value that is missing, null, not finite or the meter's word for "not available" leaves its
//!   field out; it never becomes 0. Anything else that is not a number is not understood.

mod field;
mod gen1;
mod gen2;
mod json;
mod line;
mod number;
#[cfg(test)]
pub(crate) mod tests;

use site::{Generation, Meter};

pub use line::{Point, Points, Writer};

/// Bytes. The largest recorded payload, a whole `info`, has under 4 KiB.
pub const LARGEST_PAYLOAD: usize = 64 * 1024;

/// What became of one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Translation<P = Lines> {
    /// It holds at least one value.
    Points(P),
    /// It is in order and holds nothing to store.
    NotAReading(Kind),
    /// It should have been a reading and cannot be read; why, in lower case without a full stop.
    NotUnderstood(String),
}

/// Points as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// Line protocol with times in ns. Every line ends in a newline, and no value contains one.
    pub text: Vec<u8>,
    /// How many lines, at least one.
    pub count: usize,
}

/// Why an orderly message holds nothing to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A topic that carries no readings.
    Other,
    /// The same sample is read from the meter's other source.
    OtherSource,
    /// A reading without a single value, such as the counters of a meter that has just started.
    NoValue,
}

/// Readings before they become text.
type Read = Result<Points, Unread>;

/// Why a message gives no points.
enum Unread {
    Kind(Kind),
    Why(String),
}

/// Translates one message that arrived at `time_ns` (since 1970) below the prefix of `meter`.
#[must_use]
pub fn translate(
    meter: &Meter,
    site: &str,
    topic: &str,
    payload: &[u8],
    time_ns: i64,
) -> Translation {
    match read(meter, topic, payload) {
        Translation::Points(points) => {
            Translation::Points(line::lines(&points, site, meter, time_ns))
        }
        Translation::NotAReading(kind) => Translation::NotAReading(kind),
        Translation::NotUnderstood(reason) => Translation::NotUnderstood(reason),
    }
}

/// Reads one message below the prefix of `meter`. Each point has at least one field.
#[must_use]
pub fn read(meter: &Meter, topic: &str, payload: &[u8]) -> Translation<Points> {
    let suffix = topic
        .strip_prefix(meter.prefix.as_str())
        .and_then(|rest| rest.strip_prefix('/'));
    let Some(suffix) = suffix else {
        return Translation::NotAReading(Kind::Other);
    };
    let read = match meter.model.generation {
        Generation::One => gen1::read(suffix, payload),
        Generation::TwoPlus => gen2::read(meter.source, suffix, payload),
    };
    match read {
        Ok(mut points) => {
            points.retain(|point| point.has_fields());
            if points.is_empty() {
                Translation::NotAReading(Kind::NoValue)
            } else {
                Translation::Points(points)
            }
        }
        Err(Unread::Kind(kind)) => Translation::NotAReading(kind),
        Err(Unread::Why(reason)) => Translation::NotUnderstood(reason),
    }
}

fn one(point: Point) -> Points {
    Points::from_buf([point])
}

fn not_a_reading() -> Unread {
    Unread::Kind(Kind::Other)
}

/// Refuses what is too large to be looked into.
fn bounded(payload: &[u8]) -> Result<&[u8], Unread> {
    if payload.len() > LARGEST_PAYLOAD {
        let size = payload.len();
        return Err(Unread::Why(format!(
            "the payload has {size} bytes, more than {LARGEST_PAYLOAD}"
        )));
    }
    Ok(payload)
}

/// `true` or `false`, as every generation says whether it is there.
fn online(payload: &[u8]) -> Read {
    let online = match payload.trim_ascii() {
        b"true" => true,
        b"false" => false,
        _ => {
            return Err(Unread::Why(format!(
                "{} is neither true nor false",
                shown(payload)
            )));
        }
    };
    Ok(one(Point::device().truth("online", online)))
}

/// The beginning of a payload, fit for a message.
fn shown(payload: &[u8]) -> String {
    const SHOWN: usize = 40;
    let start = payload.get(..SHOWN).unwrap_or(payload);
    let dots = if start.len() < payload.len() {
        "…"
    } else {
        ""
    };
    format!("{:?}{dots}", String::from_utf8_lossy(start))
}
