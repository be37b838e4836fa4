//! Ranges of addresses that nobody behind a bastion may reach, whatever the site.
//! The site's own networks are in its description; what is done with either is in `flow`.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::flow::Family;

/// One range that is refused, and the reason a reader of the policy needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range<N> {
    /// The range itself.
    pub network: N,
    /// What it is for, and the document that says so.
    pub reason: &'static str,
}

/// IPv4 ranges that are never a meter on the Internet nor a package mirror.
///
/// Source: IANA's special-purpose registry (RFC 6890) and the RFCs named in each line.
/// 192.0.2.0/24, 198.18.0.0/15, 198.51.100.0/24 and 203.0.113.0/24 are not listed:
/// they lead nowhere on the Internet, and some networks use them as public ones.
#[must_use]
pub fn refused_v4() -> Vec<Range<Ipv4Net>> {
    [
        ([0, 0, 0, 0], 8, "this network (RFC 1122)"),
        ([10, 0, 0, 0], 8, "private (RFC 1918)"),
        ([100, 64, 0, 0], 10, "shared by carriers (RFC 6598)"),
        ([127, 0, 0, 0], 8, "loopback (RFC 1122)"),
        ([169, 254, 0, 0], 16, "link-local (RFC 3927)"),
        ([172, 16, 0, 0], 12, "private (RFC 1918)"),
        ([192, 0, 0, 0], 24, "protocol assignments (RFC 6890)"),
        ([192, 88, 99, 0], 24, "6to4 relays (RFC 7526)"),
        ([192, 168, 0, 0], 16, "private (RFC 1918)"),
        ([224, 0, 0, 0], 4, "multicast (RFC 5771)"),
        ([240, 0, 0, 0], 4, "reserved and broadcast (RFC 1112)"),
    ]
    .into_iter()
    .map(|(address, length, reason)| Range {
        network: Ipv4Net::new_assert(address.into(), length),
        reason,
    })
    .collect()
}

/// IPv6 ranges that are never a meter on the Internet nor a package mirror.
///
/// Source: IANA's special-purpose registry (RFC 6890) and the RFCs named in each line.
#[must_use]
pub fn refused_v6() -> Vec<Range<Ipv6Net>> {
    [
        (
            [0, 0, 0, 0, 0, 0, 0, 0],
            96,
            "unspecified, loopback and IPv4-compatible (RFC 4291)",
        ),
        ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "IPv4-mapped (RFC 4291)"),
        ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "NAT64 (RFC 6052)"),
        (
            [0x64, 0xff9b, 1, 0, 0, 0, 0, 0],
            48,
            "local NAT64 (RFC 8215)",
        ),
        ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo (RFC 4380)"),
        ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4 (RFC 3056)"),
        ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "unique local (RFC 4193)"),
        ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local (RFC 4291)"),
        ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local (RFC 3879)"),
        ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast (RFC 4291)"),
    ]
    .into_iter()
    .map(|(segments, length, reason): ([u16; 8], u8, _)| Range {
        network: Ipv6Net::new_assert(segments.into(), length),
        reason,
    })
    .collect()
}

/// The refused ranges of one family, without the reasons.
#[must_use]
pub fn refused(family: Family) -> Vec<IpNet> {
    let v4 = refused_v4().into_iter().map(|range| range.network.into());
    let v6 = refused_v6().into_iter().map(|range| range.network.into());
    match family {
        Family::V4 => v4.collect(),
        Family::V6 => v6.collect(),
    }
}
