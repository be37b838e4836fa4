//! Active probes: as each user that matters, one attempt to connect to an address in each of the
//! networks that the flow list refuses.
//!
//! The attempt must be refused by our own rules: the error is the one that a rejection makes, and
//! the rules count it. While they hold, nothing leaves the machine; if they do not, one SYN to
//! [`PORT`] does. What the loaded rules say is compared elsewhere; this shows what they do.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use serde_json::Value;
use site::answer::Report;
use site::daemon::REPORT_PATH;
use site::flow::{APT_USER, Action, Hook, Match, Policy, RESOLVER_USER, TIME_USER};
use site::manifest::FLOWS_PATH;

use super::Finding;
use crate::firewall;
use crate::host::{Host, read_text};

/// Let out to the world for apt alone, so that for it only the refusals stand in between.
const PORT: u16 = 443;
/// A rejection comes at once, or with the second SYN, after a second; that nobody answers on the
/// segment is told after three.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Whom a taken program may be, whom the policy lets out for something, and anybody.
const USERS: [&str; 6] = [
    "root",
    "nobody",
    "mosquitto",
    APT_USER,
    TIME_USER,
    RESOLVER_USER,
];
/// The refusals of the networks that the site file names.
const REFUSALS: [&str; 3] = ["refuse-lan-", "refuse-segment-", "refuse-public-"];
/// Addresses of a network that may be the machine's own, and are passed over.
const MOST_OWN: usize = 16;

/// Somebody who tries.
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    /// The connection stands.
    Connected,
    /// Somebody said that nobody listens.
    Answered,
    /// Nobody said anything.
    Silent,
    /// A rejection, such as our rules make.
    Refused,
    /// The machine has no way to such an address, so no rule was asked.
    NoWay,
    /// Something else, in the system's words.
    Else(String),
}

/// Adds a check for each user, and one whether our rules counted what was refused.
pub(super) fn add(host: &Host, report: &mut Report) {
    let prepared = targets(host).and_then(|targets| {
        Ok((
            targets,
            read_text(&host.path("/etc/passwd"))?,
            counted(host)?,
        ))
    });
    let (targets, passwd, before) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report.add("probes", Err(format!("{error:#}"))),
    };
    let mut users = Vec::new();
    for name in USERS {
        match known(&passwd, name) {
            Some(user) => users.push(user),
            None => report.skip(&subject(name), "this machine has no such user"),
        }
    }
    match daemon(&host.path(REPORT_PATH)) {
        Some(user) => users.push(user),
        None => report.skip(&subject(DAEMON), "it does not run"),
    }
    let mut refused = 0;
    for (user, came) in users.iter().zip(all(&users, &targets)) {
        let finding = came.and_then(|came| {
            let by_rules = came.iter().filter(|came| **came == Came::Refused).count();
            refused += u64::try_from(by_rules)?;
            judge(&targets, &came)
        });
        report.add(&subject(&user.name), finding);
    }
    report.add(
        "probes are counted by our rules",
        count(host, before, refused),
    );
}

const DAEMON: &str = "the daemon";

fn subject(user: &str) -> String {
    format!("probe as {user}")
}

/// One address in each refused network of the site that is not the machine's own.
fn targets(host: &Host) -> Result<Vec<IpAddr>> {
    let policy: Policy = serde_json::from_str(&read_text(&host.path(FLOWS_PATH))?)
        .context("reading the flow list")?;
    let targets = addresses(&policy, |address| UdpSocket::bind((address, 0)).is_ok());
    ensure!(!targets.is_empty(), "the flow list refuses no network");
    Ok(targets)
}

fn addresses(policy: &Policy, is_own: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
    let refusals = policy.rules.iter().filter(|rule| {
        let of_site = REFUSALS.iter().any(|begin| rule.name.starts_with(begin));
        of_site && rule.hook == Hook::Output && rule.action == Action::Reject
    });
    let networks = refusals
        .flat_map(|rule| &rule.matches)
        .filter_map(|condition| {
            let Match::Destination(networks) = condition else {
                return None;
            };
            networks.first()
        });
    let found: BTreeSet<IpAddr> = networks
        .filter_map(|network| {
            // The first IPv6 address is the routers' own together, a machine's among them.
            let one_host = network.prefix_len() == network.max_prefix_len();
            network
                .hosts()
                .filter(|host| one_host || *host != network.network())
                .take(MOST_OWN)
                .find(|host| !is_own(*host))
        })
        .collect();
    found.into_iter().collect()
}

fn known(passwd: &str, name: &str) -> Option<User> {
    let mut lines = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let fields = lines.find(|fields| fields.first() == Some(&name))?;
    let number = |index: usize| fields.get(index)?.parse().ok();
    Some(User {
        name: name.to_owned(),
        uid: number(2)?,
        gid: number(3)?,
    })
}

/// systemd makes its user when it starts, and hands this folder over to it. Nobody else may.
fn daemon(report: &Path) -> Option<User> {
    let folder = report.parent()?.metadata().ok()?;
    Some(User {
        name: DAEMON.to_owned(),
        uid: folder.uid(),
        gid: folder.gid(),
    })
}

/// All at once: each may have to wait for its second SYN.
fn all(users: &[User], targets: &[IpAddr]) -> Vec<Result<Vec<Came>>> {
    thread::scope(|scope| {
        let begun: Vec<Vec<_>> = users
            .iter()
            .map(|user| {
                let tries = targets.iter();
                tries
                    .map(|target| scope.spawn(move || attempt(user, *target)))
                    .collect()
            })
            .collect();
        let ended = begun.into_iter().map(|tries| {
            let each = tries.into_iter().map(|attempt| {
                let ended = attempt.join().ok();
                ended.context("the attempt ended badly")?
            });
            each.collect()
        });
        ended.collect()
    })
}

/// On a thread of its own, which becomes that user for good and ends: the kernel keeps users by
/// thread, and asks for the user of the thread that opens the socket.
fn attempt(user: &User, target: IpAddr) -> Result<Came> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_groups(&[])
        .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
        .with_context(|| format!("becoming the user {}", user.uid))?;
    let tried = TcpStream::connect_timeout(&SocketAddr::new(target, PORT), PATIENCE);
    Ok(came(tried.map(drop)))
}

/// A rejection reaches the program as `EHOSTUNREACH` over IPv4 and as `EACCES` over IPv6.
fn came(tried: std::io::Result<()>) -> Came {
    let Err(error) = tried else {
        return Came::Connected;
    };
    match Errno::from_io_error(&error) {
        Some(Errno::HOSTUNREACH | Errno::ACCESS) => Came::Refused,
        Some(Errno::CONNREFUSED) => Came::Answered,
        Some(Errno::NETUNREACH | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => Came::NoWay,
        None if error.kind() == std::io::ErrorKind::TimedOut => Came::Silent,
        _ => Came::Else(error.to_string()),
    }
}

fn judge(targets: &[IpAddr], came: &[Came]) -> Finding {
    let (mut faults, mut unclear) = (Vec::new(), Vec::new());
    for (target, came) in targets.iter().zip(came) {
        match came {
            Came::Refused | Came::NoWay => {}
            Came::Connected => faults.push(format!("{target} lets it in on port {PORT}")),
            Came::Answered => faults.push(format!("{target} is asked, and answers")),
            Came::Silent => faults.push(format!("{target}: not refused")),
            Came::Else(words) => unclear.push(format!("{target}: {words}")),
        }
    }
    if !faults.is_empty() {
        return Ok(Some(faults.join("; ")));
    }
    ensure!(unclear.is_empty(), "{}", unclear.join("; "));
    ensure!(
        came.contains(&Came::Refused),
        "the machine has no way to any of the addresses, so no rule was asked"
    );
    Ok(None)
}

/// Packets that our outgoing chain has refused so far.
fn counted(host: &Host) -> Result<u64> {
    let listing = firewall::listing(host, firewall::WHOLE).context("our table cannot be listed")?;
    let rules = firewall::objects(&listing).filter_map(|object| object.get("rule"));
    let outgoing =
        rules.filter(|rule| rule.get("chain").and_then(Value::as_str) == Some(Hook::Output.name()));
    Ok(outgoing
        .filter_map(|rule| {
            let statements = rule.get("expr")?.as_array()?;
            let refuses = |statement: &Value| statement.get("reject").is_some();
            statements.iter().find(|each| refuses(each))?;
            let mut counters = statements.iter().filter_map(|each| each.get("counter"));
            counters.next()?.get("packets")?.as_u64()
        })
        .sum())
}

fn count(host: &Host, before: u64, refused: u64) -> Finding {
    let more = counted(host)?.saturating_sub(before);
    Ok((more < refused).then(|| format!("{refused} were refused, and our rules counted {more}")))
}

#[cfg(test)]
mod tests {
    use std::io;

    use site::flow::{Action, Hook, Match, Policy, Rule};

    use super::{Came, addresses, came, judge, known};

    fn rule(name: &str, hook: Hook, action: Action, networks: &[&str]) -> Rule {
        let networks = networks.iter().map(|network| network.parse().unwrap());
        Rule {
            name: name.to_owned(),
            flow: "R".to_owned(),
            says: String::new(),
            hook,
            matches: vec![Match::Destination(networks.collect())],
            action,
        }
    }

    #[test]
    fn one_address_of_each_network_that_the_site_names_and_none_of_our_own() {
        let policy = Policy {
            rules: vec![
                rule(
                    "f4-names-v4",
                    Hook::Output,
                    Action::Accept,
                    &["192.168.9.1/32"],
                ),
                rule(
                    "refuse-lan-v4",
                    Hook::Output,
                    Action::Reject,
                    &["192.168.1.0/24", "192.168.7.0/24"],
                ),
                rule(
                    "refuse-segment-v6",
                    Hook::Output,
                    Action::Reject,
                    &["2001:db8:2::/64"],
                ),
                rule(
                    "refuse-public-v4",
                    Hook::Output,
                    Action::Reject,
                    &["203.0.113.7/32"],
                ),
                rule(
                    "refuse-private-v4",
                    Hook::Output,
                    Action::Reject,
                    &["0.0.0.0/8"],
                ),
                rule(
                    "refuse-lan-other",
                    Hook::Input,
                    Action::Drop,
                    &["192.168.3.0/24"],
                ),
            ],
        };
        let own: std::net::IpAddr = "192.168.1.1".parse().unwrap();
        let found = addresses(&policy, |address| address == own);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.168.1.2", "203.0.113.7", "2001:db8:2::1"]);
    }

    #[test]
    fn errors_are_told_apart() {
        let check = |number: i32, expected: Came| {
            assert_eq!(came(Err(io::Error::from_raw_os_error(number))), expected);
        };
        check(113, Came::Refused);
        check(13, Came::Refused);
        check(111, Came::Answered);
        check(101, Came::NoWay);
        check(
            110,
            Came::Else(io::Error::from_raw_os_error(110).to_string()),
        );
        assert_eq!(came(Err(io::ErrorKind::TimedOut.into())), Came::Silent);
        assert_eq!(came(Ok(())), Came::Connected);
    }

    #[test]
    fn only_refusals_hold_and_no_way_at_all_proves_nothing() {
        let targets = ["192.168.1.1", "2001:db8::1"].map(|target| target.parse().unwrap());
        let found = |came: [Came; 2]| match judge(&targets, &came) {
            Ok(None) => "held".to_owned(),
            Ok(Some(words)) => format!("broken: {words}"),
            Err(error) => format!("cannot tell: {error}"),
        };
        assert_eq!(found([Came::Refused, Came::NoWay]), "held");
        assert_eq!(
            found([Came::NoWay, Came::NoWay]),
            "cannot tell: the machine has no way to any of the addresses, so no rule was asked"
        );
        assert_eq!(
            found([Came::Connected, Came::Answered]),
            "broken: 192.168.1.1 lets it in on port 443; 2001:db8::1 is asked, and answers"
        );
        assert_eq!(
            found([Came::Refused, Came::Silent]),
            "broken: 2001:db8::1: not refused"
        );
        assert_eq!(
            found([Came::Refused, Came::Else("odd".to_owned())]),
            "cannot tell: 2001:db8::1: odd"
        );
    }

    #[test]
    fn users_are_looked_up_by_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\nbad:x\n";
        let numbers = |name| known(passwd, name).map(|user| (user.uid, user.gid));
        assert_eq!(numbers("nobody"), Some((65534, 65533)));
        assert_eq!((numbers("bad"), numbers("nob")), (None, None));
    }
}
