//! The limit for all sources together, which no scenario of the lab reaches.

use std::process::Command;
use std::time::Instant;

use bastion::firewall;

use crate::namespace::{DONE, has, host, inside, is_inside, ruleset};

const TOTAL: &str = "limits::inside_many_sources_together_begin_no_more_than_the_limit_for_all";

fn counted(name: &str) -> u64 {
    crate::namespace::counted("inet", "shelly_bastion", name)
}

#[test]
fn many_sources_together_begin_no_more_than_the_limit_for_all() {
    if has(TOTAL, &["python3", "ip", "sysctl"]) {
        inside(TOTAL);
    }
}

/// Loopback is let in, so the packets go over a pair of interfaces whose other end is a machine
/// that puts another source into each.
#[test]
#[ignore = "the inner half of many_sources_together_begin_no_more_than_the_limit_for_all"]
fn inside_many_sources_together_begin_no_more_than_the_limit_for_all() {
    if !is_inside() {
        return;
    }
    const SENT: u64 = 3000;
    const AT_ONCE: u64 = 2000;
    const PER_SECOND: u64 = 100;
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {output:?}"
        );
    };
    firewall::load(&host(), &ruleset("home")).unwrap();
    // The other end has no process of its own: its packets are written to the interface's peer.
    run(
        "ip",
        &[
            "link",
            "add",
            "near",
            "address",
            "02:00:00:00:00:01",
            "type",
            "veth",
            "peer",
            "name",
            "far",
            "address",
            "02:00:00:00:00:02",
        ],
    );
    run("ip", &["address", "add", "192.168.2.2/24", "dev", "near"]);
    run("ip", &["link", "set", "near", "up"]);
    run("ip", &["link", "set", "far", "up"]);
    run(
        "sysctl",
        &[
            "-q",
            "-w",
            "net.ipv4.conf.near.rp_filter=0",
            "net.ipv4.conf.all.rp_filter=0",
        ],
    );
    let begun = Instant::now();
    run("python3", &["-c", SENDING, &SENT.to_string()]);
    let counts = || (counted("f1-meters-v4"), counted("f1-limit-total"));
    // The kernel may still be at work on the last ones.
    while counts().0 + counts().1 < SENT && begun.elapsed().as_secs() < 60 {}
    let (let_in, held) = counts();
    let most = AT_ONCE + PER_SECOND * (begun.elapsed().as_secs() + 1);
    assert_eq!(let_in + held, SENT, "{let_in} let in, {held} held back");
    assert_eq!(counted("f1-limit-source-v4"), 0);
    assert!(
        let_in >= AT_ONCE && let_in <= most,
        "{let_in} let in, at most {most} may"
    );
    println!("{DONE}");
}

/// Sends so many SYNs from as many sources to the machine's interface, from its other end.
const SENDING: &str = r#"
import socket, struct, sys
near, far = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
def total(data):
    words = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while words >> 16:
        words = (words & 0xffff) + (words >> 16)
    return struct.pack("!H", ~words & 0xffff)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("far", 0))
to = socket.inet_aton("192.168.2.2")
for n in range(int(sys.argv[1])):
    source = socket.inet_aton("198.51.%d.%d" % (n // 250, n % 250 + 1))
    tcp = struct.pack("!HHIIBBHHH", 40000, 1883, 1, 0, 5 << 4, 2, 65535, 0, 0)
    tcp = tcp[:16] + total(source + to + struct.pack("!HH", 6, 20) + tcp) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, n, 0, 64, 6, 0) + source + to
    ip = ip[:10] + total(ip) + ip[12:]
    s.send(near + far + b"\x08\x00" + ip + tcp)
"#;
