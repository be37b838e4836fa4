//! Which TCP ports are open to other machines: the broker's public one must be, its second
//! listener must not, and nothing else but SSH may.

use std::collections::BTreeSet;

use anyhow::Result;
use site::flow::{MQTT_LOOPBACK_PORT, MQTT_PORT, SSH_PORT};

use super::Finding;
use crate::host::{read_if_present, read_text};

const OPEN: &str = "is open to other machines";

/// A listening socket: its port, and whether only this machine reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Listener {
    port: u16,
    loopback: bool,
}

pub(super) fn check() -> Finding {
    let mut found = listening(&read_text("/proc/net/tcp".as_ref())?)?;
    // Absent when the kernel was started without IPv6.
    if let Some(table) = read_if_present("/proc/net/tcp6".as_ref())? {
        found.extend(listening(&String::from_utf8_lossy(&table))?);
    }
    Ok(judge(&found))
}

fn judge(found: &BTreeSet<Listener>) -> Option<String> {
    let has = |port, loopback| found.contains(&Listener { port, loopback });
    let mut faults = Vec::new();
    if !has(MQTT_PORT, false) {
        faults.push(format!("nobody listens on port {MQTT_PORT}"));
    }
    if !has(MQTT_LOOPBACK_PORT, true) {
        faults.push(format!(
            "nobody listens on port {MQTT_LOOPBACK_PORT} of loopback"
        ));
    }
    for listener in found.iter().filter(|listener| !listener.loopback) {
        if ![MQTT_PORT, SSH_PORT].contains(&listener.port) {
            faults.push(format!("port {} {OPEN}", listener.port));
        }
    }
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// Whether a part of this finding is about a port that is not the bastion's.
pub(super) fn is_foreign(part: &str) -> bool {
    part.ends_with(OPEN)
}

/// Reads `/proc/net/tcp` or `tcp6`: the second column is `ADDRESS:PORT` in hex, each 32-bit
/// word of the address in the machine's byte order; the fourth is the state, `0A` for listening.
fn listening(table: &str) -> Result<BTreeSet<Listener>> {
    let mut found = BTreeSet::new();
    for line in table.lines().skip(1) {
        let mut columns = line.split_whitespace().skip(1);
        let (Some(local), Some("0A")) = (columns.next(), columns.nth(1)) else {
            continue;
        };
        let (address, port) = local.split_once(':').unwrap_or_default();
        let port = u16::from_str_radix(port, 16)?;
        // The last byte of the printed word is the first of the address: 127.0.0.0/8 ends in 7F.
        let v4 = address.len() == 8 && address.ends_with("7F");
        let v6 = address == "00000000000000000000000001000000";
        let mapped = address.starts_with("0000000000000000FFFF0000") && address.ends_with("7F");
        found.insert(Listener {
            port,
            loopback: v4 || v6 || mapped,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{judge, listening};

    const HEADER: &str = "  sl  local_address rem_address   st\n";
    const BROKER: &str =
        "   0: 00000000:075B 00000000:0000 0A\n   1: 0100007F:075C 00000000:0000 0A\n";

    #[track_caller]
    fn check(lines: &str, expected: Option<&str>) {
        let found = listening(&format!("{HEADER}{lines}")).unwrap();
        assert_eq!(judge(&found).as_deref(), expected);
    }

    #[test]
    fn the_broker_and_ssh_are_expected() {
        check(BROKER, None);
        check(
            &format!("{BROKER}   2: 00000000:0016 00000000:0000 0A\n"),
            None,
        );
    }

    #[test]
    fn a_missing_listener_is_a_fault() {
        check(
            "",
            Some("nobody listens on port 1883; nobody listens on port 1884 of loopback"),
        );
    }

    #[test]
    fn another_open_port_is_a_fault_unless_it_is_on_loopback() {
        check(
            &format!("{BROKER}   2: 00000000:006F 00000000:0000 0A\n"),
            Some("port 111 is open to other machines"),
        );
        check(
            &format!("{BROKER}   2: 0100007F:006F 00000000:0000 0A\n"),
            None,
        );
        check(
            &format!("{BROKER}   2: 00000000:006F 0100007F:1234 01\n"),
            None,
        );
        check(
            &format!("{BROKER}   2: 00000000000000000000000001000000:006F 0:0 0A\n"),
            None,
        );
    }

    #[test]
    fn the_second_listener_must_not_be_open_to_others() {
        check(
            "   0: 00000000:075B 00000000:0000 0A\n   1: 00000000:075C 00000000:0000 0A\n",
            Some("nobody listens on port 1884 of loopback; port 1884 is open to other machines"),
        );
    }
}
