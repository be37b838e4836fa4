//! Connections to package mirrors at their end, when they are no program's any more; and connections
//! that were there before the policy, which belong to no flow of it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::node::{Node, Upload};
use lab::roles::bastion;
use lab::topology::{HOME_SERVER, METERS, ROUTER};
use site::flow::APT_USER;

use crate::limits::counted_by;
use crate::shared::{Scenario, Stage, scenario};

const PROGRAM: &str = "/usr/local/bin/updates.py";
const ENDS: &str = "f6-ends-v4";
/// Where nothing else listens on the machines concerned: what comes to port 80 from some ports is
/// led there.
const FREE: &str = "8080";
const FROM: [&str; 2] = ["47000", "47999"];
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("updates::a_connection_to_a_mirror_comes_to_its_end", ends),
        scenario!(
            "updates::what_was_open_before_the_policy_is_cut",
            alone,
            before
        ),
    ]
}

/// apt is gone before the mirror ends the connection: the last packet is nobody's.
async fn ends(stage: &Stage) -> Result<String> {
    const SERVER: &str = "mirror";
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let mirror = lab.topology.wan.host(METERS).v4.to_string();
    bring(&[&lab.meters, &lab.bastion]).await?;
    start(&lab.meters, SERVER, &["serve", &mirror, "443"]).await?;
    let before = counted_by(lab, ENDS).await?;
    let fetched = lab
        .bastion
        .exec(APT_USER, &["python3", PROGRAM, "fetch", &mirror, "443"])
        .await;
    let said = says(&lab.meters, SERVER, &["ended", "left"]).await;
    lab.meters.end(SERVER, "TERM").await?;
    fetched?
        .success()
        .context("proves nothing: apt reaches no mirror")?;
    let said = said?;
    ensure!(
        said.lines().any(|line| line == "ended"),
        "promise broken: a mirror waits in vain for the last packet of a connection: {said}"
    );
    let counted = counted_by(lab, ENDS).await?.saturating_sub(before);
    ensure!(
        counted > 0,
        "proves nothing: the connection ended without {ENDS}"
    );
    Ok(format!(
        "apt was gone, the mirror ended the connection and was answered; {ENDS} let {counted} packets out"
    ))
}

/// To whom the broker's user has a connection when the policy comes, each kept from him by another
/// rule.
fn opened(lab: &Lab) -> [IpAddr; 5] {
    let topology = &lab.topology;
    [
        topology.lan.host(HOME_SERVER).v4,
        topology.lan_unnamed.host(HOME_SERVER).v4,
        topology.dmz.host(ROUTER).v4,
        topology.wan.host(ROUTER).v4,
        topology.neighbour_foreign.v4,
    ]
}

/// Without the policy words arrive, with it none does on the same connections.
async fn before(stage: &Stage) -> Result<String> {
    const SERVER: &str = "acceptor";
    let lab = &stage.lab;
    let servers = [&lab.home_server, &lab.router, &lab.neighbour];
    bring(&servers).await?;
    bring(&[&lab.bastion]).await?;
    let [first, last] = FROM;
    for node in servers {
        start(node, SERVER, &["accept", FREE]).await?;
        node.script(&format!(
            "nft 'table inet updates {{ chain prerouting {{ type nat hook prerouting priority dstnat - 1; \
             tcp sport {first}-{last} tcp dport 80 redirect to :{FREE}; }}; }}'"
        ))
        .await?;
    }
    let shown = held(lab).await;
    for node in servers {
        node.script("nft delete table inet updates").await?;
        node.end(SERVER, "KILL").await?;
    }
    shown
}

async fn held(lab: &Lab) -> Result<String> {
    const HOLDER: &str = "holder";
    const TOLD: &str = "/run/updates-told";
    let mut all = opened(lab).map(|address| address.to_string());
    all.sort_unstable();
    lab.bastion.script(&format!("rm -f {TOLD}")).await?;
    let [first, last] = FROM;
    let mut command = vec!["hold", TOLD, "80", first, last];
    command.extend(all.iter().map(String::as_str));
    bastion::remove_policy(&lab.bastion).await?;
    let opened = start_as(&lab.bastion, "mosquitto", HOLDER, &command, "connected").await;
    let tell = async |round: usize| {
        lab.bastion
            .script(&format!("echo {round} >{TOLD}.new; mv {TOLD}.new {TOLD}"))
            .await?;
        let said = rounds(&lab.bastion, HOLDER, round).await?;
        let arrived = said.split_whitespace().skip(1);
        Ok::<_, anyhow::Error>(arrived.map(str::to_owned).collect::<Vec<_>>())
    };
    let twin = match &opened {
        Ok(()) => tell(1).await,
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    // Whatever came of it, the policy is there again.
    bastion::load(&lab.bastion, &lab.render(&lab.policy)?).await?;
    let twin = twin?;
    let cut = tell(2).await;
    lab.bastion.end(HOLDER, "KILL").await?;
    let cut = cut?;
    ensure!(
        twin == all,
        "proves nothing: without the policy words arrive at {twin:?} alone, not at {all:?}"
    );
    ensure!(
        cut.is_empty(),
        "promise broken: on connections from before the policy words still arrive at {cut:?}"
    );
    Ok(format!(
        "{} connections inwards were open when the policy came; a word on each arrived before, and none after",
        all.len()
    ))
}

async fn bring(nodes: &[&Node]) -> Result<()> {
    for node in nodes {
        let program = Upload {
            path: PROGRAM.to_owned(),
            mode: 0o755,
            content: include_bytes!("updates.py").to_vec(),
        };
        node.upload(&[program]).await?;
    }
    Ok(())
}

async fn start(node: &Node, name: &str, arguments: &[&str]) -> Result<()> {
    start_as(node, "root", name, arguments, "listening").await
}

/// Starts the program, and waits until it says that it is ready.
async fn start_as(
    node: &Node,
    user: &str,
    name: &str,
    arguments: &[&str],
    ready: &str,
) -> Result<()> {
    node.script(&format!("rm -f /var/log/{name}.log")).await?;
    let as_user = [
        "setpriv",
        "--reuid",
        user,
        "--clear-groups",
        "python3",
        PROGRAM,
    ];
    node.spawn(name, &[&as_user, arguments].concat()).await?;
    says(node, name, &[ready]).await.map(drop)
}

/// Waits for a line that begins with one of these words, and returns all that was said.
async fn says(node: &Node, name: &str, words: &[&str]) -> Result<String> {
    let log = format!("/var/log/{name}.log");
    eventually(
        format!("{name} on {} to say {words:?}", node.name),
        PATIENCE,
        || async {
            let said = node.run(&["cat", &log]).await.unwrap_or_default();
            let found = said
                .lines()
                .any(|line| words.iter().any(|word| line.starts_with(word)));
            Ok(if found {
                Look::Done(said)
            } else {
                Look::NotYet(said)
            })
        },
    )
    .await
}

/// Waits for what came of the words of a round.
async fn rounds(node: &Node, name: &str, round: usize) -> Result<String> {
    let log = format!("/var/log/{name}.log");
    eventually(
        format!("{name} on {} to tell of round {round}", node.name),
        PATIENCE,
        || async {
            let said = node.run(&["cat", &log]).await.unwrap_or_default();
            let line = said
                .lines()
                .filter(|line| line.starts_with("arrived"))
                .nth(round - 1);
            Ok(match line {
                Some(line) => Look::Done(line.to_owned()),
                None => Look::NotYet(said),
            })
        },
    )
    .await
}
