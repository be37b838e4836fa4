//! Who reaches the bastion: meters and readers the broker, admins SSH, and nobody else anything.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::matrix::{Case, Expected, Matrix, Sender};
use lab::probe::{Target, attempt, tcp};
use lab::topology::{BASTION, ROUTER};
use site::flow::{
    CONSOLE_RULE_V4, CONSOLE_RULE_V6, CONSOLE_SET_V4, CONSOLE_SET_V6, MQTT_PORT, Match, SSH_PORT,
};
use site::manifest::TABLE;

use crate::isolation::{outcome, refused};
use crate::shared::{Scenario, Stage, scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "admin_access::admin_reaches_ssh_and_others_do_not",
            matrix,
            ssh
        ),
        scenario!(
            "admin_access::reader_reaches_the_broker_and_other_lan_machines_do_not",
            matrix,
            broker_inside
        ),
        scenario!(
            "admin_access::internet_reaches_the_broker_and_nothing_else",
            matrix,
            broker_outside
        ),
        scenario!(
            "admin_access::the_console_opens_ssh_to_the_lan_for_a_while",
            console
        ),
        scenario!(
            "admin_access::the_router_by_its_public_address_is_answered",
            public_address
        ),
    ]
}

/// Who stands at the bastion puts the LAN's networks into the sets, as `bastion open` does.
async fn console(stage: &Stage) -> Result<String> {
    const SECONDS: u64 = 30;
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let targets = targets_of(lab);
    let open = |from: &'static str| async move {
        let node = match from {
            "LAN" => &lab.home_server,
            _ => &lab.neighbour,
        };
        let outcomes = attempt(node, "root", &targets_of(lab)).await?;
        Ok::<_, anyhow::Error>(outcomes.iter().filter(|one| one.got_through()).count())
    };
    ensure!(
        open("LAN").await? == 0,
        "proves nothing: SSH is open to the LAN before anybody has asked"
    );
    let mut networks = Vec::new();
    for (rule, set) in [
        (CONSOLE_RULE_V4, CONSOLE_SET_V4),
        (CONSOLE_RULE_V6, CONSOLE_SET_V6),
    ] {
        let rule = lab.policy.rules.iter().find(|each| each.name == rule);
        let sources = rule.into_iter().flat_map(|rule| &rule.matches);
        let sources = sources.filter_map(|condition| match condition {
            Match::Source(list) => Some(list.clone()),
            _ => None,
        });
        networks.extend(sources.flatten().map(|network| (set, network)));
        // Whatever is put in there, only the LAN is let in.
        let segment = lab.topology.dmz.networks();
        let v4 = set == CONSOLE_SET_V4;
        let own = segment
            .into_iter()
            .filter(|network| network.addr().is_ipv4() == v4);
        networks.extend(own.map(|network| (set, network)));
    }
    for (set, network) in &networks {
        let element = format!("{{ {network} timeout {SECONDS}s }}");
        lab.bastion
            .run(&["nft", "add", "element", "inet", TABLE, set, &element])
            .await?;
    }
    ensure!(
        open("LAN").await? == targets.len(),
        "promise broken: SSH stays closed to the LAN though somebody at the bastion has asked"
    );
    ensure!(
        open("segment").await? == 0,
        "promise broken: the console's sets open SSH to others than the LAN"
    );
    let patience = Duration::from_secs(SECONDS * 3);
    eventually("SSH to close again", patience, || async {
        Ok(match open("LAN").await? {
            0 => Look::Done(()),
            still => Look::NotYet(format!("{still} of {} open", targets.len())),
        })
    })
    .await
    .context("promise broken: SSH stays open to the LAN")?;
    Ok("the LAN reached SSH once its networks were in the sets, a neighbour did not, and after the timeout nobody did".to_owned())
}

fn targets_of(lab: &Lab) -> Vec<Target> {
    let inside = lab.topology.dmz.host(BASTION).both();
    inside.map(|address| tcp(address, SSH_PORT)).into()
}

/// Begins a connection from an address, and sends an echo request from it; prints what came back.
const ASKING: &str = r#"
import socket, struct, sys
source, target, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket()
s.settimeout(3)
s.bind((source, 0))
try:
    s.connect((target, port))
    print("connected")
except OSError as error:
    print(error)
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(3)
s.bind((source, 0))
s.sendto(struct.pack("!BBHHH", 8, 0, 0x9cfe, 0x5b00, 1), (target, 0))
try:
    while (data := s.recv(2048))[20] != 0:
        pass
    print("echoed")
except OSError as error:
    print(error)
"#;

/// The one refusal that names single addresses on the Internet keeps nobody from being answered
/// who was let in: that it is out of reach otherwise is told by `outbound`.
async fn public_address(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let (from, to) = (
        lab.topology.wan.host(ROUTER).v4.to_string(),
        lab.topology.dmz.host(BASTION).v4.to_string(),
    );
    let port = MQTT_PORT.to_string();
    let said = lab
        .router
        .run(&["python3", "-c", ASKING, &from, &to, &port])
        .await?;
    ensure!(
        said.lines().eq(["connected", "echoed"]),
        "promise broken: the router is not answered at its public address {from}: {said}"
    );
    Ok(format!(
        "the router reached the broker from {from}, and its echo request was answered"
    ))
}

async fn ssh(stage: &Stage) -> Result<String> {
    judge(stage.matrix()?, |case| {
        case.whom.starts_with("SSH") && case.sender != Sender::Stranger
    })
}

async fn broker_inside(stage: &Stage) -> Result<String> {
    judge(stage.matrix()?, |case| {
        case.whom.starts_with("broker") && case.sender != Sender::Stranger
    })
}

async fn broker_outside(stage: &Stage) -> Result<String> {
    judge(stage.matrix()?, |case| case.sender == Sender::Stranger)
}

pub(crate) fn judge(matrix: &Matrix, fits: impl Fn(&Case) -> bool) -> Result<String> {
    let mut allowed = Vec::new();
    for case in matrix
        .cases
        .iter()
        .filter(|case| case.expected == Expected::Allowed && fits(case))
    {
        let outcome = outcome(&matrix.on, case)?;
        ensure!(
            outcome.got_through(),
            "promise broken: {} at {} does not get through ({})",
            case.whom,
            case.target,
            outcome.outcome
        );
        allowed.push(case.whom);
    }
    ensure!(!allowed.is_empty(), "nothing that is allowed was tried");
    let stopped = refused(matrix, |case| {
        case.expected == Expected::Refused && fits(case)
    })?;
    allowed.sort_unstable();
    allowed.dedup();
    Ok(format!("open: {}; {stopped}", allowed.join(", ")))
}
