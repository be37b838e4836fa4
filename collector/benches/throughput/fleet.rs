//! What 300 three-phase meters say: the topics of a recorded burst, in its order, with values of a
//! recorded length. Published over one connection, as fast as the reader takes it: the rendered
//! broker drops what it cannot queue, and a benchmark that loses messages measures nothing.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::{Connect, Publish};

pub(crate) const METERS: u64 = 300;
/// Topic, measurement and field of what a phase says.
const QUANTITIES: [(&str, &str, &str); 6] = [
    ("power", "power", "active_w"),
    ("pf", "power", "pf"),
    ("current", "power", "current_a"),
    ("voltage", "power", "voltage_v"),
    ("total", "energy", "import_wh"),
    ("total_returned", "energy", "export_wh"),
];
/// Messages of a burst: three phases, and the relay, which is no reading.
pub(crate) const BURST: u64 = 3 * 6 + 1;
/// Messages on their way to the journal: a few windows. With more the broker builds up a queue, and
/// handles what is in it more slowly than what comes.
const AHEAD: u64 = 5000;
/// Messages that are written at once.
const PIECE: u64 = 100;
/// How often it is looked how many were taken.
const LOOK: Duration = Duration::from_micros(200);

pub(crate) fn id(meter: u64) -> String {
    format!("shellyem3-{meter:06X}")
}

pub(crate) fn prefix(meter: u64) -> String {
    format!("shellies/{}", id(meter))
}

/// A value of the length that was recorded, and within the limits of the quantity.
fn value(quantity: &str, round: u64, meter: u64) -> String {
    match quantity {
        "pf" => format!("0.{:02}", (round + meter) % 100),
        "voltage" => format!("{}.{:02}", 220 + (round + meter) % 20, round % 100),
        "current" => format!("{}.{:02}", (round + meter) % 60, round % 100),
        "power" => format!("{}.{:02}", round % 10_000, meter % 100),
        _ => format!("{}.{}", 10_000 + round, meter % 10),
    }
}

/// Calls for each message of some rounds: topic and payload.
fn each(rounds: std::ops::Range<u64>, mut message: impl FnMut(&str, &str)) {
    for round in rounds {
        for meter in 0..METERS {
            let prefix = prefix(meter);
            for phase in 0..3 {
                for (quantity, _, _) in QUANTITIES {
                    let topic = format!("{prefix}/emeter/{phase}/{quantity}");
                    let value = value(quantity, round, meter);
                    message(&topic, &value);
                }
            }
            message(&format!("{prefix}/relay/0"), "off");
        }
    }
}

/// How often each value of one meter must be stored: by phase and field.
pub(crate) type Values = BTreeMap<(u64, String, u64), u64>;

/// What must be stored of one meter.
pub(crate) fn expected(meter: u64, rounds: u64) -> Values {
    let mut values = Values::new();
    for round in 0..rounds {
        for phase in 0..3 {
            for (quantity, _, field) in QUANTITIES {
                let number: f64 = value(quantity, round, meter).parse().unwrap_or(f64::NAN);
                let key = (phase, field.to_owned(), number.to_bits());
                *values.entry(key).or_default() += 1;
            }
        }
    }
    values
}

/// Publishes rounds of all meters at QoS 0; returns how long it took until all of it was taken.
/// `taken` says how many messages were.
pub(crate) fn publish(
    port: u16,
    rounds: u64,
    mut taken: impl FnMut() -> Result<u64>,
) -> Result<Duration> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let mut bytes = BytesMut::new();
    let mut connect = Connect::new("fleet");
    connect.set_login("fleet", "abcd");
    connect.keep_alive = 600;
    connect.write(&mut bytes)?;
    stream.write_all(&bytes)?;
    stream.read_exact(&mut [0; 4])?;
    bytes.clear();
    let mut made: Vec<(Vec<u8>, u64)> = Vec::new();
    let mut count = 0;
    each(0..rounds, |topic, payload| {
        // A String of a few bytes is always written.
        let _ = Publish::new(topic, QoS::AtMostOnce, payload).write(&mut bytes);
        count += 1;
        if count == PIECE {
            made.push((bytes.to_vec(), std::mem::take(&mut count)));
            bytes.clear();
        }
    });
    made.push((bytes.to_vec(), count));
    let begin = Instant::now();
    let mut sent = taken()?;
    for (bytes, count) in made {
        while sent > taken()? + AHEAD {
            std::thread::sleep(LOOK);
        }
        stream.write_all(&bytes)?;
        sent += count;
    }
    let mut since = (Instant::now(), 0);
    loop {
        let now = taken()?;
        if now >= sent {
            return Ok(begin.elapsed());
        }
        if now != since.1 {
            since = (Instant::now(), now);
        }
        let silent = since.0.elapsed();
        ensure!(
            silent < Duration::from_secs(20),
            "of {sent} messages {now} came"
        );
        std::thread::sleep(LOOK);
    }
}
