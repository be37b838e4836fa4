//! The bastion cannot reach the LAN, whoever tries on it; and who reaches the bastion. Judged at
//! both ends, with the policy and, as the twin of every refusal, without.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::node::{Node, Upload};
use lab::probe::{self, Outcome, Target, tcp, udp};
use lab::roles::witness::{self, Arrival, Post};
use lab::topology::{
    ADMIN, BASTION, COLLECTOR, HOME_SERVER, Host, INFLUXDB, NEIGHBOUR, ROUTER, STRANGER,
};

use crate::deployed::DEPLOYED;
use crate::flow::database_is_up;
use crate::stage::{Scenario, Stage, scenario};

/// Run on the virtual Pi, which has no prober for its processor.
const ATTEMPTS: &str = include_str!("attempt.pl");
/// Who may try on the bastion: whoever took it over, the broker's user, apt's, a person.
const USERS: [&str; 4] = ["root", "mosquitto", "_apt", "pi"];
const A_WHILE: Duration = Duration::from_secs(120);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::bastion_cannot_reach_the_lan", from DEPLOYED, outwards),
        scenario!("pi::admin_reaches_ssh_and_others_do_not", from DEPLOYED, inwards),
    ]
}

/// Makes attempts on the virtual Pi, as a user of it.
pub(crate) async fn attempt(
    stage: &Stage,
    user: &str,
    targets: &[Target],
) -> Result<BTreeMap<Target, Outcome>> {
    let words: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
    let script = format!(
        "cat > /tmp/attempt.pl <<'PROGRAM'\n{ATTEMPTS}\nPROGRAM\nchmod 0644 /tmp/attempt.pl
runuser -u {user} -- perl /tmp/attempt.pl {}",
        words.join(" ")
    );
    let said = stage.machine().console(&script, A_WHILE).await?.success();
    let said = said.with_context(|| format!("attempts of {user} on the bastion"))?;
    let mut outcomes = BTreeMap::new();
    for (target, line) in targets.iter().zip(said.lines()) {
        let outcome: Outcome =
            serde_json::from_str(line).with_context(|| format!("an attempt said {line}"))?;
        ensure!(
            outcome.target == target.to_string() && outcome.outcome != "error",
            "{target} could not be tried: {outcome:?}"
        );
        outcomes.insert(target.clone(), outcome);
    }
    ensure!(
        outcomes.len() == targets.len(),
        "{} of {} attempts were made: {said}",
        outcomes.len(),
        targets.len()
    );
    Ok(outcomes)
}

fn both(host: Host, tcp_ports: &[u16], udp_ports: &[u16]) -> Vec<Target> {
    host.both()
        .into_iter()
        .flat_map(|address| {
            let tcp = tcp_ports.iter().map(move |port| tcp(address, *port));
            tcp.chain(udp_ports.iter().map(move |port| udp(address, *port)))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Whom nobody on the bastion may reach.
fn refused(stage: &Stage) -> Vec<Target> {
    let map = &stage.lab.topology;
    [
        both(map.lan.host(HOME_SERVER), &[80, 443, 22, 445, 53], &[53]),
        both(map.lan_second.host(HOME_SERVER), &[80], &[]),
        both(map.lan_unnamed.host(HOME_SERVER), &[80], &[]),
        both(map.lan.host(COLLECTOR), &[22], &[]),
        both(map.lan.host(INFLUXDB), &[22, 8086], &[]),
        both(map.lan.host(ADMIN), &[22], &[]),
        both(map.dmz.host(ROUTER), &[80], &[]),
        both(map.lan.host(ROUTER), &[80, 53], &[]),
        both(map.dmz.host(NEIGHBOUR), &[80], &[]),
    ]
    .concat()
}

/// Listeners and witnesses on every machine that must not be reached.
async fn witnesses(stage: &Stage) -> Result<[&Node; 6]> {
    let lab = &stage.lab;
    database_is_up(stage).await?;
    let home_server: &[&str] = &["tcp:80", "tcp:443", "tcp:22", "tcp:445", "tcp:53", "udp:53"];
    let all: [(&Node, &[&str]); 6] = [
        (&lab.home_server, home_server),
        (&lab.collector, &["tcp:22"]),
        (&lab.influxdb, &["tcp:22"]),
        (&lab.admin, &["tcp:22"]),
        (&lab.router, &["tcp:80"]),
        (&lab.neighbour, &["tcp:80"]),
    ];
    let path = &lab.artifacts.probe;
    let prober = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    for (node, ports) in all {
        let asked = ["nft", "list", "table", "inet", "witness"];
        if node.exec("root", &asked).await?.code == 0 {
            continue;
        }
        let program = Upload {
            path: "/usr/local/bin/probe".to_owned(),
            mode: 0o755,
            content: prober.clone(),
        };
        node.upload(&[program]).await?;
        witness::watch(node, Post::Door).await?;
        witness::listen(node, ports).await?;
    }
    for segment in [&lab.topology.lan_second, &lab.topology.lan_unnamed] {
        let host = segment.host(HOME_SERVER);
        lab.home_server
            .script(&format!(
                "ip addr replace {}/24 dev eth0; ip addr replace {}/64 dev eth0 nodad",
                host.v4, host.v6
            ))
            .await?;
    }
    Ok(all.map(|(node, _)| node))
}

/// What of these targets arrived where it was sent, from wherever.
async fn arrived(nodes: &[&Node], targets: &[Target]) -> Result<BTreeSet<Target>> {
    let mut arrivals: BTreeSet<Arrival> = BTreeSet::new();
    for node in nodes {
        arrivals.extend(witness::seen(node).await?);
    }
    let came = |target: &&Target| {
        arrivals.iter().any(|arrival| {
            arrival.to == target.address
                && arrival.port == target.port
                && arrival.protocol == target.protocol
        })
    };
    Ok(targets.iter().filter(came).cloned().collect())
}

async fn forget(nodes: &[&Node]) -> Result<()> {
    for node in nodes {
        witness::forget(node).await?;
    }
    Ok(())
}

async fn outwards(stage: &Stage) -> Result<String> {
    let nodes = witnesses(stage).await?;
    let targets = refused(stage);
    let forwarded = forwarding(stage).await?;
    forget(&nodes).await?;
    for user in USERS {
        for (target, outcome) in attempt(stage, user, &targets).await? {
            ensure!(
                !outcome.got_through(),
                "promise broken: {user} on the bastion reaches {target} ({})",
                outcome.outcome
            );
            ensure!(
                outcome.outcome != "timeout",
                "promise broken: {user} on the bastion waits for {target} in vain: no refusal is told"
            );
        }
    }
    through_the_bastion(stage, &forwarded, false).await?;
    let all: Vec<Target> = targets.iter().chain([&forwarded]).cloned().collect();
    let came = arrived(&nodes, &all).await?;
    ensure!(
        came.is_empty(),
        "promise broken: packets arrived for {came:?}"
    );

    without_policy(stage).await?;
    forget(&nodes).await?;
    for user in USERS {
        for (target, outcome) in attempt(stage, user, &targets).await? {
            ensure!(
                outcome.got_through(),
                "{target}: proves nothing, without the policy {user} does not get through either ({})",
                outcome.outcome
            );
        }
    }
    through_the_bastion(stage, &forwarded, true).await?;
    let came = arrived(&nodes, &all).await?;
    let missed: Vec<&Target> = all
        .iter()
        .filter(|target| !came.contains(*target))
        .collect();
    ensure!(
        missed.is_empty(),
        "proves nothing: without the policy nobody sees arrive {missed:?}"
    );
    Ok(format!(
        "{} attempts each of {}, and one through it, all refused at once and none arrived; without the policy \
         all got through",
        targets.len(),
        USERS.join(", ")
    ))
}

/// The neighbour's way to a LAN address, by the bastion.
async fn forwarding(stage: &Stage) -> Result<Target> {
    let map = &stage.lab.topology;
    let target = tcp(map.lan_unnamed.host(HOME_SERVER).v4, 443);
    let bastion = map.dmz.host(BASTION).v4;
    stage
        .lab
        .neighbour
        .script(&format!(
            "ip route replace {}/32 via {bastion}",
            target.address
        ))
        .await?;
    Ok(target)
}

async fn through_the_bastion(stage: &Stage, target: &Target, open: bool) -> Result<()> {
    let found = probe::attempt(&stage.lab.neighbour, "root", std::slice::from_ref(target)).await?;
    let through = found.iter().all(Outcome::got_through);
    ensure!(
        through == open,
        "{}: through the bastion to {target}: {found:?}",
        if open {
            "proves nothing"
        } else {
            "promise broken"
        }
    );
    Ok(())
}

/// Takes every table of ours away, and lets the kernel forward as it would on a router.
async fn without_policy(stage: &Stage) -> Result<()> {
    stage
        .machine()
        .at_console(
            "nft list tables | grep shelly_bastion | while read -r line; do nft delete $line; done
             sysctl -q -w net.ipv4.ip_forward=1",
        )
        .await
        .map(drop)
}

async fn inwards(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    witnesses(stage).await?;
    let bastion = lab.topology.dmz.host(BASTION);
    let outside = lab.topology.wan.host(ROUTER).v4;
    ensure!(
        lab.greets().await?,
        "promise broken: the admin does not reach SSH"
    );
    // From the Internet it is the router's port forward over IPv4, and its own address over IPv6.
    let ssh_outside = [tcp(outside, 22), tcp(bastion.v6, 22)];
    let ssh_inside = bastion.both().map(|address| tcp(address, 22));
    let broker_inside = bastion.both().map(|address| tcp(address, 1883));
    let refused: [(&Node, &str, &[Target]); 7] = [
        (
            &lab.stranger,
            "SSH, a stranger on the Internet",
            &ssh_outside,
        ),
        (&lab.home_server, "SSH, another LAN machine", &ssh_inside),
        (&lab.collector, "SSH, a reader", &ssh_inside),
        (&lab.neighbour, "SSH, a neighbour in the DMZ", &ssh_inside),
        (
            &lab.home_server,
            "the broker, another LAN machine",
            &broker_inside,
        ),
        (
            &lab.admin,
            "the broker, an admin who is no reader",
            &broker_inside,
        ),
        (
            &lab.neighbour,
            "the broker, a neighbour in the DMZ",
            &broker_inside,
        ),
    ];
    let allowed: [(&Node, &str, &[Target]); 3] = [
        (&lab.admin, "SSH, the admin", &ssh_inside),
        (
            &lab.stranger,
            "the broker, the Internet",
            &[tcp(outside, 1883), tcp(bastion.v6, 1883)],
        ),
        (&lab.collector, "the broker, a reader", &broker_inside),
    ];
    let mut count = 0;
    for (node, what, targets) in refused {
        for outcome in probe::attempt(node, "root", targets).await? {
            count += 1;
            ensure!(
                !outcome.got_through(),
                "promise broken: reached {what}: {outcome:?}"
            );
        }
    }
    for (node, what, targets) in allowed {
        for outcome in probe::attempt(node, "root", targets).await? {
            ensure!(
                outcome.got_through(),
                "promise broken: not reached {what}: {outcome:?}"
            );
        }
    }
    without_policy(stage).await?;
    for (node, what, targets) in refused {
        for outcome in probe::attempt(node, "root", targets).await? {
            ensure!(
                outcome.got_through(),
                "{what}: proves nothing, without the policy it is not reached either: {outcome:?}"
            );
        }
    }
    let whom = lab.topology.wan.host(STRANGER).v4;
    Ok(format!(
        "admin: SSH, readers and the Internet ({whom}): the broker, over IPv4 and IPv6; {count} other attempts \
         refused, all through without the policy"
    ))
}
