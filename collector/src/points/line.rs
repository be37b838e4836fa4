//! Points, and how they become line protocol.
//!
//! Tags: `site`, `device`, `point`, `model`, `gen`, and `channel` where a measurement has one.
//! They are what a series is known by, so nothing that a person may reword (location, label,
//! customer) is among them. Escaping is the builder's work; what no escaping can carry (control
//! characters, backslashes) is refused by the settings for tags, and here for texts.

use std::borrow::Cow;

use influxdb_line_protocol::LineProtocolBuilder;
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
    let mut text = Vec::new();
    let mut count = 0;
    for point in points {
        let mut fields = point.fields.iter();
        let Some((name, value)) = fields.next() else {
            continue;
        };
        let mut tags = LineProtocolBuilder::new_with(text)
            .measurement(point.measurement)
            .tag("site", site)
            .tag("device", &meter.id)
            .tag("point", &meter.point)
            .tag("model", meter.model.name)
            .tag("gen", &meter.model.gen_number.to_string());
        if let Some(channel) = &point.channel {
            tags = tags.tag("channel", channel);
        }
        let mut line = match value {
            Value::Number(number) => tags.field(name, *number),
            Value::Truth(truth) => tags.field(name, *truth),
            Value::Text(text) => tags.field(name, text.as_str()),
        };
        for (name, value) in fields {
            line = match value {
                Value::Number(number) => line.field(name, *number),
                Value::Truth(truth) => line.field(name, *truth),
                Value::Text(text) => line.field(name, text.as_str()),
            };
        }
        text = line.timestamp(time_ns).close_line().build();
        count += 1;
    }
    (count > 0).then_some(Lines { text, count })
}
