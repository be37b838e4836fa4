//! The bastion's verdict on itself, from one run of the timer to the next: kept in memory, and told
//! to readers when it is another than they know.
//!
//! Each start of the machine begins anew, so that readers hear of it. Nothing is retained by the
//! broker: who is not connected hears the next change, and `status` tells how it stands.

use std::fs::File;
use std::io::Read as _;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use site::account::VERDICT_TOPIC;
use site::answer::{Report, Verified};
use tracing::{info, warn};

use crate::durable;
use crate::host::Host;
use crate::verify::mqtt;

/// In memory, for root alone.
const KEPT_PATH: &str = "/run/shelly-bastion-verdict.json";
/// Bytes: a verdict is bounded.
const LONGEST: u64 = 64 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// What the last run found.
    last: Verified,
    /// What readers know; none as long as nothing could be told.
    told: Option<Verified>,
}

/// Keeps what was found, and tells readers if it is news. The lock must be held.
///
/// # Errors
/// When it cannot be kept. What cannot be told is told by the next run.
pub(crate) fn keep(host: &Host, report: &Report) -> Result<()> {
    let say = |message: &str| mqtt::tell(host, VERDICT_TOPIC, message);
    keep_and(host, report, say)
}

fn keep_and(host: &Host, report: &Report, say: impl Fn(&str) -> Result<()>) -> Result<()> {
    let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let last = Verified::of(report, at);
    let mut told = kept(host).and_then(|kept| kept.told);
    if !told.as_ref().is_some_and(|told| told.is_as(&last)) {
        let message = serde_json::to_string(&last).context("writing the verdict")?;
        match say(&message) {
            Ok(()) => {
                info!("told readers: {last}");
                told = Some(last.clone());
            }
            Err(error) => warn!("readers could not be told of the verdict: {error:#}"),
        }
    }
    let kept = serde_json::to_vec(&Kept { last, told }).context("writing the verdict")?;
    durable::write_private(host, &host.path(KEPT_PATH), &kept).context("keeping the verdict")
}

/// What the last run found, if there was one since the start.
pub(crate) fn last(host: &Host) -> Option<Verified> {
    kept(host).map(|kept| kept.last)
}

/// What is no verdict counts as none: the next run writes one.
fn kept(host: &Host) -> Option<Kept> {
    let file = File::open(host.path(KEPT_PATH)).ok()?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::bail;
    use site::answer::{Report, Verdict, Verified};

    use super::{KEPT_PATH, keep_and, last};
    use crate::fake::Machine;

    fn report(broken: bool) -> Report {
        let mut report = Report::default();
        report.add("files", Ok::<_, &str>(None));
        report.add(
            "firewall",
            Ok::<_, &str>(broken.then(|| "changed".to_owned())),
        );
        report
    }

    #[test]
    fn a_change_is_told_once_and_what_could_not_be_told_is_told_later() {
        let machine = Machine::new();
        let told = RefCell::new(Vec::new());
        let run = |broken: bool, reachable: bool| {
            keep_and(&machine.host, &report(broken), |message| {
                if !reachable {
                    bail!("no broker");
                }
                let message: Verified = serde_json::from_str(message)?;
                told.borrow_mut().push(message.verdict);
                Ok(())
            })
            .unwrap();
            let kept = last(&machine.host).unwrap();
            assert_eq!(kept.verdict == Verdict::Broken, broken);
            told.borrow().clone()
        };
        assert!(last(&machine.host).is_none());
        let (held, broken) = (Verdict::Held, Verdict::Broken);
        assert_eq!(run(false, false), []);
        assert_eq!(run(false, true), [held]);
        assert_eq!(run(false, true), [held]);
        assert_eq!(run(true, false), [held]);
        assert_eq!(run(true, true), [held, broken]);
        assert_eq!(run(true, true), [held, broken]);
        assert_eq!(run(false, true), [held, broken, held]);
        machine.write(KEPT_PATH, "{\"last\": 1");
        assert!(last(&machine.host).is_none());
        assert_eq!(run(false, true), [held, broken, held, held]);
    }
}
