//! The policy: which flows are allowed, which are refused, and in what order.
//!
//! One list of [`Rule`]s per bastion feeds everything: `deploy` renders the firewall from it,
//! the bastion compares what is loaded with it, the lab probes it, and `docs/security.md` names
//! each of its lines. How a match is spelled for a firewall is left to `deploy`.
//!
//! The order of the outgoing rules matters: replies first, then what every network needs and the
//! few hosts that the site file names for one purpose each, then the refusals, and only behind
//! them what is let out to the world. So an opening added later can never open the LAN.

mod early;
mod incoming;
mod outgoing;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::description::{Bastion, Site};

/// The port on which the broker meets the outside.
pub const MQTT_PORT: u16 = 1883;
/// The port of the broker's second listener, on loopback only.
pub const MQTT_LOOPBACK_PORT: u16 = 1884;
/// The port of the admin's SSH.
pub const SSH_PORT: u16 = 22;

/// The set of IPv4 networks for which SSH is open for minutes: `bastion open` puts the networks
/// that its rule names into it, each with a timeout. Empty whenever the policy is loaded.
pub const CONSOLE_SET_V4: &str = "console_v4";
/// The same for IPv6.
pub const CONSOLE_SET_V6: &str = "console_v6";
/// The rules that let in who is in these sets, and name the networks that may be.
pub const CONSOLE_RULE_V4: &str = "f3-console-v4";
/// The same for IPv6.
pub const CONSOLE_RULE_V6: &str = "f3-console-v6";

/// The user of the time service.
pub const TIME_USER: &str = "systemd-timesync";
/// The user as whom apt fetches, and asks for names.
pub const APT_USER: &str = "_apt";
/// The user of the resolver service, where there is one.
pub const RESOLVER_USER: &str = "systemd-resolve";

/// The package of the distribution that brings a user of the policy, for messages; none for users
/// that every machine has.
#[must_use]
pub fn package_of_user(user: &str) -> Option<&'static str> {
    match user {
        TIME_USER => Some("systemd-timesyncd"),
        RESOLVER_USER => Some("systemd-resolved"),
        APT_USER => Some("apt"),
        _ => None,
    }
}

/// Which packets a rule sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Packets to the bastion.
    Input,
    /// Packets through the bastion, from one network to another.
    Forward,
    /// Packets from the bastion.
    Output,
}

impl Hook {
    /// All hooks, in the order in which they are shown.
    pub const ALL: [Hook; 3] = [Hook::Input, Hook::Forward, Hook::Output];

    /// The name of the hook and of its chain.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
        }
    }
}

/// What happens to a packet that a rule fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It passes.
    Accept,
    /// It vanishes: strangers learn nothing.
    Drop,
    /// It is refused with an answer: programs on the bastion need not wait.
    Reject,
}

/// The halves of a tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// As the connection began.
    Original,
    /// Back to who began it.
    Reply,
}

/// The versions of the Internet Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which they are shown.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The end of the names of rules that come once per family.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Family::V4 => "v4",
            Family::V6 => "v6",
        }
    }

    /// Whether an address is of this family.
    #[must_use]
    pub fn holds(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Family::V4)
    }
}

/// So many packets in a second on average, and so many at once before that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// On average. At least 1.
    pub per_second: u32,
    /// At once. At least 1.
    pub burst: u32,
}

/// One condition. A rule fits when all of its conditions do, asked in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// The packet stays on the machine.
    Loopback,
    /// It begins a connection.
    New,
    /// It belongs to an established connection, in this direction.
    Established(Direction),
    /// It is about an established connection, as an error that a router on its way reports.
    Related,
    /// It is of this family.
    Family(Family),
    /// Not a bare SYN. A spoofed SYN can turn a connection's direction round; an answer
    /// that really is one never carries SYN without ACK.
    NotBareSyn,
    /// TCP to one of these ports.
    TcpTo(Vec<u16>),
    /// TCP from one of these ports.
    TcpFrom(Vec<u16>),
    /// TCP from this port or a higher one.
    TcpFromAtLeast(u16),
    /// UDP to one of these ports.
    UdpTo(Vec<u16>),
    /// UDP from one of these ports.
    UdpFrom(Vec<u16>),
    /// TCP or UDP to this port.
    TcpOrUdpTo(u16),
    /// TCP or UDP from this port.
    TcpOrUdpFrom(u16),
    /// Sent by a program that runs as one of these users, by name. Loading the policy fails on
    /// a machine that lacks one of them, so [`Policy::users`] is asked first. Packets that the
    /// kernel sends by itself, such as the last ones of a closed connection, fit no user.
    User(Vec<String>),
    /// From one of these networks, all of one family, without overlap.
    Source(Vec<IpNet>),
    /// From none of these networks, all of one family, without overlap. Fits that family only.
    SourceOutside(Vec<IpNet>),
    /// To one of these networks, all of one family, without overlap.
    Destination(Vec<IpNet>),
    /// From a network that is in this set of the table at the moment. The set holds networks of
    /// this family with timeouts, is empty at first, and filled from outside the policy.
    SourceInSet {
        /// Name of the set.
        set: String,
        /// Family of what is in it.
        family: Family,
    },
    /// There are no more of them than this; those beyond do not fit.
    Within(Limit),
    /// There are more of them than this; only those beyond fit.
    Beyond(Limit),
    /// There are more of them from one source than this; only those beyond fit. A source is an
    /// IPv4 address or the /64 of an IPv6 address. A full set notices no further source.
    SourceBeyond {
        /// Name of the set in which sources are counted.
        set: String,
        /// Family of the sources.
        family: Family,
        /// For each source.
        limit: Limit,
    },
    /// Handed to a next hop other than this one. Fits the address's family only.
    NextHopOtherThan(IpAddr),
    /// IPv6 neighbour discovery, by the names nftables gives the types; hop limit 255,
    /// so that it cannot come from behind a router.
    NeighbourDiscovery(Vec<String>),
    /// IPv6 multicast listener discovery, by the names nftables gives the types; hop limit 1,
    /// so that no router passes it on.
    ListenerDiscovery(Vec<String>),
    /// Messages of ICMP, by the names nftables gives the types.
    Icmp(Vec<String>),
    /// Messages of ICMP for IPv6, by the names nftables gives the types.
    Icmpv6(Vec<String>),
}

/// One line of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Unique name: the comment in the firewall, the word for `--without-rule`.
    pub name: String,
    /// Number of the flow in `docs/security.md`, or `R` for a refusal.
    pub flow: String,
    /// The sentence that the rule makes true.
    pub says: String,
    /// Which packets it sees.
    pub hook: Hook,
    /// All must fit.
    pub matches: Vec<Match>,
    /// What happens then.
    pub action: Action,
}

/// The whole policy of one bastion, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Evaluated from the top, hook by hook; the first rule that fits decides.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// The policy that follows from a site for one of its bastions.
    #[must_use]
    pub fn of(site: &Site, bastion: &Bastion) -> Policy {
        let mut rules = incoming::rules(site, bastion);
        rules.push(forwarded());
        rules.extend(outgoing::rules(site, bastion));
        Policy { rules }
    }

    /// The users of whom the policy speaks. A machine that lacks one of them cannot load it.
    #[must_use]
    pub fn users(&self) -> BTreeSet<&str> {
        let matches = self.rules.iter().flat_map(|rule| &rule.matches);
        let users = matches.filter_map(|condition| match condition {
            Match::User(users) => Some(users),
            _ => None,
        });
        users.flatten().map(String::as_str).collect()
    }

    /// The same policy with one rule taken out, or `None` when there is no rule of that name.
    #[must_use]
    pub fn without(&self, name: &str) -> Option<Policy> {
        let rules: Vec<Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.name != name)
            .cloned()
            .collect();
        (rules.len() < self.rules.len()).then_some(Policy { rules })
    }

    /// Whether a hook refuses what none of its other rules fits: its last rule fits everything
    /// and does not accept.
    #[must_use]
    pub fn refuses_by_default(&self, hook: Hook) -> bool {
        let last = self.rules.iter().rfind(|rule| rule.hook == hook);
        last.is_some_and(|rule| rule.matches.is_empty() && rule.action != Action::Accept)
    }
}

fn forwarded() -> Rule {
    Rule {
        name: "refuse-forward".to_owned(),
        flow: "R".to_owned(),
        says: "the bastion forwards nothing from one network to another".to_owned(),
        hook: Hook::Forward,
        matches: vec![],
        action: Action::Drop,
    }
}

/// Rules of one hook, as they are written down one below the other.
struct Rules {
    hook: Hook,
    rules: Vec<Rule>,
}

impl Rules {
    fn of(hook: Hook) -> Rules {
        let rules = Vec::new();
        Rules { hook, rules }
    }

    fn add(&mut self, flow: &str, name: &str, action: Action, says: &str, matches: Vec<Match>) {
        self.rules.push(Rule {
            name: name.to_owned(),
            flow: flow.to_owned(),
            says: says.to_owned(),
            hook: self.hook,
            matches,
            action,
        });
    }

    fn accept(&mut self, flow: &str, name: &str, says: &str, matches: Vec<Match>) {
        self.add(flow, name, Action::Accept, says, matches);
    }

    /// A rule per family in which there is something to match.
    fn each(
        &mut self,
        flow: &str,
        name: &str,
        action: Action,
        says: &str,
        matches: impl Fn(Family) -> Option<Vec<Match>>,
    ) {
        for family in Family::ALL {
            if let Some(matches) = matches(family) {
                let name = format!("{name}-{}", family.suffix());
                self.add(flow, &name, action, says, matches);
            }
        }
    }
}

/// The networks of a list that are of one family, joined where they touch.
fn only(family: Family, networks: &[IpNet]) -> Vec<IpNet> {
    let fits = |network: &&IpNet| family.holds(network.addr());
    IpNet::aggregate(&networks.iter().filter(fits).copied().collect())
}

/// The addresses of a list that are of one family, as networks; nothing when there are none.
fn hosts(family: Family, addresses: &[IpAddr]) -> Option<Vec<IpNet>> {
    let networks: Vec<IpNet> = addresses
        .iter()
        .map(|address| IpNet::from(*address))
        .collect();
    Some(only(family, &networks)).filter(|networks| !networks.is_empty())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
