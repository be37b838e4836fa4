//! What may be missing after the broker was replaced, which keeps nothing on disk: by the fleet's own
//! record of what was in doubt, and by when the broker had something that nobody else had. Everything
//! else is a broken promise.

use actors::ledger::{Line, Value};

use super::{Difference, Reading, Readings};

/// What is missing, sorted by the fleet's record.
#[derive(Debug, Default)]
pub struct Missing {
    /// Sent on a connection that broke before an answer vouched for it.
    pub never_vouched: usize,
    /// The broker had it, or the new one took it before anybody heard it.
    pub with_the_broker: usize,
    /// Anything else.
    pub unexplained: Vec<String>,
}

/// From when to when, in ns since 1970.
pub type Gap = (u64, u64);

/// Sorts what is missing when the broker lost at most what came in these gaps.
#[must_use]
pub fn excuse(difference: &Difference, ledger: &[Line], gaps: &[Gap]) -> Missing {
    let mut missing = Missing::default();
    for ((device, at_ns), words) in difference.lost_at.iter().zip(&difference.lost) {
        let in_doubt = ledger.iter().any(|line| match line {
            Line::Lost(lost) => {
                lost.device == *device && (lost.lost_from_ns..=lost.lost_to_ns).contains(at_ns)
            }
            Line::Entry(_) => false,
        });
        if in_doubt {
            missing.never_vouched += 1;
        } else if gaps.iter().any(|gap| (gap.0..=gap.1).contains(at_ns)) {
            missing.with_the_broker += 1;
        } else {
            missing.unexplained.push(words.clone());
        }
    }
    missing
}

/// Takes out what no meter says itself: the broker says it in its name when a connection ends. Gives
/// how many there were.
pub fn take_wills(stored: &mut Readings, sent: &Readings) -> usize {
    let is_offline = |reading: &Reading| reading.value == Value::Truth(false);
    let mut wills = 0;
    for (series, list) in stored.iter_mut().filter(|(series, _)| series.3 == "online") {
        let said_itself = |said: &Vec<Reading>| said.iter().any(is_offline);
        if sent.get(series).is_some_and(said_itself) {
            continue;
        }
        let before = list.len();
        list.retain(|reading| !is_offline(reading));
        wills += before - list.len();
    }
    stored.retain(|_, list| !list.is_empty());
    wills
}

#[cfg(test)]
mod tests {
    use actors::ledger::Lost;

    use super::*;

    #[test]
    fn what_nobody_can_explain_is_not_explained() {
        let difference = Difference {
            lost: ["a", "b", "c", "d"].map(str::to_owned).into(),
            lost_at: [("m", 5), ("m", 20), ("m", 40), ("n", 5)]
                .map(|(device, at)| (device.to_owned(), at))
                .into(),
            ..Difference::default()
        };
        let ledger = [Line::Lost(Lost {
            device: "m".to_owned(),
            lost_from_ns: 1,
            lost_to_ns: 10,
            reason: "closed".to_owned(),
        })];
        let missing = excuse(&difference, &ledger, &[(15, 18), (20, 25)]);
        assert_eq!((missing.never_vouched, missing.with_the_broker), (1, 1));
        assert_eq!(missing.unexplained, ["c", "d"]);
    }
}
