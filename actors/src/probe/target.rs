//! What to connect to, and on what to listen, as written on the command line.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where to connect: `tcp:10.0.0.5:80`, `udp:[2001:db8::1]:53`, `tcp:10.0.0.5:80,from=1883`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was written.
    pub text: String,
    /// How.
    pub protocol: Protocol,
    /// Where to.
    pub address: SocketAddr,
    /// From which local port; any when absent.
    pub from: Option<u16>,
}

/// Where to listen: `tcp:80`, on every address of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// How.
    pub protocol: Protocol,
    /// On which port.
    pub number: u16,
}

/// What is wrong with a target or a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a target.
    #[error(
        "{0:?} is no target: write tcp:10.0.0.5:80 or udp:[2001:db8::1]:53, and ,from=1883 for a source port"
    )]
    Target(String),
    /// Not a port.
    #[error("{0:?} is no port: write tcp:80 or udp:123")]
    Port(String),
}

fn split(text: &str) -> Option<(Protocol, &str)> {
    match text.split_once(':')? {
        ("tcp", rest) => Some((Protocol::Tcp, rest)),
        ("udp", rest) => Some((Protocol::Udp, rest)),
        _ => None,
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let parse = || {
            let (protocol, rest) = split(text)?;
            let (address, from) = match rest.split_once(",from=") {
                Some((address, from)) => (address, Some(from.parse().ok()?)),
                None => (rest, None),
            };
            let address: SocketAddr = address.parse().ok()?;
            (address.port() != 0).then(|| Self {
                text: text.to_owned(),
                protocol,
                address,
                from,
            })
        };
        parse().ok_or_else(|| TargetError::Target(text.to_owned()))
    }
}

impl FromStr for Port {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let parse = || {
            let (protocol, number) = split(text)?;
            let number = number.parse().ok()?;
            (number != 0).then_some(Self { protocol, number })
        };
        parse().ok_or_else(|| TargetError::Port(text.to_owned()))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{protocol}:{}", self.number)
    }
}
