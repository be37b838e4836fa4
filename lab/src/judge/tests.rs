//! The judge must find each kind of fault, and nothing where there is none.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn readings(list: &[(u64, f64)]) -> Readings {
    let series = (
        "meter".to_owned(),
        "power".to_owned(),
        Some("0".to_owned()),
        "active_w".to_owned(),
    );
    let list = list
        .iter()
        .map(|(at, value)| Reading {
            at_ns: *at,
            value: Sent::Number(*value),
        })
        .collect();
    Readings::from([(series, list)])
}

#[track_caller]
fn check(sent: &[(u64, f64)], stored: &[(u64, f64)], expected: &str) {
    let difference = compare(&readings(sent), &readings(stored));
    let text = difference.to_string();
    assert_eq!(text.lines().next().unwrap_or_default(), expected, "{text}");
    let same = expected.contains("0 lost, 0 doubled, 0 moved, 0 invented");
    assert_eq!(difference.is_none(), same && difference.compared > 0);
}

const T: u64 = 1_700_000_000 * SECOND;

#[test]
fn equal_sets_do_not_differ() {
    check(
        &[(T, 1.5), (T + SECOND, 2.5)],
        &[(T + 3_000_000, 1.5), (T + SECOND, 2.5)],
        "2 readings compared: 0 lost, 0 doubled, 0 moved, 0 invented; largest shift 3 ms",
    );
}

#[test]
fn nothing_sent_proves_nothing() {
    check(
        &[],
        &[],
        "0 readings compared: 0 lost, 0 doubled, 0 moved, 0 invented; largest shift 0 ms",
    );
}

#[test]
fn each_fault_is_called_by_its_name() {
    let sent = [(T, 1.5), (T + 3 * SECOND, 2.5)];
    check(
        &sent,
        &[(T, 1.5)],
        "2 readings compared: 1 lost, 0 doubled, 0 moved, 0 invented; largest shift 0 ms",
    );
    check(
        &sent,
        &[(T, 1.5), (T + 2 * SECOND, 1.5), (T + 3 * SECOND, 2.5)],
        "2 readings compared: 0 lost, 1 doubled, 0 moved, 0 invented; largest shift 0 ms",
    );
    check(
        &sent,
        &[(T + 2 * SECOND, 1.5), (T + 3 * SECOND, 2.5)],
        "2 readings compared: 0 lost, 0 doubled, 1 moved, 0 invented; largest shift 0 ms",
    );
    check(
        &sent,
        &[(T, 1.5), (T + 3 * SECOND, 2.5), (T, 9.0)],
        "2 readings compared: 0 lost, 0 doubled, 0 moved, 1 invented; largest shift 0 ms",
    );
    // A unit that is wrong by a factor is a reading lost and one invented.
    check(
        &sent,
        &[(T, 1500.0), (T + 3 * SECOND, 2.5)],
        "2 readings compared: 1 lost, 0 doubled, 0 moved, 1 invented; largest shift 0 ms",
    );
}

/// The first is missing; the second, of the same value, is there.
#[test]
fn a_missing_reading_takes_nobody_elses() {
    let sent = readings(&[(T, 0.9), (T + SECOND / 2, 0.9)]);
    let difference = compare(&sent, &readings(&[(T + SECOND / 2, 0.9)]));
    assert_eq!(difference.lost_at, [("meter".to_owned(), T)]);
    assert_eq!(difference.largest_shift_ns, 0);
}

#[test]
fn a_database_answer_becomes_readings() {
    let answer = serde_json::json!({"results": [{"series": [{
        "name": "power",
        "tags": {"device": "meter", "channel": "0", "site": "lab"},
        "columns": ["time", "active_w", "pf"],
        "values": [[T, 1.5, null]]
    }]}]});
    assert_eq!(stored(&answer).unwrap(), readings(&[(T, 1.5)]));
}
