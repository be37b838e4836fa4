//! Addresses, networks, hosts and how to get to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::named;
use crate::Endpoint;
use crate::form::Fault;

/// Longest interface name that the kernel takes: IFNAMSIZ less the byte that ends it.
const LONGEST_INTERFACE: usize = 15;

/// The address of one machine.
pub(crate) fn address(text: &str) -> Result<IpAddr, Fault> {
    let address = router(text)?;
    if is_link_local_v6(address) {
        return Err(Fault::new(
            "is link-local: it holds on one cable only",
            "write the machine's address from the network",
        ));
    }
    Ok(address)
}

/// The IPv4 address of a machine.
pub(crate) fn v4(text: &str) -> Result<Ipv4Addr, Fault> {
    match address(text)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(Fault::new(
            "is an IPv6 address",
            "write its IPv4 address, such as 192.168.2.1",
        )),
    }
}

/// The address of a router, which may be link-local in IPv6.
pub(crate) fn router(text: &str) -> Result<IpAddr, Fault> {
    const EXAMPLE: &str = "write an address such as 192.168.1.10 or 2001:db8:1::10";
    if let Ok(address) = text.parse::<IpAddr>() {
        return match special(address) {
            Some(what) => Err(Fault::new(format!("is {what}, no machine's own"), EXAMPLE)),
            None => Ok(address),
        };
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        let remedy = format!("write {}", socket.ip());
        return Err(Fault::new(
            "has a port, where an address alone belongs",
            remedy,
        ));
    }
    let alone = |end: char| Some(text.split_once(end)?.0).filter(|a| a.parse::<IpAddr>().is_ok());
    if let Some(alone) = alone('/') {
        let remedy = format!("write {alone}");
        return Err(Fault::new(
            "is a network, where one machine's address belongs",
            remedy,
        ));
    }
    if let Some(alone) = alone('%') {
        return Err(Fault::new("names an interface", format!("write {alone}")));
    }
    Err(Fault::new("is no IP address", EXAMPLE))
}

/// A network: an address and a length, with nothing behind the length.
pub(crate) fn network(text: &str) -> Result<IpNet, Fault> {
    const EXAMPLE: &str = "write a network such as 192.168.1.0/24 or 2001:db8:1::/64";
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => {
                let length = if address.is_ipv4() { 24 } else { 64 };
                let whole = IpNet::new(address, length).map_or(EXAMPLE.to_owned(), |network| {
                    format!(
                        "write its length behind it; in most houses that is {}",
                        network.trunc()
                    )
                });
                Fault::new("is an address, where a network belongs", whole)
            }
            Err(_) => Fault::new("is no network", EXAMPLE),
        });
    };
    if network.prefix_len() == 0 {
        return Err(Fault::new("is the whole Internet", EXAMPLE));
    }
    if let Some(what) = special(network.network())
        .or_else(|| is_link_local_v6(network.network()).then_some("a link-local address"))
    {
        return Err(Fault::new(
            format!("begins with {what}, no network of a house"),
            EXAMPLE,
        ));
    }
    if network.trunc() != network {
        let problem = format!(
            "is an address inside a network of length /{}",
            network.prefix_len()
        );
        return Err(Fault::new(problem, format!("write {}", network.trunc())));
    }
    Ok(network)
}

/// A DNS name or an address.
///
/// # Errors
/// What is wrong with it.
pub fn host(text: &str) -> Result<String, Fault> {
    const EXAMPLE: &str = "write a name such as meters.example.net, or an address";
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    if text.is_empty() {
        return Err(Fault::new("names no host", EXAMPLE));
    }
    if let Some(odd) = text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')))
    {
        let problem = format!("holds {}, which no host name has", named(odd));
        return Err(Fault::new(problem, EXAMPLE));
    }
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() > 253 || !text.split('.').all(label_fits) {
        return Err(Fault::new("is no host name", EXAMPLE));
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::new(
            "looks like an IPv4 address and is none",
            "write four numbers from 0 to 255, such as 203.0.113.7, or a name",
        ));
    }
    Ok(text.to_owned())
}

/// `host:port`, an IPv6 address in brackets.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, Fault> {
    const EXAMPLE: &str = "write host:port, such as meters.example.net:1883";
    if text.contains('@') {
        return Err(Fault::new("names a user", EXAMPLE).secret());
    }
    if text.contains("://") {
        return Err(Fault::new("begins with a protocol", EXAMPLE));
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Err(Fault::new(
            "is an IPv6 address without brackets",
            format!("write [{address}]:1883"),
        ));
    }
    let Some((name, port)) = text.rsplit_once(':') else {
        host(text)?;
        return Err(Fault::new("has no port", format!("write {text}:1883")));
    };
    let port = number(port)
        .ok_or_else(|| Fault::new("has no port from 1 to 65535 behind the colon", EXAMPLE))?;
    let host = match name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(inside) => match inside.parse::<Ipv6Addr>() {
            Ok(address) => address.to_string(),
            Err(_) => {
                let remedy = "write an IPv6 address in the brackets, or a name without them";
                return Err(Fault::new("has brackets without an IPv6 address", remedy));
            }
        },
        None => host(name)?,
    };
    Ok(Endpoint { host, port })
}

/// The address of a database that speaks plain HTTP, without a slash at its end.
///
/// # Errors
/// What is wrong with it.
pub fn url(text: &str) -> Result<String, Fault> {
    const EXAMPLE: &str = "write http://host:port and nothing behind it, such as \
                           http://192.168.1.20:8086";
    // A password may stand before the @, so this comes first.
    if text.contains('@') {
        return Err(Fault::new(
            "names a user, and the site file holds no secrets",
            "write http://host:port alone; user and password belong to the collector's machine",
        )
        .secret());
    }
    let scheme = |name: &str| {
        text.get(..name.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(name))
    };
    if scheme("https://") {
        return Err(Fault::new(
            "asks for HTTPS, and this version speaks plain HTTP inside the LAN",
            "write http://… and let the database answer plain HTTP to the LAN alone",
        ));
    }
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(Fault::new("does not begin with http://", EXAMPLE));
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        // The API takes user and password behind a question mark, too.
        return Err(Fault::new("has something behind the port", EXAMPLE).secret());
    }
    match endpoint(rest) {
        Ok(_) => Ok(format!("http://{rest}")),
        Err(fault) => Err(Fault::new(fault.problem, EXAMPLE)),
    }
}

/// A destination as `ssh` takes it. It becomes an argument, so it must never look like an option,
/// neither as a whole nor behind the user's name.
pub(crate) fn ssh(text: &str) -> Result<String, Fault> {
    const EXAMPLE: &str = "write user@address as after the command ssh, such as pi@192.168.2.2";
    let bare = text.strip_prefix("ssh://").unwrap_or(text);
    let (user, host) = bare.rsplit_once('@').unwrap_or(("", bare));
    if user.contains(':') {
        return Err(Fault::new(
            "holds a password, and the site file holds no secrets",
            "write user@address, and let ssh log in with a key",
        )
        .secret());
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-+@:/[]%".contains(c);
    let problem = if text.is_empty() || host.is_empty() {
        "names no host".to_owned()
    } else if text.starts_with('-') || host.starts_with('-') || user.starts_with('-') {
        "begins with a hyphen, which ssh would take for an option".to_owned()
    } else if let Some(odd) = text.chars().find(|c| !fits(*c)) {
        format!("holds {}, which no destination has", named(odd))
    } else if bare == text && host.matches(':').count() == 1 {
        let remedy = format!("write ssh://{text}");
        return Err(Fault::new("has a port without ssh:// in front", remedy));
    } else if text.len() > 255 {
        "is too long".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(Fault::new(problem, EXAMPLE))
}

/// A network interface, as the kernel allows it and without what the firewall reads as a pattern.
pub(crate) fn interface(text: &str) -> Result<String, Fault> {
    const EXAMPLE: &str =
        "write the name that `ip address` shows on the Pi before any @, such as eth0";
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = if text.is_empty() {
        "is empty".to_owned()
    } else if let Some(odd) = text.chars().find(|c| !fits(*c)) {
        format!("holds {}", named(odd))
    } else if text.len() > LONGEST_INTERFACE {
        format!("has more than {LONGEST_INTERFACE} characters")
    } else if matches!(text, "." | ".." | "lo") {
        "is no interface to a network".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(Fault::new(problem, EXAMPLE))
}

/// Only digits: Rust's own parser would take `+1883`.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

fn is_link_local_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// What an address is for, when it is not for a machine.
fn special(address: IpAddr) -> Option<&'static str> {
    let multicast = "a multicast address";
    match address {
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_multicast() => Some(multicast),
        IpAddr::V4(v4) if v4.octets().first() == Some(&0) => Some("an unspecified address"),
        IpAddr::V4(v4) if v4.octets().first() >= Some(&240) => Some("a reserved address"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("an unspecified address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4 address written as IPv6"),
        _ => None,
    }
}
