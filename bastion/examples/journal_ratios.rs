//! What a journal costs, as ratios, since absolute figures say more about the machine than about the
//! code: bursts of 300 meters with three channels, as they speak, written in groups of one second and
//! in groups of half a window.
//!
//! `cargo run --release -p bastion --example journal_ratios`

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bastion::journal::{Group, Journal, Place, Settings};
use site::record::{ClockSource, Id, Record};

const BOOT: Id = Id([1; 16]);
const MESSAGES: u64 = 200_000;
const SECOND_NS: u64 = 1_000_000_000;

/// The n-th message: 18 in a burst, each meter once in 30 s.
fn message(number: u64) -> (u64, String, String) {
    let (burst, part) = (number / 18, number % 18);
    let (meter, channel) = (burst % 300, part / 6);
    let noise = number.wrapping_mul(6_364_136_223_846_793_005) >> 40;
    let (name, value) = match part % 6 {
        0 => ("power", format!("{}.{:02}", noise % 4000, noise % 97)),
        1 => ("pf", format!("0.{:02}", noise % 100)),
        2 => ("current", format!("{}.{:02}", noise % 16, noise % 100)),
        3 => (
            "voltage",
            format!("2{}.{:02}", 25 + noise % 17, noise % 100),
        ),
        4 => ("total", format!("{}.{}", 400_000 + number, noise % 10)),
        _ => ("total_returned", "1203.4".to_owned()),
    };
    let topic = format!("shellies/shellyem3-AABBCCDD{meter:04}/emeter/{channel}/{name}");
    // Ten bursts a second.
    (burst * SECOND_NS / 10, topic, value)
}

/// Raw bytes, bytes on disk, bytes of all pages, time of writing and of reading.
fn measure(group_size: u64) -> Result<(u64, u64, u64, Duration, Duration)> {
    let folder = tempfile::tempdir()?;
    let (mut journal, _) = Journal::open(folder.path(), Settings::default(), Place(1))?;
    journal.fix_clock(BOOT, 0, ClockSource::Synchronised)?;
    let mut group = Group::new(BOOT, 1);
    let (mut raw, mut packet) = (0, 1_u16);
    let begin = Instant::now();
    for number in 0..MESSAGES {
        let (time_ns, topic, value) = message(number);
        raw += u64::try_from(topic.len() + value.len())?;
        packet = packet.checked_add(1).unwrap_or(1);
        let record = Record::new(time_ns, 0, &topic, value.as_bytes());
        ensure!(
            group.push(&record, packet),
            "a group of {group_size} is too large"
        );
        if u64::from(group.count()) == group_size || number + 1 == MESSAGES {
            journal.append(&group)?;
            group.clear();
        }
    }
    let written = begin.elapsed();
    let (mut reader, mut after, mut pages) = (journal.reader(), 0, 0);
    let begin = Instant::now();
    loop {
        let page = reader.page(1, after, 64 * 1024)?;
        if page.is_empty {
            break;
        }
        pages += u64::try_from(page.bytes.len())?;
        after = page.last;
    }
    ensure!(after == MESSAGES, "{after} of {MESSAGES} were read");
    Ok((raw, journal.extent().bytes, pages, written, begin.elapsed()))
}

fn main() -> Result<()> {
    println!(
        "{:>22} {:>12} {:>13} {:>17}",
        "messages in a group", "disk / raw", "pages / raw", "writing / reading"
    );
    for group_size in [25, 180, 500] {
        let (raw, disk, pages, written, read) = measure(group_size).context("measuring")?;
        let percent = |bytes: u64| format!("{} %", bytes * 100 / raw.max(1));
        let ratio = written.as_micros() / read.as_micros().max(1);
        println!(
            "{group_size:>22} {:>12} {:>13} {:>17}",
            percent(disk),
            percent(pages),
            ratio
        );
    }
    Ok(())
}
