//! IPv6 multicast listener discovery on the segment, the sentence between a machine and a switch that
//! otherwise hides neighbours from each other: the bastion says which groups it hears, and answers
//! a router that asks. The other half of either, what only a router says, it neither says nor takes.

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::node::{Node, Upload};

use crate::limits::counted_by;
use crate::shared::{Scenario, Stage, scenario};

const PROGRAM: &str = "/root/groups.py";
const MEMBER: &str = "member";
const LISTENER: &str = "mld-listener";
const LOG: &str = "/var/log/mld-listener.log";
const PATIENCE: Duration = Duration::from_secs(10);
/// Rule that lets a router's questions in.
const IN: &str = "f8-groups-in";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("groups::the_bastion_says_which_groups_it_hears", says),
        scenario!("groups::a_router_that_asks_is_answered", answers),
    ]
}

/// Groups of this scenario alone.
fn group(n: u16) -> String {
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x5b, n).to_string()
}

async fn says(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let heard = listening(lab, async || {
        let [own, by_hand, far, asked] = [1, 2, 3, 4].map(group);
        join(lab, &own).await?;
        let said = heard(lab, "joined", &own).await;
        lab.bastion.end(MEMBER, "TERM").await?;
        said.context("promise broken: a switch does not hear which groups the bastion hears")?;
        // Nothing of this leaves; what is sent behind it and arrives is the proof that it would have.
        let hand_written = async |kind: &str, hops: &str, group: &str| {
            let command = ["python3", PROGRAM, "packet", kind, hops, group];
            lab.bastion.run(&command).await
        };
        let question = hand_written("query", "1", &asked).await?;
        let far_report = hand_written("report", "2", &far).await?;
        let report = hand_written("report", "1", &by_hand).await?;
        ensure!(
            report.trim() == "sent",
            "proves nothing: root on the bastion cannot say by hand that it hears a group: {report}"
        );
        heard(lab, "joined", &by_hand)
            .await
            .context("proves nothing: what root on the bastion writes by hand does not arrive")?;
        let all = lab.neighbour.run(&["cat", LOG]).await?;
        let own = own_address(&lab.bastion).await?;
        let arrived = |group: &str| {
            let is = |line: &str| line.contains(&own) && line.ends_with(&format!(" {group}"));
            all.lines().any(is)
        };
        ensure!(
            !arrived(&asked)
                && !arrived(&far)
                && question.trim() != "sent"
                && far_report.trim() != "sent",
            "promise broken: the bastion asks as only a router does ({}), or speaks beyond its segment ({})",
            question.trim(),
            far_report.trim()
        );
        Ok(format!(
            "a neighbour heard that the bastion hears a group; a router's question from the bastion was refused \
             ({}), and a report that a router would pass on ({})",
            question.trim(),
            far_report.trim()
        ))
    });
    heard.await
}

async fn answers(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    listening(lab, async || {
        let [own, other] = [5, 6].map(group);
        join(lab, &own).await?;
        let answered = asked(lab, &own, &other).await;
        lab.bastion.end(MEMBER, "TERM").await?;
        answered
    })
    .await
}

/// Asks as a router on the segment does, behind what must not be let in.
async fn asked(lab: &Lab, own: &str, other: &str) -> Result<String> {
    let mac = lab
        .bastion
        .run(&["cat", "/sys/class/net/eth0/address"])
        .await?;
    let send = async |kind: &str, hops: &str, group: &str| {
        let command = ["python3", PROGRAM, "frame", kind, hops, group, mac.trim()];
        lab.neighbour.run(&command).await
    };
    let before = counted_by(lab, IN).await?;
    send("query", "2", own).await?;
    send("report", "1", other).await?;
    let wrong = counted_by(lab, IN).await?.saturating_sub(before);
    ensure!(
        wrong == 0,
        "promise broken: {IN} lets in a question from beyond the segment, or what only members say"
    );
    send("query", "1", own).await?;
    heard(lab, "asked", own).await.context(
        "promise broken: a router asks which groups are heard, and the bastion does not answer",
    )?;
    let counted = counted_by(lab, IN).await?.saturating_sub(before);
    ensure!(
        counted == 1,
        "proves nothing: {IN} counted {counted} packets for one question"
    );
    Ok(format!(
        "a neighbour asked as a router does and was answered; {IN} let in that question alone, not one with a hop \
         limit of 2 and no member's report"
    ))
}

/// Lets the neighbour listen while something is done.
async fn listening(lab: &Lab, work: impl AsyncFnOnce() -> Result<String>) -> Result<String> {
    let program = || {
        [Upload {
            path: PROGRAM.to_owned(),
            mode: 0o755,
            content: include_bytes!("groups.py").to_vec(),
        }]
    };
    lab.neighbour.upload(&program()).await?;
    lab.bastion.upload(&program()).await?;
    lab.neighbour.script(&format!("rm -f {LOG}")).await?;
    let command = ["python3", PROGRAM, "listen"];
    lab.neighbour.spawn(LISTENER, &command).await?;
    let worked = match line(lab, "listening").await {
        Ok(()) => work().await,
        Err(error) => Err(error.context("proves nothing: the neighbour does not listen")),
    };
    lab.neighbour.end(LISTENER, "TERM").await?;
    worked
}

/// An ordinary program on the bastion is a member of a group.
async fn join(lab: &Lab, group: &str) -> Result<()> {
    let command = [
        "setpriv",
        "--reuid",
        "daemon",
        "--clear-groups",
        "python3",
        "-c",
        include_str!("groups.py"),
        "join",
        group,
    ];
    lab.bastion.spawn(MEMBER, &command).await
}

/// Waits until the neighbour has heard something of a group from the bastion.
async fn heard(lab: &Lab, kind: &str, group: &str) -> Result<()> {
    let from = own_address(&lab.bastion).await?;
    line(lab, &format!("{kind} {from} {group}")).await
}

async fn line(lab: &Lab, wanted: &str) -> Result<()> {
    eventually(
        format!("the neighbour to hear: {wanted}"),
        PATIENCE,
        || async {
            let log = lab.neighbour.run(&["cat", LOG]).await.unwrap_or_default();
            Ok(match log.lines().any(|line| line == wanted) {
                true => Look::Done(()),
                false => Look::NotYet(log),
            })
        },
    )
    .await
}

/// A machine's link-local address.
async fn own_address(node: &Node) -> Result<String> {
    let command = [
        "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link",
    ];
    let shown = node.run(&command).await?;
    let address = shown.split_whitespace().nth(3);
    let address = address.and_then(|address| address.split_once('/'));
    let (address, _) = address.with_context(|| format!("no link-local address: {shown}"))?;
    Ok(address.to_owned())
}
