//! Whether somebody asks at the machine's own console.
//!
//! Judged by who started us: one of them sits at a terminal of the machine itself (screen and
//! keyboard, or a serial line), and none of them is an SSH server. The environment says nothing:
//! sudo clears it, and anybody may set it. This keeps a person from opening by mistake over the
//! network; it is no barrier against root, who can change the rules anyway.

use anyhow::{Result, bail};
use rustix::process::getpid;

use crate::process::{self, Process};

const SERVERS: [&str; 3] = ["sshd", "sshd-session", "dropbear"];
/// Nobody has more ancestors, unless the numbers changed while we looked.
const MOST: usize = 64;

/// # Errors
/// When it is asked from elsewhere; the message says where to go.
pub(super) fn ensure_here() -> Result<()> {
    let mut found = Vec::new();
    let mut next = process::find(getpid().as_raw_nonzero().get());
    while let Some(process) = next {
        next = process::find(process.parent);
        found.push(process);
        if found.len() >= MOST {
            break;
        }
    }
    judge(&found)
}

fn judge(ancestors: &[Process]) -> Result<()> {
    let remedy = "log in at the bastion's own screen and keyboard or serial line, or put an empty \
                  file shelly-bastion-open on the boot partition of its card and start it again";
    if let Some(server) = ancestors
        .iter()
        .find(|process| SERVERS.contains(&process.name.as_str()))
    {
        bail!(
            "this was asked over the network, through {}; {remedy}",
            server.name
        );
    }
    // sudo gives what it starts a terminal of its own, so any of them will do.
    if !ancestors.iter().any(|process| is_console(process.terminal)) {
        bail!("this was not asked at the console; {remedy}");
    }
    Ok(())
}

/// Major numbers of `Documentation/admin-guide/devices.txt`: screen and 8250 serial lines,
/// ttyAMA, hvc.
fn is_console(terminal: i32) -> bool {
    matches!((terminal >> 8) & 0xfff, 4 | 204 | 229)
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::process::Process;

    const SCREEN: i32 = 4 << 8 | 1;
    const SERIAL: i32 = 204 << 8 | 64;
    const PSEUDO: i32 = 136 << 8;

    #[track_caller]
    fn check(ancestors: &[(&str, i32)], says: Option<&str>) {
        let ancestors: Vec<Process> = ancestors
            .iter()
            .map(|(name, terminal)| Process {
                pid: 2,
                name: (*name).to_owned(),
                parent: 1,
                group: 2,
                terminal: *terminal,
                started: 1,
            })
            .collect();
        let said = judge(&ancestors).map_err(|error| error.to_string());
        match says {
            None => assert_eq!(said, Ok(())),
            Some(words) => assert!(said.unwrap_err().contains(words)),
        }
    }

    #[test]
    fn the_console_is_where_somebody_sits() {
        check(
            &[("bastion", SCREEN), ("bash", SCREEN), ("login", SCREEN)],
            None,
        );
        check(
            &[("bastion", PSEUDO), ("sudo", SERIAL), ("bash", SERIAL)],
            None,
        );
    }

    #[test]
    fn the_network_is_elsewhere() {
        check(
            &[("bastion", PSEUDO), ("sudo", PSEUDO), ("sshd", 0)],
            Some("through sshd; log in at"),
        );
        check(
            &[("bastion", 0), ("sshd-session", 0)],
            Some("through sshd-session"),
        );
        // A multiplexer that somebody started over SSH is nobody's child any more.
        check(
            &[("bastion", PSEUDO), ("tmux: server", 0)],
            Some("not asked at the console"),
        );
        check(&[], Some("not asked at the console"));
    }
}
