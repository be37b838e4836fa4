//! The limit of live journaling: the same broker and the same messages, with a reader that
//! acknowledges at once and keeps nothing. What the broker's one thread does not do here, it does
//! not do for a journal either.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Connect, ConnectProperties, Filter, Login, Subscribe};

use crate::measure::{Measure, Part, Plan};
use crate::programs::{QUEUED, free_port, mosquitto};
use crate::{Bench, fleet};

/// As wide as the daemon's.
const WINDOW: u16 = 1000;

pub(crate) fn measure(bench: &Bench, rounds: u64) -> Result<Part> {
    println!("live: without a journal");
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let broker = mosquitto(&bench.mosquitto, port, QUEUED, folder.path())?;
    let taken = Arc::new(AtomicU64::new(0));
    let stream = subscribed(port)?;
    let count = Arc::clone(&taken);
    thread::spawn(move || {
        if let Err(problem) = read(stream, &count) {
            eprintln!("the reader that keeps nothing: {problem:#}");
        }
    });
    let measure = Measure::begin()?.with("mosquitto", &broker, Plan::default())?;
    let time = fleet::publish(port, rounds, || Ok(taken.load(Ordering::Relaxed)))?;
    let title = "the limit of live: broker to a reader that keeps nothing".to_owned();
    measure.end(title, taken.load(Ordering::Relaxed), time)
}

fn subscribed(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let mut hello = BytesMut::new();
    let connect = Connect {
        keep_alive: 600,
        client_id: "peer".to_owned(),
        clean_start: true,
        properties: Some(ConnectProperties {
            receive_maximum: Some(WINDOW),
            ..ConnectProperties::new()
        }),
    };
    connect.write(&None, &Some(Login::new("peer", "abcd")), &mut hello)?;
    let filter = Filter::new("shellies/#", QoS::AtLeastOnce);
    let mut subscribe = Subscribe::new(filter, None);
    subscribe.pkid = 1;
    subscribe.write(&mut hello)?;
    stream.write_all(&hello)?;
    // CONNACK, then SUBACK.
    for _ in 0..2 {
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        stream.read_exact(&mut vec![0; usize::from(head[1])])?;
    }
    Ok(stream)
}

/// Acknowledges all that is there at once, for as long as the broker runs.
fn read(mut stream: TcpStream, taken: &AtomicU64) -> Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let (mut filled, mut acks) = (0, Vec::new());
    loop {
        let room = buffer.get_mut(filled..).context("no room")?;
        // The broker ends before its reader.
        let Ok(read @ 1..) = stream.read(room) else {
            return Ok(());
        };
        filled += read;
        acks.clear();
        let mut at = 0;
        let mut count = 0;
        while let Some((id, length)) = message(buffer.get(at..filled).unwrap_or_default())? {
            acks.extend_from_slice(&[0x40, 2]);
            acks.extend_from_slice(&id);
            at += length;
            count += 1;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        stream.write_all(&acks)?;
        taken.fetch_add(count, Ordering::Relaxed);
    }
}

/// Packet id and length of the message that begins here, when it is here as a whole. Messages of the
/// fleet are shorter than 128 bytes, so that their length is one byte.
fn message(bytes: &[u8]) -> Result<Option<([u8; 2], usize)>> {
    let [kind, length, high, low, rest @ ..] = bytes else {
        return Ok(None);
    };
    ensure!(kind >> 4 == 3 && *length < 128, "something else came");
    let topic = usize::from(u16::from_be_bytes([*high, *low]));
    let whole = usize::from(*length) + 2;
    let id = rest.get(topic..).and_then(|rest| rest.first_chunk());
    Ok(id
        .copied()
        .filter(|_| bytes.len() >= whole)
        .map(|id| (id, whole)))
}
