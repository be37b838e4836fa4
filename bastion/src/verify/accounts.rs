//! Who may log in: the password file lists the manifest's accounts and no other, nobody gets in
//! without one, and the health account does.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet};
use site::account::HEALTH_ACCOUNT;
use site::flow::{MQTT_LOOPBACK_PORT, MQTT_PORT};
use site::manifest::{HEALTH_PASSWORD_PATH, PASSWD_PATH};

use super::Finding;
use crate::host::{Host, read_text};

const PATIENCE: Duration = Duration::from_secs(3);
/// An answer to CONNECT is four bytes.
const ANSWER_LIMIT: usize = 64;

pub(super) fn listed(host: &Host, expected: &[String]) -> Finding {
    let text = read_text(&host.path(PASSWD_PATH))?;
    let found: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    Ok(judge(&found, expected))
}

fn judge(found: &[&str], expected: &[String]) -> Option<String> {
    let there: BTreeSet<&str> = found.iter().copied().collect();
    let wanted: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    let list = |names: Vec<&&str>| names.into_iter().copied().collect::<Vec<_>>().join(", ");
    let mut faults = Vec::new();
    let missing: Vec<_> = wanted.difference(&there).collect();
    if !missing.is_empty() {
        faults.push(format!("no account for {}", list(missing)));
    }
    let foreign: Vec<_> = there.difference(&wanted).collect();
    if !foreign.is_empty() {
        faults.push(format!("accounts that nobody gave: {}", list(foreign)));
    }
    if found.len() > there.len() {
        // The broker would take the last line, and a person would look at the first.
        faults.push("an account has two lines".to_owned());
    }
    (!faults.is_empty()).then(|| faults.join("; "))
}

pub(super) fn anonymous_is_refused() -> Finding {
    for port in [MQTT_PORT, MQTT_LOOPBACK_PORT] {
        if connect(port, Connect::new("anonymous"))? == ConnectReturnCode::Success {
            return Ok(Some(format!("the broker lets anybody in on port {port}")));
        }
    }
    Ok(None)
}

pub(super) fn health_is_accepted(host: &Host) -> Finding {
    let password = read_text(&host.path(HEALTH_PASSWORD_PATH))?;
    let mut request = Connect::new(HEALTH_ACCOUNT);
    request.set_login(HEALTH_ACCOUNT, password.trim_end());
    let answer = connect(MQTT_LOOPBACK_PORT, request)?;
    Ok((answer != ConnectReturnCode::Success).then(|| format!("the broker answers {answer:?}")))
}

fn connect(port: u16, request: Connect) -> Result<ConnectReturnCode> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("connecting to {address}"))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .context("setting a time limit")?;
    let mut bytes = BytesMut::new();
    request.write(&mut bytes).context("writing CONNECT")?;
    stream
        .write_all(&bytes)
        .with_context(|| format!("speaking to {address}"))?;
    let mut answer = BytesMut::new();
    loop {
        match Packet::read(&mut answer, ANSWER_LIMIT) {
            Ok(Packet::ConnAck(answer)) => return Ok(answer.code),
            Ok(other) => bail!("{address} answered CONNECT with {other:?}"),
            Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
            Err(error) => bail!("{address} does not speak MQTT: {error}"),
        }
        let mut chunk = [0; ANSWER_LIMIT];
        let count = stream
            .read(&mut chunk)
            .with_context(|| format!("waiting for {address}"))?;
        match chunk.get(..count) {
            Some([]) | None => bail!("{address} closed the connection without an answer"),
            Some(bytes) => answer.extend_from_slice(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[track_caller]
    fn check(found: &[&str], expected: Option<&str>) {
        assert_eq!(
            judge(found, &["a".to_owned(), "b".to_owned()]).as_deref(),
            expected
        );
    }

    #[test]
    fn the_password_file_lists_the_manifests_accounts() {
        check(&["a", "b"], None);
        check(&["b", "a"], None);
        check(&["a"], Some("no account for b"));
        check(&["a", "b", "c"], Some("accounts that nobody gave: c"));
        check(&["a", "b", "b"], Some("an account has two lines"));
    }
}
