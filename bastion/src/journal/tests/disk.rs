//! 7. A full disk: on a small file system of its own, which takes root to mount.

use std::io::Write as _;
use std::process::Command;

use super::*;

/// A file system in memory, of so many KiB.
struct Small {
    folder: tempfile::TempDir,
}

impl Small {
    fn mount(kib: u32) -> Option<Small> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Small { folder });
        }
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        // The test runner swallows what a passing test prints, and a skipped check must be seen.
        let why = "a small file system can be mounted by root only";
        let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
        None
    }

    fn journal(&self) -> std::path::PathBuf {
        self.folder.path().join("journal")
    }

    /// Takes all the room that is left.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.folder.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).status();
    }
}

#[test]
fn a_disk_that_fills_under_load_makes_room_for_what_comes() {
    let Some(small) = Small::mount(400) else {
        return;
    };
    let folder = small.journal();
    let (mut journal, _) = Journal::open(&folder, settings(), PLACE).unwrap();
    journal
        .fix_clock(BOOT, 0, ClockSource::Synchronised)
        .unwrap();
    // More than the disk takes, several times.
    for _ in 0..3000 {
        let next = journal.extent().newest + 1;
        journal.append(&group(next..next + 100)).unwrap();
    }
    let extent = journal.extent();
    assert_eq!(extent.newest, 300_000);
    assert!(extent.trimmed > 100_000, "{extent:?}");
    let all = read(&journal, 0);
    assert_eq!(
        (all.records, all.lost),
        (expected(extent.oldest..300_001, 0), vec![])
    );
    drop(journal);
    let (journal, recovered) = Journal::open(&folder, settings(), PLACE).unwrap();
    assert_eq!(recovered.damaged, 0);
    assert_eq!(
        read(&journal, 0).records,
        expected(extent.oldest..300_001, 0)
    );
}

#[test]
fn a_full_disk_is_said_and_what_could_not_be_written_can_be_tried_again() {
    let Some(small) = Small::mount(400) else {
        return;
    };
    let settings = Settings {
        segment_bytes: 1 << 20,
        ..settings()
    };
    let (mut journal, _) = Journal::open(&small.journal(), settings, PLACE).unwrap();
    journal
        .fix_clock(BOOT, 0, ClockSource::Synchronised)
        .unwrap();
    let ballast = small.fill();
    let failure = loop {
        let next = journal.extent().newest + 1;
        if let Err(failure) = journal.append(&group(next..next + 100)) {
            break failure;
        }
    };
    assert!(failure.is_full(), "{failure}");
    let newest = journal.extent().newest;
    assert_eq!(read(&journal, 0).records, expected(1..newest + 1, 0));
    fs::remove_file(ballast).unwrap();
    write(&mut journal, 1, 100);
    assert_eq!(read(&journal, 0).records, expected(1..newest + 101, 0));
}

#[test]
fn the_reserve_is_given_up_on_a_full_disk_and_set_aside_again() {
    let Some(small) = Small::mount(600) else {
        return;
    };
    let settings = Settings {
        segment_bytes: 1 << 20,
        reserve_bytes: 200 * 1024,
        ..settings()
    };
    let (mut journal, _) = Journal::open(&small.journal(), settings, PLACE).unwrap();
    let reserve = small.journal().join("reserve");
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 200 * 1024);
    let ballast = small.fill();
    // More than the room made ahead.
    write(&mut journal, 100, 100);
    assert!(!reserve.exists());
    fs::remove_file(ballast).unwrap();
    journal.trim(None);
    assert!(reserve.exists());
}

#[test]
fn a_journal_opens_on_a_full_disk() {
    let Some(small) = Small::mount(400) else {
        return;
    };
    let (mut journal, _) = Journal::open(&small.journal(), settings(), PLACE).unwrap();
    journal
        .fix_clock(BOOT, 0, ClockSource::Synchronised)
        .unwrap();
    write(&mut journal, 40, 25);
    let identity = journal.extent().journal;
    drop(journal);
    small.fill();
    // A copy, so that something has to be written.
    let (mut journal, recovered) = Journal::open(&small.journal(), settings(), Place(9)).unwrap();
    assert_eq!(recovered.origin, Origin::Copy);
    assert_ne!(journal.extent().journal, identity);
    let next = journal.extent().newest + 1;
    journal.append(&group(next..next + 25)).unwrap();
    let oldest = journal.extent().oldest;
    assert_eq!(read(&journal, 0).records, expected(oldest..next + 25, 0));
}
