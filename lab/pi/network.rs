//! The network's own needs under the policy: an address that must be renewed every minute, and
//! paths that carry less than the machine thinks.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lab::eventually::{Look, eventually};
use lab::judge::TOLERANCE_NS;
use lab::roles::router;
use lab::topology::{BASTION, ROUTER};
use lab::virtual_pi::machine::MAC;

use crate::deployed::DEPLOYED;
use crate::flow::Flow;
use crate::stage::{Scenario, Stage, scenario};

const FIVE_MINUTES: Duration = Duration::from_secs(300);
const A_WHILE: Duration = Duration::from_secs(120);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!("pi::dhcp_renews_a_short_lease", from DEPLOYED, lease).only_in_full(),
        scenario!("pi::a_narrow_path_is_learned", from DEPLOYED, path_mtu).only_in_full(),
    ]
}

/// Seconds for which the machine still has its address.
async fn valid_for(stage: &Stage) -> Result<u64> {
    let said = stage
        .machine()
        .at_console("ip -4 addr show dev eth0")
        .await?;
    let words: Vec<&str> = said.split_whitespace().collect();
    let at = words
        .iter()
        .position(|word| *word == "valid_lft")
        .context("it has no address")?;
    let left = words.get(at + 1).copied().unwrap_or_default();
    left.trim_end_matches("sec")
        .parse()
        .with_context(|| format!("the address is valid for {left}"))
}

async fn lease(stage: &Stage) -> Result<String> {
    let (node, topology) = (&stage.lab.router, &stage.lab.topology);
    // The machine that plays the Internet has what the router lacks.
    let busybox = stage
        .lab
        .outside
        .run(&["base64", "-w", "0", "/bin/busybox"])
        .await?;
    let busybox = BASE64.decode(busybox.trim()).context("fetching busybox")?;
    router::short_leases(node, topology, MAC, busybox).await?;
    let done = renewed(stage).await;
    router::usual_leases(node, topology, MAC).await?;
    done
}

async fn renewed(stage: &Stage) -> Result<String> {
    let access = stage.again("dhcp").await?;
    let flow = Flow::begin(stage, &access).await?;
    // Takes the short lease as after a start, and with it the way over the network.
    let renew = "systemctl restart networking.service";
    stage.machine().console(renew, A_WHILE).await?.success()?;
    let short = valid_for(stage).await?;
    ensure!(
        short <= 60,
        "the lease is of {short} s, so nothing is shown"
    );
    flow.start().await?;
    let start = Instant::now();
    let mut renewals = 0;
    let mut last = short;
    let mut least = short;
    while start.elapsed() < FIVE_MINUTES {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let left = valid_for(stage)
            .await
            .context("promise broken: the address is gone")?;
        renewals += usize::from(left > last + 5);
        (last, least) = (left, least.min(left));
    }
    ensure!(
        renewals >= 4,
        "promise broken: the lease of 60 s was renewed {renewals} times in 5 minutes"
    );
    let verdict = flow.end(TOLERANCE_NS).await?;
    // Its twin: a machine that is not answered loses its address in that time.
    router::silence(&stage.lab.router).await?;
    eventually(
        "the address to be lost without a server",
        A_WHILE,
        || async {
            Ok(match valid_for(stage).await {
                Ok(left) => Look::NotYet(format!("{left} s left")),
                Err(_) => Look::Done(()),
            })
        },
    )
    .await?;
    Ok(format!(
        "a lease of 60 s renewed {renewals} times in 5 minutes, never less than {least} s left; meanwhile {verdict}, \
         no connection lost; without a server the address is lost"
    ))
}

/// The collector's way is narrower than either end knows; what is too long for it comes back as
/// an error of the router.
async fn path_mtu(stage: &Stage) -> Result<String> {
    const SENT: usize = 60_000;
    let lab = &stage.lab;
    let bastion = lab.topology.dmz.host(BASTION).v4;
    let narrow = |mtu: u32| format!("ip link set dev eth2 mtu {mtu}");
    let learned = format!(
        "ip route get {}",
        lab.topology.lan.host(lab::topology::ADMIN).v4
    );
    let fetch = |what: &'static str| async move {
        let words = format!("head -c {SENT} /dev/zero | tr '\\0' x; echo");
        let got = lab.access.ssh(&words, Duration::from_secs(40)).await?;
        ensure!(
            got.stdout.len() > SENT,
            "{what}: {} of {SENT} bytes came: {}",
            got.stdout.len(),
            got.stderr
        );
        Ok::<_, anyhow::Error>(())
    };
    lab.router.script(&narrow(1280)).await?;
    let wide = fetch("promise broken: over a narrow path").await;
    let route = stage.machine().at_console(&learned).await;
    // Its twin: without the router's word nobody learns it, and long packets vanish.
    let deaf = "nft insert rule inet shelly_bastion input icmp type destination-unreachable drop; ip route flush cache";
    stage.machine().at_console(deaf).await?;
    let twin = fetch("deaf").await;
    lab.router.script(&narrow(1500)).await?;
    wide?;
    let route = route?;
    ensure!(
        route.contains("mtu 1280"),
        "the path's width was not learned, so nothing is shown: {route}"
    );
    ensure!(
        twin.is_err(),
        "proves nothing: long packets arrive although the machine is deaf to the router"
    );
    let router = lab.topology.dmz.host(ROUTER).v4;
    Ok(format!(
        "{SENT} bytes from {bastion} over a path of 1280 bytes, told by {router}; deaf to it they do not arrive"
    ))
}
