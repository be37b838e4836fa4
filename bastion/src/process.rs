//! Processes and boots, told apart from others that had the same number.

use std::fs;

use rustix::process::{Pid, Signal, getpid, kill_process, setpgid};
use tracing::{info, warn};

use crate::host::read_text;

/// One process, as `/proc/PID/stat` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// Number of its controlling terminal; 0 for none.
    pub(crate) terminal: i32,
    /// Ticks of the kernel's clock at which it began.
    pub(crate) started: u64,
}

/// Leaves the group of whoever started us: what ends that group must not end a change half done.
/// The programs that we start stay with us.
pub(crate) fn lead_a_group() {
    if let Err(error) = setpgid(None, None) {
        // A leader of a session leads its group already.
        info!("staying in the group: {error}");
    }
}

/// This process, and when it began.
pub(crate) fn own() -> (i32, u64) {
    let pid = getpid().as_raw_nonzero().get();
    (pid, find(pid).map_or(0, |process| process.started))
}

/// Ends all processes of the group that a process of this boot led, if any is left.
pub(crate) fn end_group(leader: i32, started: u64, in_boot: &str) {
    let own = getpid().as_raw_nonzero().get();
    if in_boot != boot() {
        return;
    }
    let same_leader = find(leader).is_none_or(|process| process.started == started);
    for process in all() {
        if process.group != leader || process.pid == own || process.started < started {
            continue;
        }
        // Another leader of that number means another group.
        if !same_leader {
            return;
        }
        if let Some(pid) = Pid::from_raw(process.pid) {
            warn!(pid = process.pid, name = %process.name, "ending the run that takes too long");
            // It may have ended by itself in this moment.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// One process, if there is one of this number.
pub(crate) fn find(pid: i32) -> Option<Process> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(find)
        .collect()
}

/// The identity of this boot; empty where the kernel tells none.
pub(crate) fn boot() -> String {
    let path = "/proc/sys/kernel/random/boot_id";
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Seconds since boot, by a clock that nobody sets.
pub(crate) fn uptime_s() -> u64 {
    let text = read_text("/proc/uptime".as_ref()).unwrap_or_default();
    text.split('.')
        .next()
        .and_then(|whole| whole.parse().ok())
        .unwrap_or_default()
}

/// `pid (name) state parent group session terminal …`; the name may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<i32>().ok();
    Some(Process {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        parent: number(1)?,
        group: number(2)?,
        terminal: number(4)?,
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Process, own, parse};

    #[test]
    fn a_name_may_hold_anything() {
        let rest = "S 1 12 12 34816 12 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        for name in ["bastion", "a (b) c", ") S 9 9", ""] {
            let found = parse(&format!("12 ({name}) {rest}")).unwrap();
            let expected = Process {
                pid: 12,
                name: name.to_owned(),
                parent: 1,
                group: 12,
                terminal: 34816,
                started: 4711,
            };
            assert_eq!(found, expected);
        }
        assert_eq!(parse(""), None);
        assert_eq!(parse("12 (x) S"), None);
    }

    #[test]
    fn this_process_began_some_time() {
        assert!(own().1 > 0);
    }
}
