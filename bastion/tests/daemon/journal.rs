//! A process that is killed while it writes keeps what it said is on disk.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use bastion::journal::{Group, Journal, Place, Settings};
use site::record::{ClockSource, Id, Page, Part, Record};

const FOLDER: &str = "BASTION_TEST_JOURNAL";
const BOOT: Id = Id([3; 16]);

fn open(folder: &std::path::Path) -> Journal {
    let settings = Settings {
        segment_bytes: 64 * 1024,
        keep_free: 0,
        reserve_bytes: 0,
        ..Settings::default()
    };
    Journal::open(folder, settings, Place(1)).unwrap().0
}

/// No test: what [`a_writer_killed_at_any_moment_keeps_what_it_said`] starts as a process.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let mut journal = open(folder.as_ref());
    journal
        .fix_clock(BOOT, 0, ClockSource::Synchronised)
        .unwrap();
    loop {
        let next = journal.extent().newest + 1;
        let mut group = Group::new(BOOT, 1);
        for number in next..next + next % 90 + 1 {
            let payload = number.to_string();
            assert!(group.push(&Record::new(number, 0, "a/b", payload.as_bytes()), 1));
        }
        let committed = journal.append(&group).unwrap();
        // Not println!: the test runner would keep it for itself.
        writeln!(std::io::stdout(), "committed {}", committed.last).unwrap();
    }
}

#[test]
fn a_writer_killed_at_any_moment_keeps_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = 0;
    for round in 0..25_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::writer", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.find_map(|line| number(&line.unwrap()));
        said = first.unwrap();
        std::thread::sleep(Duration::from_millis(round * 7 % 40));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it was killed is still in the pipe; a last line may be torn.
        for line in lines.map_while(Result::ok) {
            said = number(&line).map_or(said, |number| number.max(said));
        }
        let journal = open(folder.path());
        let extent = journal.extent();
        assert!(extent.newest >= said, "{} of {said}", extent.newest);
        drop(journal);
    }
    let journal = open(folder.path());
    let numbers = read(&journal);
    assert_eq!(numbers, (1..=journal.extent().newest).collect::<Vec<_>>());
    assert!(said > 1000, "{said} shows little");
}

fn number(line: &str) -> Option<u64> {
    line.rsplit_once("committed ")?.1.parse().ok()
}

/// All records, each checked: its payload is its number.
fn read(journal: &Journal) -> Vec<u64> {
    let (mut reader, mut raw, mut numbers) = (journal.reader(), Vec::new(), Vec::new());
    let mut after = 0;
    loop {
        let served = reader.page(1, after, 64 * 1024).unwrap();
        if served.is_empty {
            return numbers;
        }
        for part in &Page::decode(&served.bytes).unwrap().parts {
            if let Part::Group(group) = part {
                for (record, number) in group.block.records(&mut raw).unwrap().zip(group.first..) {
                    assert_eq!(record.unwrap().payload, number.to_string().as_bytes());
                    numbers.push(number);
                }
            }
        }
        after = served.last;
    }
}
