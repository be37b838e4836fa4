//! What comes too often: connections to the broker from one source, and echo requests.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ipnet::{IpNet, Ipv6Net};
use lab::Lab;
use lab::eventually::{Look, eventually};
use lab::node::Node;
use lab::probe::{attempt, tcp};
use lab::roles::bastion;
use lab::topology::{BASTION, ROUTER, STRANGER, nth};
use site::flow::MQTT_PORT;

use crate::shared::{Scenario, Stage, scenario};

/// What one source may begin at once, and in a second after that; as the policy says.
const AT_ONCE: u64 = 400;
const PER_SECOND: u64 = 10;
/// What a flood begins: more than everybody together may, so that the one limit is told from the other.
const FLOOD: u64 = 4000;
/// Rule for what the bastion's programs say to each other.
const LOOPBACK: &str = "loopback-in";
/// Packets over loopback, far more than anybody's share of echoes.
const MANY: u64 = 400;
const ASKING: Duration = Duration::from_secs(15);
/// The limit for everybody together.
pub(crate) const IN_TOTAL: &str = "f1-limit-total";
/// Number of the flooding address on the WAN.
const FLOODER: u8 = 99;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario!(
            "limits::a_flood_from_one_source_shuts_nobody_else_out",
            flood
        ),
        scenario!(
            "limits::echo_is_answered_at_a_rate_and_never_asked_for",
            echo
        ),
    ]
}

/// Begins connections from one address all at once, and prints how many came about within 10 s, or so many
/// seconds as the fifth argument says.
pub(crate) const FLOODING: &str = r#"
import select, socket, sys, time
source, target, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
family = socket.AF_INET6 if ":" in target else socket.AF_INET
poll, open_sockets, came = select.poll(), {}, 0
for _ in range(count):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setblocking(False)
    s.bind((source, 0))
    s.connect_ex((target, port))
    open_sockets[s.fileno()] = s
    poll.register(s, select.POLLOUT)
end = time.monotonic() + (float(sys.argv[5]) if len(sys.argv) > 5 else 10)
while open_sockets and time.monotonic() < end:
    for fd, _ in poll.poll(100):
        poll.unregister(fd)
        s = open_sockets.pop(fd)
        came += s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        s.close()
print(came)
"#;

/// Asks for so many echoes at once, and prints how many came back in 1 s. With a third argument it asks
/// for so many again and again, for that many seconds.
const ECHOING: &str = r#"
import select, socket, struct, sys, time
target, count = sys.argv[1], int(sys.argv[2])
v6 = ":" in target
kind, answer = (128, 129) if v6 else (8, 0)
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW,
                  socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
ident = 0x5b17
def packet(sequence):
    head = struct.pack("!BBHHH", kind, 0, 0, ident, sequence)
    total = sum(struct.unpack("!4H", head))
    total = (total & 0xffff) + (total >> 16)
    return head[:2] + struct.pack("!H", ~total & 0xffff) + head[4:]
until = time.monotonic() + (float(sys.argv[3]) if len(sys.argv) > 3 else 0)
came, again = 0, True
while again:
    for sequence in range(count):
        try:
            s.sendto(packet(sequence), (target, 0))
        except OSError:
            pass
    again = time.monotonic() < until
    end = time.monotonic() + (0.02 if again else 1)
    while (left := end - time.monotonic()) > 0:
        if not select.select([s], [], [], left)[0]:
            break
        data = s.recv(2048)
        data = data if v6 else data[(data[0] & 15) * 4:]
        came += data[0] == answer and struct.unpack("!H", data[4:6])[0] == ident
print(came)
"#;

pub(crate) async fn python(node: &Node, program: &str, arguments: &[&str]) -> Result<u64> {
    let said = node
        .run(&[&["python3", "-c", program], arguments].concat())
        .await?;
    said.trim()
        .parse()
        .with_context(|| format!("the program on {} said {said}", node.name))
}

async fn flood(stage: &Stage) -> Result<String> {
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    // An IPv6 source is its /64, so the flooder needs one of its own, behind the stranger.
    let own = another_prefix(lab)?;
    let (v4, v6) = (
        nth(&IpNet::V4(lab.topology.wan.v4), FLOODER),
        nth(&IpNet::V6(own), FLOODER),
    );
    lab.stranger
        .script(&format!(
            "ip addr replace {v4}/24 dev eth0; ip addr replace {v6}/64 dev eth0 nodad preferred_lft 0"
        ))
        .await?;
    let stranger = lab.topology.wan.host(STRANGER);
    lab.router
        .script(&format!("ip -6 route replace {own} via {}", stranger.v6))
        .await?;
    let mut shown = Vec::new();
    for (source, target) in [
        (v4, lab.topology.wan.host(ROUTER).v4),
        (v6, lab.topology.dmz.host(BASTION).v6),
    ] {
        shown.push(flood_from(lab, source, target).await?);
    }
    Ok(shown.join("; "))
}

fn another_prefix(lab: &Lab) -> Result<Ipv6Net> {
    let mut segments = lab.topology.wan.v6.network().segments();
    segments[3] = 0x99;
    Ipv6Net::new(segments.into(), 64).context("choosing a prefix for the flooder")
}

async fn flood_from(lab: &Lab, source: IpAddr, target: IpAddr) -> Result<String> {
    let rule = match source {
        IpAddr::V4(_) => "f1-limit-source-v4",
        IpAddr::V6(_) => "f1-limit-source-v6",
    };
    let lets_in = rule.replace("limit-source", "meters");
    let before = counted_by(lab, rule).await?;
    let let_in_before = counted_by(lab, &lets_in).await?;
    let in_total = counted_by(lab, IN_TOTAL).await?;
    let begun = Instant::now();
    let arguments = [
        source.to_string(),
        target.to_string(),
        MQTT_PORT.to_string(),
        FLOOD.to_string(),
    ];
    let came = python(
        &lab.stranger,
        FLOODING,
        &arguments.each_ref().map(String::as_str),
    )
    .await?;
    let most = AT_ONCE + PER_SECOND * (begun.elapsed().as_secs() + 1);
    ensure!(
        came > 0,
        "proves nothing: none of {FLOOD} connections from {source} came about"
    );
    ensure!(
        came <= most,
        "promise broken: {came} of {FLOOD} connections from {source} came about, at most {most} may"
    );
    let everybody = counted_by(lab, IN_TOTAL).await?.saturating_sub(in_total);
    ensure!(
        everybody == 0,
        "promise broken: the flood from {source} used up what everybody together may begin, {IN_TOTAL} refused \
         {everybody} packets"
    );
    // A broker that is slow to accept would keep the number down, too.
    let let_in = counted_by(lab, &lets_in)
        .await?
        .saturating_sub(let_in_before);
    ensure!(
        let_in >= AT_ONCE,
        "promise broken: of {FLOOD} connections from {source} {lets_in} let {let_in} in, at least {AT_ONCE} must be"
    );
    let refused = counted_by(lab, rule).await?.saturating_sub(before);
    ensure!(
        refused >= FLOOD - most,
        "proves nothing: {rule} refused only {refused} of {FLOOD} connections from {source}"
    );
    let others = attempt(&lab.meters, "root", &[tcp(target, MQTT_PORT)]).await?;
    ensure!(
        others.iter().all(lab::probe::Outcome::got_through),
        "promise broken: while {source} floods the broker, others cannot reach it at {target}"
    );
    Ok(format!(
        "{came} of {FLOOD} connections from {source} came about, {let_in} were let in, {rule} refused {refused} \
         packets, and another source got in"
    ))
}

/// Packets that a rule of the bastion has counted.
pub(crate) async fn counted_by(lab: &Lab, rule: &str) -> Result<u64> {
    let counted = bastion::counters(&lab.bastion).await?;
    let counted = counted.iter().find(|(name, _)| name == rule);
    Ok(counted.map_or(0, |(_, packets)| *packets))
}

/// How many echoes somebody gets while a program of the bastion asks for many over loopback: nobody's
/// share is used up there.
async fn meanwhile(lab: &Lab, bastion: IpAddr) -> Result<u64> {
    let own = match bastion {
        IpAddr::V4(_) => "127.0.0.1",
        IpAddr::V6(_) => "::1",
    };
    let inside = async { python(&lab.bastion, ECHOING, &[own, "20", "4"]).await };
    let before = counted_by(lab, LOOPBACK).await?;
    let outside = async {
        // Whatever was saved up is used up by then, if it is used at all.
        eventually(
            "programs of the bastion to ask each other",
            ASKING,
            || async {
                let asked = counted_by(lab, LOOPBACK).await?.saturating_sub(before);
                Ok(match asked {
                    0..=MANY => Look::NotYet(format!("{asked} packets")),
                    _ => Look::Done(()),
                })
            },
        )
        .await?;
        python(&lab.neighbour, ECHOING, &[&bastion.to_string(), "60"]).await
    };
    let (inside, outside) = tokio::join!(inside, outside);
    let (inside, outside) = (inside?, outside?);
    ensure!(
        inside > MANY,
        "proves nothing: programs of the bastion got {inside} echoes from each other"
    );
    ensure!(
        outside >= 5,
        "promise broken: while programs of the bastion ask each other for echoes, a neighbour gets {outside} of 60"
    );
    Ok(outside)
}

async fn echo(stage: &Stage) -> Result<String> {
    const ASKED: &str = "60";
    let lab = &stage.lab;
    let _turn = stage.bastion_turn.lock().await;
    let mut shown = Vec::new();
    let (bastion, router) = (
        lab.topology.dmz.host(BASTION),
        lab.topology.dmz.host(ROUTER),
    );
    for (bastion, router) in bastion.both().into_iter().zip(router.both()) {
        let came = python(&lab.neighbour, ECHOING, &[&bastion.to_string(), ASKED]).await?;
        ensure!(
            came > 0,
            "promise broken: {bastion} answers no echo request"
        );
        ensure!(
            came <= 30,
            "promise broken: {bastion} answers {came} of {ASKED} echo requests that come at once"
        );
        let twin = python(&lab.neighbour, ECHOING, &[&router.to_string(), ASKED]).await?;
        ensure!(twin > 0, "proves nothing: {router} answers nobody");
        let asked = python(&lab.bastion, ECHOING, &[&router.to_string(), ASKED]).await?;
        ensure!(
            asked == 0,
            "promise broken: root on the bastion got {asked} echoes from {router}"
        );
        let meanwhile = meanwhile(lab, bastion).await?;
        shown.push(format!(
            "{bastion} answered {came} of {ASKED}, {meanwhile} while its own programs asked each other, and got none \
             itself"
        ));
    }
    Ok(shown.join("; "))
}
