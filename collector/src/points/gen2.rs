//! Generations 2 to 4: JSON per component. `<prefix>/status/<component>` carries a whole
//! component, `<prefix>/events/rpc` what changed of one or several. Fields and units: the vendor's
//! Gen2 documentation and captures.
//!
//! A change carries only what changed, and only that is written. One conversion needs two values:
//! `aenergy` of switches counts energy in both directions, so import is `aenergy - ret_aenergy`.
//! Both are reported together each minute; without `ret_aenergy` the device has only one direction.

use serde_json::Value;
use site::Source;

use super::field::{
    ACTIVE, APPARENT, CURRENT, EXPORT, FREQUENCY, Field, IMPORT, POWER_FACTOR, TEMPERATURE, VOLTAGE,
};
use super::json::{Object, below, number, object};
use super::line::Point;
use super::{Kind, Points, Read, Unread, not_a_reading, one, online};

/// Keys of `em:0`, each behind the letter of its phase.
const PHASE: &[(&str, Field)] = &[
    ("act_power", ACTIVE),
    ("aprt_power", APPARENT),
    ("voltage", VOLTAGE),
    ("current", CURRENT),
    ("pf", POWER_FACTOR),
    ("freq", FREQUENCY),
];
const PHASES_TOGETHER: &[(&str, Field)] = &[
    ("total_act_power", ACTIVE),
    ("total_aprt_power", APPARENT),
    ("total_current", CURRENT),
];
/// Keys of `emdata:0`, each behind the letter of its phase, and of `em1data:N`.
const COUNTERS: &[(&str, Field)] = &[
    ("total_act_energy", IMPORT),
    ("total_act_ret_energy", EXPORT),
];
const COUNTERS_TOGETHER: &[(&str, Field)] = &[("total_act", IMPORT), ("total_act_ret", EXPORT)];
/// Keys of `switch:N`, `pm1:N` and `cover:N`.
const OUTPUT: &[(&str, Field)] = &[
    ("apower", ACTIVE),
    ("aprtpower", APPARENT),
    ("voltage", VOLTAGE),
    ("current", CURRENT),
    ("pf", POWER_FACTOR),
    ("freq", FREQUENCY),
];

pub(super) fn read(source: Source, suffix: &str, payload: &[u8]) -> Read {
    if suffix == "online" {
        return online(payload);
    }
    if suffix == "events/rpc" {
        return match source {
            Source::Events => notification(payload),
            Source::Status => Err(Unread::Kind(Kind::OtherSource)),
        };
    }
    let component = suffix
        .strip_prefix("status/")
        .and_then(Component::named)
        .ok_or_else(not_a_reading)?;
    match source {
        Source::Status => component.read(&object(payload)?),
        Source::Events => Err(Unread::Kind(Kind::OtherSource)),
    }
}

/// `NotifyStatus` and `NotifyFullStatus`; the meter's own `ts` is not used, since clocks were
/// seen seconds off and near 1970.
fn notification(payload: &[u8]) -> Read {
    let message = object(payload)?;
    let method = message.get("method").and_then(Value::as_str);
    if !matches!(method, Some("NotifyStatus" | "NotifyFullStatus")) {
        return Err(not_a_reading());
    }
    let Some(changes) = below(&message, "params")? else {
        return Err(not_a_reading());
    };
    let mut points = Points::new();
    let mut measured = false;
    for key in changes.keys() {
        let Some(component) = Component::named(key) else {
            continue;
        };
        measured = true;
        if let Some(body) = below(changes, key)? {
            points.extend(component.read(body)?);
        }
    }
    if measured {
        Ok(points)
    } else {
        Err(not_a_reading())
    }
}

/// A component that measures, and which one of its kind. The index is in the key: newer firmware
/// leaves `id` out of changes.
struct Component {
    kind: ComponentKind,
    index: u8,
}

#[derive(Clone, Copy)]
enum ComponentKind {
    ThreePhases,
    ThreePhaseCounters,
    OnePhase,
    OnePhaseCounters,
    Output,
}

impl Component {
    fn named(key: &str) -> Option<Self> {
        let (kind, index) = key.split_once(':')?;
        let kind = match kind {
            "em" => ComponentKind::ThreePhases,
            "emdata" => ComponentKind::ThreePhaseCounters,
            "em1" => ComponentKind::OnePhase,
            "em1data" => ComponentKind::OnePhaseCounters,
            "switch" | "pm1" | "cover" => ComponentKind::Output,
            _ => return None,
        };
        let index = index.parse().ok()?;
        Some(Self { kind, index })
    }

    fn read(&self, body: &Object) -> Read {
        let channel = self.index.to_string();
        match self.kind {
            ComponentKind::ThreePhases | ComponentKind::ThreePhaseCounters if self.index > 0 => {
                // Its phases would be taken for those of the first.
                Err(Unread::Why(format!(
                    "a second three-phase meter, number {channel}, is not known"
                )))
            }
            ComponentKind::ThreePhases => {
                let mut points = phases(body, PHASE, Point::power)?;
                points.push(Point::power("n").number(CURRENT, number(body, "n_current")?));
                points.push(fill(Point::power("total"), body, "", PHASES_TOGETHER)?);
                Ok(points)
            }
            ComponentKind::ThreePhaseCounters => {
                let mut points = phases(body, COUNTERS, Point::energy)?;
                points.push(fill(Point::energy("total"), body, "", COUNTERS_TOGETHER)?);
                Ok(points)
            }
            ComponentKind::OnePhase => Ok(one(fill(Point::power(channel), body, "", PHASE)?)),
            ComponentKind::OnePhaseCounters => {
                Ok(one(fill(Point::energy(channel), body, "", COUNTERS)?))
            }
            ComponentKind::Output => self.output(body, channel),
        }
    }

    fn output(&self, body: &Object, channel: String) -> Read {
        let mut points = one(fill(Point::power(channel.clone()), body, "", OUTPUT)?);
        let both = counter(body, "aenergy")?;
        let returned = counter(body, "ret_aenergy")?;
        let one_direction = below(body, "ret_aenergy")?.is_none();
        let import = match (both, returned) {
            (Some(both), Some(returned)) => Some(both - returned),
            (both, None) if one_direction => both,
            _ => None,
        };
        points.push(
            Point::energy(channel)
                .number(IMPORT, import)
                .number(EXPORT, returned),
        );
        // All outputs of a device sit in one case; the first one's sensor speaks for it.
        if self.index == 0
            && let Some(temperature) = below(body, "temperature")?
        {
            let celsius = number(temperature, "tC")?;
            points.push(Point::device().number(TEMPERATURE, celsius));
        }
        Ok(points)
    }
}

/// Wh.
fn counter(body: &Object, key: &str) -> Result<Option<f64>, Unread> {
    let Some(counter) = below(body, key)? else {
        return Ok(None);
    };
    Ok(number(counter, "total")?.and_then(|value| IMPORT.reading(value)))
}

fn phases(body: &Object, keys: &[(&str, Field)], point: fn(&'static str) -> Point) -> Read {
    ["a", "b", "c"]
        .into_iter()
        .map(|phase| fill(point(phase), body, &format!("{phase}_"), keys))
        .collect()
}

fn fill(
    mut point: Point,
    body: &Object,
    before: &str,
    keys: &[(&str, Field)],
) -> Result<Point, Unread> {
    for (key, field) in keys {
        let value = if before.is_empty() {
            number(body, key)?
        } else {
            number(body, &format!("{before}{key}"))?
        };
        point = point.number(*field, value);
    }
    Ok(point)
}
