//! Letters in, files out.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn letter(payload: &[u8]) -> Letter {
    Letter {
        time_ns: 5,
        meter: Some("shellyem-D3B45C".to_owned()),
        topic: "shellies/shellyem-D3B45C/emeter/0/power".to_owned(),
        payload: payload.to_vec(),
        reason: "\"x\" is not a number".to_owned(),
    }
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[track_caller]
fn check(payload: &[u8], expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut letters = DeadLetters::open(folder.path(), LARGEST_FILE).unwrap();
    letters.keep(&[letter(payload)]).unwrap();
    let line = format!(
        r#"{{"time_ns":5,"meter":"shellyem-D3B45C","topic":"shellies/shellyem-D3B45C/emeter/0/power",{expected},"reason":"\"x\" is not a number"}}"#
    );
    assert_eq!(read(folder.path(), "dead-letters.jsonl"), line + "\n");
}

#[test]
fn a_letter_is_one_line() {
    check(b"x", r#""payload":"x""#);
    check(b"a\nb\"", r#""payload":"a\nb\"""#);
    check(b"", r#""payload":"""#);
    check(b"\xff\x00", r#""payload_base64":"/wA=""#);
}

#[test]
fn letters_are_private_and_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    for payload in [b"1", b"2"] {
        let mut letters = DeadLetters::open(folder.path(), LARGEST_FILE).unwrap();
        letters.keep(&[letter(payload)]).unwrap();
    }
    let path = folder.path().join("dead-letters.jsonl");
    assert_eq!(read(folder.path(), "dead-letters.jsonl").lines().count(), 2);
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_torn_record_does_not_swallow_the_next() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("dead-letters.jsonl"),
        "{\"time_ns\":1,\"to",
    )
    .unwrap();
    let mut letters = DeadLetters::open(folder.path(), LARGEST_FILE).unwrap();
    letters.keep(&[letter(b"x")]).unwrap();
    let text = read(folder.path(), "dead-letters.jsonl");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "{\"time_ns\":1,\"to");
    assert!(lines[1].starts_with("{\"time_ns\":5"), "{text}");
}

#[test]
fn space_is_bounded_and_what_is_overwritten_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let one = u64::try_from(record(&letter(b"0")).unwrap().len()).unwrap();
    let mut letters = DeadLetters::open(folder.path(), 2 * one).unwrap();
    let all: Vec<Letter> = (0..7).map(|n| letter(n.to_string().as_bytes())).collect();
    letters.keep(&all).unwrap();
    // 0 to 3 are gone, 4 and 5 are old, 6 is current.
    assert_eq!(letters.overwritten(), 4);
    assert_eq!(
        read(folder.path(), "dead-letters.old.jsonl")
            .lines()
            .count(),
        2
    );
    let current = read(folder.path(), "dead-letters.jsonl");
    assert!(current.contains(r#""payload":"6""#), "{current}");
    assert_eq!(current.lines().count(), 1);
}
