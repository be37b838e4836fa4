//! The second line, at the device: frames past the IP stack, and what it cannot tell.

use std::fs;
use std::process::Command;

use bastion::firewall;
use site::manifest::{EGRESS_TABLE, RENDERED_MARK, RULESET_PATH};

use crate::namespace::{DONE, counted, golden, has, host, inside, is_inside, nft, ruleset};
use crate::segment::{ADMIN, At, BASTION, ROUTER, Segment};

/// The distribution's own, since it is run by a user who may not look into everybody's folders.
const PYTHON: &str = "/usr/bin/python3";
const PROGRAMS: [&str; 5] = ["python3", PYTHON, "ip", "nsenter", "setpriv"];
const HELD: &str = "egress::inside_frames_past_the_policy_are_held";
const BACK: &str = "egress::inside_a_device_that_comes_back_is_held_again";
/// A user without any right but to raw sockets.
const SOMEBODY: &str = "1234";

#[test]
fn frames_past_the_policy_are_held() {
    if has(HELD, &PROGRAMS) {
        inside(HELD);
    }
}

#[test]
fn a_device_that_comes_back_is_held_again() {
    if has(BACK, &PROGRAMS) {
        inside(BACK);
    }
}

/// What is written to the device: to the home server's port 9, as a kind of frame of its own.
#[derive(Clone, Copy)]
struct Frame {
    by: &'static str,
    /// `udp`, or `arp`.
    kind: &'static str,
    /// What the sender tells the kernel of the frame's protocol.
    noted: u16,
    mark: u32,
}

const UDP: Frame = Frame {
    by: "0",
    kind: "udp",
    noted: 0x0800,
    mark: 0,
};

/// Writes a frame, and says what the sender saw, and whether it came. Behind it goes a datagram
/// that the policy lets through: when that has come, the frame would have come.
fn write(segment: &Segment, frame: &Frame) -> (String, bool) {
    let mut watching = segment.watch(WATCHING, frame.kind);
    let mut sending = segment.command(At::Bastion, "setpriv");
    let ids = [
        format!("--reuid={}", frame.by),
        format!("--regid={}", frame.by),
    ];
    sending.args(ids).args([
        "--clear-groups",
        "--inh-caps=+net_raw",
        "--ambient-caps=+net_raw",
    ]);
    sending.args([PYTHON, "-c", WRITING, frame.kind]);
    sending.args([frame.noted.to_string(), frame.mark.to_string()]);
    let sent = sending.output().unwrap();
    assert!(sent.status.success(), "{sent:?}");
    segment.send(At::Bastion, "udp", (BASTION, 0), (ROUTER, 53));
    let came = watching.line();
    assert!(["came", "did not come"].contains(&came.as_str()), "{came}");
    let said = String::from_utf8(sent.stdout).unwrap();
    (said.trim().to_owned(), came == "came")
}

fn held(segment: &Segment, frame: &Frame, rule: &str) {
    let before = counted("netdev", EGRESS_TABLE, rule);
    let (said, came) = write(segment, frame);
    assert!(!came, "{} by {}: it came", frame.kind, frame.by);
    assert_eq!(
        said, "No buffer space available",
        "as dropped packets are told"
    );
    assert_eq!(counted("netdev", EGRESS_TABLE, rule), before + 1, "{rule}");
}

fn passes(segment: &Segment, frame: &Frame) {
    let outcome = write(segment, frame);
    assert_eq!(
        outcome,
        ("sent".to_owned(), true),
        "{} by {}",
        frame.kind,
        frame.by
    );
}

/// What the policy allows gets through at both ends.
fn ordinary(segment: &Segment) {
    let ssh = segment.receive(At::Bastion, "tcp", BASTION, 22);
    let said = segment.send(At::Far, "tcp", (ADMIN, 0), (BASTION, 22));
    assert_eq!((said.as_str(), ssh.heard().len()), ("through", 1), "SSH");
    let names = segment.receive(At::Far, "udp", ROUTER, 53);
    let said = segment.send(At::Bastion, "udp", (BASTION, 0), (ROUTER, 53));
    assert_eq!(
        (said.as_str(), names.heard().len()),
        ("through", 1),
        "names"
    );
}

fn mark() -> u32 {
    let chain = nft(&["list", "chain", "inet", "shelly_bastion", "output"]);
    let (_, rest) = chain.split_once("mark set 0x").unwrap();
    u32::from_str_radix(rest.split(' ').next().unwrap(), 16).unwrap()
}

#[test]
#[ignore = "the inner half of frames_past_the_policy_are_held"]
fn inside_frames_past_the_policy_are_held() {
    if !is_inside() {
        return;
    }
    let segment = Segment::new();
    let rules = ruleset("home");
    firewall::load(&host(), &rules).unwrap();
    assert_eq!(
        firewall::differences(&host(), &rules).unwrap(),
        Vec::<String>::new()
    );
    ordinary(&segment);
    let somebody = |frame: Frame| Frame {
        by: SOMEBODY,
        ..frame
    };
    let lying = Frame {
        noted: 0x0806,
        ..UDP
    };
    let arp = Frame {
        kind: "arp",
        noted: 0x0806,
        ..UDP
    };
    let guessed = Frame {
        mark: RENDERED_MARK,
        ..UDP
    };
    held(&segment, &UDP, "egress-rest");
    held(&segment, &somebody(UDP), "egress-rest");
    held(&segment, &lying, "egress-rest");
    held(&segment, &guessed, "egress-rest");
    held(&segment, &somebody(arp), "egress-arp-of-users");
    // What it cannot tell: root's own ARP, and who knows the mark.
    passes(&segment, &arp);
    let first = mark();
    passes(&segment, &Frame { mark: first, ..UDP });
    // Loaded again it is another mark, in both tables.
    firewall::load(&host(), &rules).unwrap();
    assert_ne!(mark(), first);
    held(&segment, &Frame { mark: first, ..UDP }, "egress-rest");
    ordinary(&segment);
    // The twin: the policy alone sees none of these.
    nft(&["delete", "table", "netdev", EGRESS_TABLE]);
    let found = firewall::differences(&host(), &rules).unwrap();
    assert_eq!(
        found,
        ["table netdev shelly_bastion_egress of eth0 is not loaded"]
    );
    for frame in [UDP, somebody(UDP), lying, guessed, somebody(arp)] {
        passes(&segment, &frame);
    }
    // Loaded without the program, the mark is the one that everybody can read: found.
    nft(&["-j", "-f", golden("home").to_str().unwrap()]);
    passes(
        &segment,
        &Frame {
            mark: RENDERED_MARK,
            ..UDP
        },
    );
    let found = firewall::differences(&host(), &rules).unwrap();
    assert_eq!(
        found,
        ["the mark of what the policy passes is the rendered one, and no secret"]
    );
    println!("{DONE}");
}

#[test]
#[ignore = "the inner half of a_device_that_comes_back_is_held_again"]
fn inside_a_device_that_comes_back_is_held_again() {
    if !is_inside() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path.trim_start_matches('/'));
    for folder in ["/run", "/etc/shelly-bastion"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    let device = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bastion"));
        command
            .arg("--root")
            .arg(root.path())
            .args(["firewall", "--device"]);
        command.output().unwrap()
    };
    let segment = Segment::new();
    fs::copy(golden("home"), at(RULESET_PATH)).unwrap();
    let rules = ruleset("home");
    assert!(
        !device().status.success(),
        "there is no policy whose mark it could ask for"
    );
    firewall::load(&host(), &rules).unwrap();
    held(&segment, &UDP, "egress-rest");
    let before = mark();
    segment.pull_out();
    // Where nothing can leave, nothing is missing.
    assert_eq!(
        firewall::differences(&host(), &rules).unwrap(),
        Vec::<String>::new()
    );
    // Older kernels take the chain away with the device, newer ones wait for the next of its
    // name: this is what the older ones leave.
    nft(&["delete", "table", "netdev", EGRESS_TABLE]);
    segment.plug_in();
    passes(&segment, &UDP);
    assert!(!firewall::differences(&host(), &rules).unwrap().is_empty());
    let answer = device();
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(mark(), before, "the policy stays as it is");
    assert_eq!(
        firewall::differences(&host(), &rules).unwrap(),
        Vec::<String>::new()
    );
    held(&segment, &UDP, "egress-rest");
    // The device is away when the policy is loaded: the policy is in force all the same.
    segment.pull_out();
    firewall::load(&host(), &rules).unwrap();
    assert_eq!(
        firewall::differences(&host(), &rules).unwrap(),
        Vec::<String>::new()
    );
    segment.plug_in();
    assert!(device().status.success());
    held(&segment, &UDP, "egress-rest");
    ordinary(&segment);
    println!("{DONE}");
}

/// Says whether a frame of the kind came from the bastion ahead of a question for a name.
const WATCHING: &str = r#"
import socket, sys
kind = {"udp": b"\x08\x00", "arp": b"\x08\x06"}[sys.argv[1]]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(("far0", 0))
s.settimeout(60)
print("ready", flush=True)
while True:
    frame = s.recv(2048)
    if frame[12:14] == kind and b"from-the-test" in frame:
        print("came", flush=True)
        break
    if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == b"\x00\x35":
        print("did not come", flush=True)
        break
"#;

const WRITING: &str = r#"
import socket, struct, sys
kind, noted, mark = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
near, far = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
words = b"from-the-test!"
def total(data):
    sum_ = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while sum_ >> 16:
        sum_ = (sum_ & 0xffff) + (sum_ >> 16)
    return struct.pack("!H", ~sum_ & 0xffff)
own, other = socket.inet_aton("192.168.2.2"), socket.inet_aton("192.168.1.50")
if kind == "udp":
    udp = struct.pack("!HHHH", 40000, 9, 8 + len(words), 0) + words
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + own + other
    packet = b"\x08\x00" + ip[:10] + total(ip) + ip[12:] + udp
else:
    packet = b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + near + own + bytes(6) + other + words
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.setsockopt(socket.SOL_SOCKET, 36, struct.pack("=I", mark))
try:
    s.sendto(far + near + packet, ("eth0", noted))
    print("sent")
except OSError as error:
    print(error.strerror)
"#;
