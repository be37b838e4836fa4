//! Routers that put their own address on what they forward: meters come in all the same when the
//! site file names that address, and all of them together are bounded.
//!
//! The lab's router does so for one address on the WAN only, so that everybody else comes as before.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use ipnet::IpNet;
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::roles::bastion;
use lab::topology::{BASTION, COLLECTOR, ROUTER, nth};
use site::flow::{MQTT_PORT, Policy};

use crate::limits::{FLOODING, IN_TOTAL, counted_by, python};
use crate::shared::{Scenario, Stage, scenario};

/// Number of the address on the WAN that the router hides. Nobody else's: what the router decided about
/// a flood's connection holds for two minutes, also for a new one from the same port.
const HIDDEN: u8 = 96;
/// More than everybody together may begin at once.
const FLOOD: u64 = 4000;
/// Seconds in which a connection comes about or not.
const PATIENCE: &str = "3";
/// What everybody together may begin at once, and in a second after that; as the policy says.
const AT_ONCE: u64 = 2000;
const PER_SECOND: u64 = 100;
/// How long a flood may take to use that up.
const USED_UP: Duration = Duration::from_secs(30);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "masqueraded::meters_behind_the_routers_own_address_reach_the_broker",
            alone,
            reaching
        ),
        scenario!(
            "masqueraded::all_of_them_together_are_bounded",
            alone,
            bounded
        ),
    ]
}

/// Where the hidden address is, and where it goes to; IPv4 through the port forward.
fn ways(lab: &Lab) -> [(IpAddr, IpAddr); 2] {
    let wan = &lab.topology.wan;
    [
        (nth(&IpNet::V4(wan.v4), HIDDEN), wan.host(ROUTER).v4),
        (
            nth(&IpNet::V6(wan.v6), HIDDEN),
            lab.topology.dmz.host(BASTION).v6,
        ),
    ]
}

async fn hide(lab: &Lab) -> Result<()> {
    let [(v4, _), (v6, _)] = ways(lab);
    lab.stranger
        .script(&format!(
            "ip addr replace {v4}/24 dev eth0; ip addr replace {v6}/64 dev eth0 nodad preferred_lft 0"
        ))
        .await?;
    lab.router
        .script(&format!(
            "nft -f - <<'RULES'
table inet masqueraded
delete table inet masqueraded
table inet masqueraded {{
    chain postrouting {{
        type nat hook postrouting priority srcnat - 1
        ip saddr {v4} tcp dport {MQTT_PORT} masquerade
        ip6 saddr {v6} tcp dport {MQTT_PORT} masquerade
    }}
}}
RULES
"
        ))
        .await
        .map(drop)
}

/// How many connections of so many from the hidden address come about.
async fn come(lab: &Lab, (source, target): (IpAddr, IpAddr), count: u64) -> Result<u64> {
    let arguments = [
        source.to_string(),
        target.to_string(),
        MQTT_PORT.to_string(),
        count.to_string(),
        PATIENCE.to_owned(),
    ];
    let arguments = arguments.each_ref().map(String::as_str);
    python(&lab.stranger, FLOODING, &arguments).await
}

/// The lab's policy if its site names the router already, as in a mutation run; otherwise that of
/// the same site that names it.
fn naming_the_router(lab: &Lab) -> Policy {
    if !lab.description.masquerades_as.is_empty() {
        return lab.policy.clone();
    }
    let mut description = lab.description.clone();
    description.masquerades_as = lab.topology.dmz.host(ROUTER).both().into();
    let policy = Policy::of(&lab.site, &description);
    let taken_out = lab.taken_out.as_ref();
    let without = taken_out.and_then(|rule| policy.without(&rule.name));
    without.unwrap_or(policy)
}

async fn load(lab: &Lab, policy: &Policy) -> Result<()> {
    bastion::load(&lab.bastion, &lab.render(policy)?).await
}

async fn reaching(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    hide(lab).await?;
    let mut unnamed = lab.description.clone();
    unnamed.masquerades_as.clear();
    for way in ways(lab) {
        load(lab, &Policy::of(&lab.site, &unnamed)).await?;
        let twin = come(lab, way, 1).await;
        load(lab, &naming_the_router(lab)).await?;
        let came = come(lab, way, 1).await;
        load(lab, &lab.policy).await?;
        ensure!(
            twin? == 0,
            "proves nothing: {} comes in without the router being named, so it does not hide it",
            way.0
        );
        ensure!(
            came? == 1,
            "promise broken: {} behind the router's own address does not reach the broker",
            way.0
        );
    }
    Ok(
        "reached over IPv4 and IPv6 when the site file names the router, and not otherwise"
            .to_owned(),
    )
}

/// No single source is told from another behind the router, so only the limit for all holds.
async fn bounded(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    hide(lab).await?;
    let mut shown = Vec::new();
    for way in ways(lab) {
        // Loaded anew, everybody's share is whole.
        load(lab, &naming_the_router(lab)).await?;
        let flooded = flooded(lab, way).await;
        load(lab, &lab.policy).await?;
        shown.push(flooded?);
    }
    Ok(shown.join("; "))
}

async fn flooded(lab: &Lab, way: (IpAddr, IpAddr)) -> Result<String> {
    let begun = std::time::Instant::now();
    let (came, reader) = tokio::join!(come(lab, way, FLOOD), reader_meanwhile(lab, way.0));
    let (came, reader) = (came?, reader?);
    let seconds = begun.elapsed().as_secs() + 1;
    let refused = counted_by(lab, IN_TOTAL).await?;
    let rule = match way.0 {
        IpAddr::V4(_) => "f1-router-v4",
        IpAddr::V6(_) => "f1-router-v6",
    };
    let let_in = counted_by(lab, rule).await?;
    let most = AT_ONCE + PER_SECOND * seconds;
    ensure!(
        came > 0 && let_in >= AT_ONCE,
        "promise broken: of {FLOOD} connections through the router {let_in} were let in, at least {AT_ONCE} must be"
    );
    ensure!(
        let_in <= most && refused > 0,
        "promise broken: of {FLOOD} connections through the router {let_in} were let in, at most {most} may; \
         {IN_TOTAL} refused {refused} packets"
    );
    Ok(format!(
        "of {FLOOD} connections from {} {let_in} were let in, {IN_TOTAL} refused {refused} packets, and all {reader} \
         of a reader were let in meanwhile",
        way.0
    ))
}

/// A reader's connections, begun when everybody's share is used up, over IPv4 or IPv6 as somebody
/// else floods: more of them than the share grows by until then. Only the rules are judged: the
/// broker itself is busy.
async fn reader_meanwhile(lab: &Lab, flooder: IpAddr) -> Result<u64> {
    const COUNT: u64 = 600;
    let of_family = |[v4, v6]: [IpAddr; 2]| if flooder.is_ipv4() { v4 } else { v6 };
    let rule = if flooder.is_ipv4() {
        "f2-readers-v4"
    } else {
        "f2-readers-v6"
    };
    eventually("everybody's share to be used up", USED_UP, || async {
        Ok(match counted_by(lab, IN_TOTAL).await? {
            0 => Look::NotYet("nothing was refused".to_owned()),
            _ => Look::Done(()),
        })
    })
    .await?;
    let before = counted_by(lab, rule).await?;
    let arguments = [
        of_family(lab.topology.lan.host(COLLECTOR).both()).to_string(),
        of_family(lab.topology.dmz.host(BASTION).both()).to_string(),
        MQTT_PORT.to_string(),
        COUNT.to_string(),
        // Nobody asks twice within this time.
        "0.8".to_owned(),
    ];
    let arguments = arguments.each_ref().map(String::as_str);
    python(&lab.collector, FLOODING, &arguments).await?;
    let let_in = counted_by(lab, rule).await?.saturating_sub(before);
    ensure!(
        let_in >= COUNT,
        "promise broken: while others use up everybody's share, {rule} lets {let_in} of {COUNT} connections of a \
         reader in"
    );
    Ok(COUNT)
}
