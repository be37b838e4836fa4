//! 8. Damage never keeps the daemon from starting, and costs no more than the frames it is in.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::segment::Head;
use super::*;

/// A journal, kept in memory so that each kind of damage begins from it.
struct Original {
    identity: Vec<u8>,
    files: Vec<(String, Vec<u8>)>,
    newest: u64,
    groups: u64,
}

impl Original {
    fn new(groups: u64, size: u64) -> Original {
        let folder = tempfile::tempdir().unwrap();
        drop(written(folder.path(), groups, size));
        let mut files: Vec<(String, Vec<u8>)> = segments(folder.path())
            .iter()
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(path).unwrap())
            })
            .collect();
        // Room made ahead is not looked at here.
        let newest = files.last_mut().unwrap();
        let end = newest.1.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        newest.1.truncate(end);
        Original {
            identity: fs::read(folder.path().join("identity")).unwrap(),
            files,
            newest: groups * size,
            groups: size,
        }
    }

    /// The folder with something done to one of its segments.
    fn damaged(
        &self,
        file: usize,
        damage: impl FnOnce(&mut Vec<u8>),
    ) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("identity"), &self.identity).unwrap();
        let mut damage = Some(damage);
        for (place, (name, content)) in self.files.iter().enumerate() {
            let mut content = content.clone();
            if place == file
                && let Some(damage) = damage.take()
            {
                damage(&mut content);
            }
            fs::write(folder.path().join(name), content).unwrap();
        }
        let path = folder.path().join(&self.files[file].0);
        (folder, path)
    }

    /// Opens what is damaged, goes on writing, and reads all: records are as they were or missing,
    /// at most so many groups of them, each missing number is accounted for, and none is used twice.
    #[track_caller]
    fn check(&self, folder: &Path, most_groups: u64, what: &str) {
        let (mut journal, _) = open(folder);
        let next = journal.extent().newest + 1;
        let mut again = group(next..next + 3);
        again.boot = BOOT;
        journal.append(&again).unwrap();
        journal
            .fix_clock(BOOT, 0, ClockSource::Synchronised)
            .unwrap();
        let all = read(&journal, 0);
        let numbers: BTreeSet<u64> = all.numbers().into_iter().collect();
        assert_eq!(
            numbers.len(),
            all.records.len(),
            "{what}: a number came twice"
        );
        for record in &all.records {
            let as_it_was = expected(record.0..record.0 + 1, 0);
            assert_eq!(std::slice::from_ref(record), as_it_was, "{what}");
        }
        // Records and lost numbers, in order, leave nothing out.
        let mut ranges: Vec<(u64, u64)> = numbers.iter().map(|number| (*number, 1)).collect();
        ranges.extend(all.lost.iter().map(|(first, count, _)| (*first, *count)));
        ranges.sort_unstable();
        let mut upto = journal.extent().oldest;
        for (first, count) in ranges {
            assert_eq!(first, upto, "{what}: not accounted for, or twice");
            upto = first + count;
        }
        assert_eq!(upto, next + 3, "{what}: not accounted for");
        let missing = (1..=self.newest)
            .filter(|number| !numbers.contains(number))
            .count();
        let most = most_groups * self.groups;
        assert!(
            u64::try_from(missing).unwrap() <= most,
            "{what}: {missing} are missing"
        );
    }
}

/// One byte at each place of a small journal.
#[test]
fn a_wrong_byte_anywhere_costs_one_group() {
    let original = Original::new(4, 5);
    assert_eq!(original.files.len(), 1);
    for place in 0..original.files[0].1.len() {
        let (folder, _) = original.damaged(0, |content| content[place] ^= 0x5a);
        original.check(folder.path(), 1, &format!("byte {place}"));
    }
}

/// Cut at each place of a small journal: what stands before is there.
#[test]
fn a_torn_end_costs_what_is_behind_it() {
    let original = Original::new(4, 5);
    let length = original.files[0].1.len();
    for place in 0..length {
        let (folder, _) = original.damaged(0, |content| content.truncate(place));
        let groups = if place < length / 2 { 4 } else { 3 };
        original.check(folder.path(), groups, &format!("cut at {place}"));
    }
}

/// Numbers as `rand` would give, the same in each run.
fn numbers(seed: u64) -> impl Iterator<Item = usize> {
    (0_u64..).map(move |step| {
        let bytes = [seed.to_le_bytes(), step.to_le_bytes()].concat();
        usize::try_from(site::record::checksum(&bytes) >> 16).unwrap()
    })
}

#[test]
fn random_damage_in_a_large_journal_costs_what_it_hits() {
    let original = Original::new(60, 25);
    let count = original.files.len();
    assert!(count > 3);
    let mut random = numbers(1);
    let mut draw = || random.next().unwrap();
    for round in 0..200 {
        let file = draw() % count;
        let (folder, _) =
            original.damaged(file, |content| content.truncate(draw() % content.len()));
        original.check(folder.path(), 60, &format!("{round}: truncated"));
        let (folder, _) = original.damaged(file, |content| {
            for _ in 0..3 {
                let place = draw() % content.len();
                content[place] ^= 1 << (draw() % 8);
            }
        });
        original.check(folder.path(), 3, &format!("{round}: three bits"));
        let (folder, _) = original.damaged(file, |content| {
            let from = draw() % content.len();
            let to = (from + 700).min(content.len());
            content[from..to].fill(0);
        });
        original.check(folder.path(), 6, &format!("{round}: zeros"));
    }
}

#[test]
fn a_missing_segment_costs_its_records_and_is_accounted_for() {
    let original = Original::new(60, 25);
    let (folder, path) = original.damaged(1, |_| {});
    fs::remove_file(path).unwrap();
    original.check(folder.path(), 30, "the second of them");
    let (folder, path) = original.damaged(1, |_| {});
    fs::write(path, []).unwrap();
    original.check(folder.path(), 30, "an empty file");
    let last = original.files.len() - 1;
    let (folder, path) = original.damaged(last, |_| {});
    fs::write(path, vec![0; 5000]).unwrap();
    original.check(folder.path(), 30, "the last one in zeros");
}

#[test]
fn nonsense_in_the_folder_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let before = read(&written(folder.path(), 3, 5), 0);
    fs::write(folder.path().join("identity"), "{").unwrap();
    fs::write(folder.path().join("readers"), "[1,").unwrap();
    fs::write(folder.path().join("notes.txt"), "hello").unwrap();
    fs::write(folder.path().join("1.segment"), "hello").unwrap();
    fs::write(
        folder.path().join(format!("{:020}.segment", 99_999)),
        "hello",
    )
    .unwrap();
    let (mut journal, recovered) = open(folder.path());
    assert_eq!(recovered.origin, Origin::New);
    assert!(recovered.damaged > 0);
    assert_eq!(read(&journal, 0).records, before.records);
    let committed = journal.append(&group(1..2)).unwrap();
    assert!(committed.first > 99_999);
}

/// A meter sends what looks like a frame, and the header before it is damaged.
#[test]
fn a_message_that_looks_like_a_frame_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = written(folder.path(), 1, 5);
    let mut forged = Vec::new();
    let inner = group(900..903).encode(&mut Vec::new());
    for salt in [0, 1, journal.extent().newest] {
        forged.extend(frame::encode(Kind::Group, 6, 3, &inner, salt));
    }
    let head = Head {
        salt: 0,
        begun_ns: 0,
        boots: vec![],
    };
    forged.extend(frame::encode(Kind::Head, 6, 0, &head.encode(), 0));
    let mut group = Group::new(BOOT, 1);
    assert!(group.push(&Record::new(6_000_000, 0, "a/b", &forged), 1));
    journal.append(&group).unwrap();
    drop(journal);
    let path = &segments(folder.path())[0];
    let mut content = fs::read(path).unwrap();
    let place = content.windows(4).enumerate();
    let frames: Vec<usize> = place
        .filter(|(_, bytes)| bytes == b"SBJ1")
        .map(|(at, _)| at)
        .collect();
    // Head, clock, two groups, and at least one forged one that compression left alone.
    assert!(frames.len() > 4, "{frames:?}");
    content[frames[3] + 9] ^= 1;
    fs::write(path, content).unwrap();
    let (journal, _) = open(folder.path());
    assert_eq!(read(&journal, 0).records, expected(1..6, 0));
}
