//! Points, and how they become line protocol.
//!
//! Tags: `site`, `device`, `point`, `model`, `gen`, and `channel` where a measurement has one.
//! They are what a series is known by, so nothing that a person may reword (location, label,
//! customer) is among them. What no escaping can carry (control characters, backslashes) is
//! refused by the settings for tags, and here for texts.

use std::borrow::Cow;
use std::io::Write as _;

use site::Meter;

use super::Lines;
use super::field::Field;

/// One point without its meter and time.
#[derive(Debug)]
pub(super) struct Point {
    measurement: &'static str,
    channel: Option<Cow<'static, str>>,
    fields: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
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
            fields: Vec::new(),
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

    /// Adds a short text without control characters; others are left out.
    pub(super) fn text(mut self, name: &'static str, value: &str) -> Self {
        const LONGEST: usize = 128;
        if !value.is_empty() && value.len() <= LONGEST && !value.contains(char::is_control) {
            self.fields.push((name, Value::Text(value.to_owned())));
        }
        self
    }
}

/// The points that have a field, as lines; nothing when none has.
pub(super) fn write(points: &[Point], site: &str, meter: &Meter, time_ns: i64) -> Option<Lines> {
    let mut text = Vec::with_capacity(160);
    let mut count = 0;
    for point in points.iter().filter(|point| !point.fields.is_empty()) {
        text.extend_from_slice(point.measurement.as_bytes());
        let own = [
            ("site", site),
            ("device", &meter.id),
            ("point", &meter.point),
            ("model", meter.model.name),
        ];
        for (key, value) in own {
            tag(&mut text, key, value);
        }
        number(&mut text, format_args!(",gen={}", meter.model.gen_number));
        if let Some(channel) = &point.channel {
            tag(&mut text, "channel", channel);
        }
        let mut separator = b' ';
        for (name, value) in &point.fields {
            text.push(separator);
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            match value {
                Value::Number(value) => number(&mut text, format_args!("{value}")),
                Value::Truth(value) => number(&mut text, format_args!("{value}")),
                Value::Text(value) => {
                    text.push(b'"');
                    escaped(&mut text, value, b"\"");
                    text.push(b'"');
                }
            }
            separator = b',';
        }
        number(&mut text, format_args!(" {time_ns}\n"));
        count += 1;
    }
    (count > 0).then_some(Lines { text, count })
}

fn tag(text: &mut Vec<u8>, key: &str, value: &str) {
    text.push(b',');
    text.extend_from_slice(key.as_bytes());
    text.push(b'=');
    escaped(text, value, b",= ");
}

/// A backslash before each of these, and before itself. Every message passes here, so it is done by hand.
fn escaped(text: &mut Vec<u8>, value: &str, special: &[u8]) {
    for byte in value.bytes() {
        if byte == b'\\' || special.contains(&byte) {
            text.push(b'\\');
        }
        text.push(byte);
    }
}

fn number(text: &mut Vec<u8>, number: std::fmt::Arguments) {
    // Memory takes all that is written.
    let _ = text.write_fmt(number);
}
