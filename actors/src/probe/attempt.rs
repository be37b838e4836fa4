//! One attempted connection and what came of it.
//!
//! The kernel turns a refusal into an error number, and so much can be told apart:
//! - `refused`, ECONNREFUSED: a RST, or ICMP port unreachable. The host was reached, or a
//!   firewall pretends so.
//! - `rejected`: EHOSTUNREACH is IPv4's "administratively prohibited", EACCES that of IPv6;
//!   ENETUNREACH is a router's "network unreachable"; EPERM means that this machine's own
//!   firewall dropped what was sent (UDP; a TCP SYN dropped here is a timeout). EHOSTUNREACH also
//!   comes when nobody answers ARP, but only after about three seconds.
//! - `unreachable`: this machine has no route there, asked before anything is sent. It says
//!   nothing about any firewall, so it must not be taken for a refusal.
//! - `denied`: this machine did not let the probe use the source port.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::target::{Protocol, Target};

/// What came of an attempt; the module's head says what can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// TCP connected.
    Open,
    /// UDP brought a reply.
    Answered,
    /// The port is closed, or pretends to be.
    Refused,
    /// Something on the way, or here, said no.
    Rejected,
    /// Nothing came back.
    Timeout,
    /// There is no route from here.
    Unreachable,
    /// The probe was not let do its work.
    Denied,
    /// Something else.
    Error,
}

/// One line of the program's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The target as it was written.
    pub target: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The error's name, as ECONNREFUSED.
    pub errno: Option<String>,
    /// How long that took.
    pub ms: u64,
}

impl Verdict {
    /// Whether this says anything about the target.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        !matches!(self.outcome, Outcome::Denied | Outcome::Error)
    }
}

/// Where an attempt ended.
enum End {
    NoRoute(io::Error),
    Local(io::Error),
    Network(io::Error),
    Timeout,
}

/// Tries a target for at most `limit`.
pub async fn attempt(target: &Target, limit: Duration) -> Verdict {
    let began = Instant::now();
    let result = match target.protocol {
        Protocol::Tcp => tcp(target, limit).await.map(|()| Outcome::Open),
        Protocol::Udp => udp(target, limit).await.map(|()| Outcome::Answered),
    };
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (outcome, error) = match result {
        Ok(outcome) => (outcome, None),
        Err(End::Timeout) => (Outcome::Timeout, None),
        Err(End::NoRoute(error)) => (Outcome::Unreachable, Some(error)),
        Err(End::Local(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            (Outcome::Denied, Some(error))
        }
        Err(End::Local(error)) => (Outcome::Error, Some(error)),
        Err(End::Network(error)) => (judge(&error), Some(error)),
    };
    Verdict {
        target: target.text.clone(),
        outcome,
        errno: error.as_ref().map(name),
        ms,
    }
}

fn judge(error: &io::Error) -> Outcome {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => Outcome::Refused,
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::ACCESS | Errno::PERM) => {
            Outcome::Rejected
        }
        _ => Outcome::Error,
    }
}

fn name(error: &io::Error) -> String {
    let name = match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => "ECONNREFUSED",
        Some(Errno::CONNRESET) => "ECONNRESET",
        Some(Errno::HOSTUNREACH) => "EHOSTUNREACH",
        Some(Errno::NETUNREACH) => "ENETUNREACH",
        Some(Errno::NETDOWN) => "ENETDOWN",
        Some(Errno::ACCESS) => "EACCES",
        Some(Errno::PERM) => "EPERM",
        Some(Errno::ADDRINUSE) => "EADDRINUSE",
        Some(Errno::ADDRNOTAVAIL) => "EADDRNOTAVAIL",
        Some(Errno::AFNOSUPPORT) => "EAFNOSUPPORT",
        Some(Errno::INVAL) => "EINVAL",
        Some(Errno::MFILE) => "EMFILE",
        Some(Errno::TIMEDOUT) => "ETIMEDOUT",
        _ => return error.to_string(),
    };
    name.to_owned()
}

async fn tcp(target: &Target, limit: Duration) -> Result<(), End> {
    route(target).await?;
    let socket = if target.address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let socket = socket.map_err(End::Local)?;
    if target.from.is_some() {
        // A probe from the same port may just have ended.
        socket.set_reuseaddr(true).map_err(End::Local)?;
        socket.bind(wildcard(target)).map_err(End::Local)?;
    }
    match timeout(limit, socket.connect(target.address)).await {
        Ok(connected) => connected.map(drop).map_err(End::Network),
        Err(_) => Err(End::Timeout),
    }
}

async fn udp(target: &Target, limit: Duration) -> Result<(), End> {
    let socket = route(target).await?;
    let payload = if target.address.port() == 53 {
        DNS_QUERY
    } else {
        b"probe"
    };
    let exchange = async {
        let mut reply = [0; 512];
        socket.send(payload).await?;
        // Datagrams get lost by themselves, so silence counts only after a second try.
        if let Ok(received) = timeout(limit / 2, socket.recv(&mut reply)).await {
            return received;
        }
        socket.send(payload).await?;
        socket.recv(&mut reply).await
    };
    match timeout(limit, exchange).await {
        Ok(answered) => answered.map(drop).map_err(End::Network),
        Err(_) => Err(End::Timeout),
    }
}

/// A datagram socket aimed at the target. Aiming asks the routing table and sends nothing, so it
/// serves TCP as well; only UDP takes the source port that was asked for.
async fn route(target: &Target) -> Result<UdpSocket, End> {
    let mut local = wildcard(target);
    if target.protocol == Protocol::Tcp {
        local.set_port(0);
    }
    let socket = UdpSocket::bind(local).await.map_err(End::Local)?;
    socket.connect(target.address).await.map_err(End::NoRoute)?;
    Ok(socket)
}

fn wildcard(target: &Target) -> SocketAddr {
    let port = target.from.unwrap_or(0);
    match target.address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

/// One question, recursion desired: the IPv4 address of `probe.lab.`
const DNS_QUERY: &[u8] =
    b"\x1a\xb0\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05probe\x03lab\x00\x00\x01\x00\x01";
