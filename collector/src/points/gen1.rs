//! The first generation: one bare decimal per topic below `shellies/<id>/`, and two JSON
//! documents (`announce`, `info`). Units and topics: the vendor's Gen1 documentation and captures.

use super::field::{
    ACTIVE, CURRENT, EXPORT, Field, IMPORT, POWER_FACTOR, REACTIVE, SIGNAL, TEMPERATURE, UPTIME,
    VOLTAGE,
};
use super::json::{below, number, object};
use super::line::Point;
use super::{Read, Unread, bounded, not_a_reading, one, online, shown};

/// Relays, rollers and lights count watt-minutes; 60 of them are one Wh.
const WATT_MINUTES_PER_WH: f64 = 60.0;

/// The channel of what a device measures once for all its outputs.
const WHOLE: &str = "total";

pub(super) fn read(suffix: &str, payload: &[u8]) -> Read {
    let mut levels = suffix.split('/');
    let path = [(); 4].map(|()| levels.next());
    match path {
        [Some("online"), None, ..] => online(payload),
        [Some("announce"), None, ..] => announce(payload),
        [Some("info"), None, ..] => info(payload),
        [Some("temperature"), None, ..] => {
            Ok(one(Point::device().number(TEMPERATURE, decimal(payload)?)))
        }
        [Some("overtemperature"), None, ..] => overtemperature(payload),
        // The 2.5 measures the voltage of both its relays once.
        [Some("voltage"), None, ..] => power(WHOLE, VOLTAGE, payload),
        [Some("emeter"), Some(index), Some(quantity), None] => {
            emeter(channel(index)?, quantity, payload)
        }
        [Some("emeter_n"), Some("current"), None, _] => power("n", CURRENT, payload),
        // The Shelly 2 has one meter for both its relays.
        [
            Some("relay"),
            Some(quantity @ ("power" | "energy")),
            None,
            _,
        ] => output(WHOLE, quantity, payload),
        [
            Some("relay" | "roller" | "light"),
            Some(index),
            Some(quantity),
            None,
        ] => output(channel(index)?, quantity, payload),
        _ => Err(not_a_reading()),
    }
}

/// No device of the generation has more than four meters.
fn channel(index: &str) -> Result<&'static str, Unread> {
    ["0", "1", "2", "3"]
        .into_iter()
        .find(|channel| *channel == index)
        .ok_or_else(not_a_reading)
}

fn emeter(channel: &'static str, quantity: &str, payload: &[u8]) -> Read {
    match quantity {
        "power" => power(channel, ACTIVE, payload),
        "reactive_power" => power(channel, REACTIVE, payload),
        "voltage" => power(channel, VOLTAGE, payload),
        "current" => power(channel, CURRENT, payload),
        "pf" => power(channel, POWER_FACTOR, payload),
        "total" => energy(channel, IMPORT, decimal(payload)?),
        "total_returned" => energy(channel, EXPORT, decimal(payload)?),
        // `energy` and `returned_energy` are the last minute's watt-minutes, gone at a reboot,
        // and no counters; the counters are above.
        _ => Err(not_a_reading()),
    }
}

fn output(channel: &'static str, quantity: &str, payload: &[u8]) -> Read {
    match quantity {
        "power" => power(channel, ACTIVE, payload),
        "energy" => {
            // What stands for "not available" stands for it before the conversion.
            let watt_minutes = decimal(payload)?.and_then(|value| IMPORT.reading(value));
            energy(
                channel,
                IMPORT,
                watt_minutes.map(|value| value / WATT_MINUTES_PER_WH),
            )
        }
        _ => Err(not_a_reading()),
    }
}

fn power(channel: &'static str, field: Field, payload: &[u8]) -> Read {
    Ok(one(Point::power(channel).number(field, decimal(payload)?)))
}

fn energy(channel: &'static str, field: Field, value: Option<f64>) -> Read {
    Ok(one(Point::energy(channel).number(field, value)))
}

fn overtemperature(payload: &[u8]) -> Read {
    match payload.trim_ascii() {
        b"0" => Ok(one(Point::device().truth("overtemp", false))),
        b"1" => Ok(one(Point::device().truth("overtemp", true))),
        _ => Err(Unread::Why(format!(
            "{} is neither 0 nor 1",
            shown(payload)
        ))),
    }
}

/// `<prefix>/announce`. The one at `shellies/announce` says the same, but every meter may write
/// there in any meter's name.
fn announce(payload: &[u8]) -> Read {
    let announcement = object(payload)?;
    let firmware = announcement.get("fw_ver").and_then(|value| value.as_str());
    Ok(one(Point::device().text("fw", firmware.unwrap_or_default())))
}

/// The whole `/status`. Its meters and its temperature have topics of their own, which come in
/// the same burst: taken from both, two values would meet in one point.
fn info(payload: &[u8]) -> Read {
    let status = object(payload)?;
    let signal = match below(&status, "wifi_sta")? {
        Some(network) => number(network, "rssi")?,
        None => None,
    };
    let device = Point::device()
        .number(SIGNAL, signal)
        .number(UPTIME, number(&status, "uptime")?);
    Ok(one(device))
}

/// A bare decimal; nothing when it is not finite.
fn decimal(payload: &[u8]) -> Result<Option<f64>, Unread> {
    let text = str::from_utf8(bounded(payload)?).unwrap_or_default();
    match text.trim().parse::<f64>() {
        Ok(value) => Ok(value.is_finite().then_some(value)),
        Err(_) => Err(Unread::Why(format!("{} is not a number", shown(payload)))),
    }
}
