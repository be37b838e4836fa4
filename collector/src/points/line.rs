//! Points, and how they become line protocol.
//!
//! Tags: `channel` where a measurement has one, `device`, `gen`, `model`, `point`, `site`.
//! They are what a series is known by, so nothing that a person may reword (location, label,
//! customer) is among them. They stand in the order of their names: InfluxDB sorts them in each
//! line that has another order. What no escaping can carry (control characters, backslashes) is
//! refused by the settings for tags, and here for texts.

use std::borrow::Cow;

use influxdb_line_protocol::LineProtocolBuilder;
use site::Meter;
use smallvec::SmallVec;

use super::field::Field;
use super::{Lines, number};

/// One point without its meter and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    measurement: &'static str,
    channel: Option<Cow<'static, str>>,
    /// Most messages say one value.
    fields: SmallVec<[(&'static str, Value); 1]>,
}

/// The points of one message; most have one.
pub type Points = SmallVec<[Point; 1]>;

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Number(f64),
    Truth(bool),
    Text(String),
}

impl Point {
    /// What flows now.
    pub(super) fn power(channel: impl Into<Cow<'static, str>>) -> Self {
        Self::new("power", Some(channel.into()))
    }

    /// Counters as they stand.
    pub(super) fn energy(channel: impl Into<Cow<'static, str>>) -> Self {
        Self::new("energy", Some(channel.into()))
    }

    /// The meter itself.
    pub(super) fn device() -> Self {
        Self::new("device", None)
    }

    fn new(measurement: &'static str, channel: Option<Cow<'static, str>>) -> Self {
        Self {
            measurement,
            channel,
            fields: SmallVec::new(),
        }
    }

    /// Adds a number, unless there is none or it stands for "not available".
    pub(super) fn number(mut self, field: Field, value: Option<f64>) -> Self {
        if let Some(value) = value.and_then(|value| field.reading(value)) {
            self.fields.push((field.name, Value::Number(value)));
        }
        self
    }

    pub(super) fn truth(mut self, name: &'static str, value: bool) -> Self {
        self.fields.push((name, Value::Truth(value)));
        self
    }

    /// Whether it says anything.
    pub(super) fn has_fields(&self) -> bool {
        !self.fields.is_empty()
    }

    /// Takes the fields of another point of the same series and time, unless it says something that
    /// is said already.
    pub(crate) fn join(&mut self, other: &Point) -> bool {
        let is_there =
            |(name, _): &(&str, Value)| self.fields.iter().any(|(known, _)| known == name);
        let joins = self.measurement == other.measurement
            && self.channel == other.channel
            && !other.fields.iter().any(is_there);
        if joins {
            self.fields.extend(other.fields.iter().cloned());
        }
        joins
    }

    /// Adds a short text without control characters; others are left out.
    pub(super) fn text(mut self, name: &'static str, value: &str) -> Self {
        const LONGEST: usize = 128;
        if !value.is_empty() && value.len() <= LONGEST && !value.contains(char::is_control) {
            self.fields.push((name, Value::Text(value.to_owned())));
        }
        self
    }
}

/// Writes points as lines. Measurement and tags of a series are always the same text, and most of a
/// line: they are escaped once and remembered.
#[derive(Debug, Default)]
pub struct Writer {
    /// By the meter's place in its fleet.
    series: Vec<Vec<Series>>,
}

/// Measurement and tags.
#[derive(Debug)]
struct Series {
    measurement: &'static str,
    channel: Option<Cow<'static, str>>,
    text: Vec<u8>,
}

/// Series of one meter that are remembered. No meter has so many, and a hostile one may name more.
const MOST_SERIES: usize = 24;

impl Writer {
    /// Adds a line with a newline at its end; the point has a field. `place` is the meter's in its fleet, which has the name
    /// `site`.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        (place, meter): (usize, &Meter),
        site: &str,
        point: &Point,
        time_ns: i64,
    ) {
        self.begin(out, (place, meter), site, point);
        // Names of fields are our own, and hold nothing that must be escaped.
        let mut before = b' ';
        for (name, value) in &point.fields {
            out.push(before);
            before = b',';
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            match value {
                Value::Number(value) => number::write(out, *value),
                Value::Truth(true) => out.extend_from_slice(b"true"),
                Value::Truth(false) => out.extend_from_slice(b"false"),
                Value::Text(text) => quoted(out, text),
            }
        }
        out.push(b' ');
        number::write_whole(out, time_ns);
        out.push(b'\n');
    }

    fn begin(
        &mut self,
        out: &mut Vec<u8>,
        (place, meter): (usize, &Meter),
        site: &str,
        point: &Point,
    ) {
        if self.series.len() <= place {
            self.series.resize_with(place + 1, Vec::new);
        }
        let Some(known) = self.series.get_mut(place) else {
            return;
        };
        let same = |series: &&Series| {
            series.measurement == point.measurement && series.channel == point.channel
        };
        if let Some(series) = known.iter().find(same) {
            out.extend_from_slice(&series.text);
            return;
        }
        let mut text = Vec::new();
        let measurement = LineProtocolBuilder::new_with(&mut text).measurement(point.measurement);
        let tags = match &point.channel {
            Some(channel) => measurement.tag("channel", channel),
            None => measurement,
        };
        let _ = tags
            .tag("device", &meter.id)
            .tag("gen", &meter.model.gen_number.to_string())
            .tag("model", meter.model.name)
            .tag("point", &meter.point)
            .tag("site", site);
        out.extend_from_slice(&text);
        if known.len() < MOST_SERIES {
            known.push(Series {
                measurement: point.measurement,
                channel: point.channel.clone(),
                text,
            });
        }
    }
}

/// A text in quotes.
fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// The points of one message, each as a line.
pub(super) fn lines(points: &Points, site: &str, meter: &Meter, time_ns: i64) -> Lines {
    let mut text = Vec::new();
    let mut writer = Writer::default();
    for point in points {
        writer.write(&mut text, (0, meter), site, point, time_ns);
    }
    Lines {
        text,
        count: points.len(),
    }
}
