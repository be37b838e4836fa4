//! A segment for the tests: the bastion is this namespace, and all others are one at the other
//! end of its cable, which has everybody's addresses.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

pub(crate) const BASTION: &str = "192.168.2.2";
pub(crate) const ROUTER: &str = "192.168.2.1";
pub(crate) const ADMIN: &str = "192.168.1.10";
pub(crate) const READER: &str = "192.168.1.20";
pub(crate) const OTHER: &str = "192.168.1.77";
pub(crate) const HOME_SERVER: &str = "192.168.1.50";
pub(crate) const INTERNET: &str = "9.9.9.9";
const NEAR: &str = "02:00:00:00:00:01";
const FAR: &str = "02:00:00:00:00:02";

/// A program that ends with the test, however that ends.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Bastion,
    Far,
}

pub(crate) struct Segment {
    /// The other end's namespace lives as long as this does.
    far: Running,
}

fn ran(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

impl Segment {
    /// With the cable in and everybody's address in place.
    pub(crate) fn new() -> Segment {
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let child = Command::new("unshare")
            .args(["-n", "sleep", "600"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let there = format!("/proc/{}/ns/net", child.id());
        let segment = Segment {
            far: Running(child),
        };
        while fs::read_link(&there).unwrap() == own {
            std::thread::yield_now();
        }
        segment.plug_in();
        segment
    }

    /// Puts the device into the bastion: at first, and after it was away.
    pub(crate) fn plug_in(&self) {
        let far = self.far.0.id().to_string();
        let near = |arguments: &str| self.ip(At::Bastion, arguments);
        near(&format!(
            "link add eth0 address {NEAR} type veth peer name far0 address {FAR}"
        ));
        near(&format!("link set far0 netns {far}"));
        near(&format!("address add {BASTION}/24 dev eth0"));
        near("link set lo up");
        near("link set eth0 up");
        let far = |arguments: &str| self.ip(At::Far, arguments);
        far("link set lo up");
        far("link set far0 up");
        far(&format!("address add {ROUTER}/24 dev far0"));
        for address in [ADMIN, READER, OTHER, HOME_SERVER, INTERNET] {
            far(&format!("address add {address}/32 dev far0"));
        }
        near(&format!("route add default via {ROUTER}"));
    }

    /// Takes the device out.
    pub(crate) fn pull_out(&self) {
        self.ip(At::Bastion, "link del eth0");
    }

    fn ip(&self, at: At, arguments: &str) {
        let mut command = self.command(at, "ip");
        command.args(arguments.split(' '));
        ran(command);
    }

    pub(crate) fn command(&self, at: At, program: &str) -> Command {
        if at == At::Bastion {
            return Command::new(program);
        }
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.far.0.id().to_string(), "-n", program]);
        command
    }

    /// Receives what comes to the address and port, until dropped.
    pub(crate) fn receive(&self, at: At, protocol: &str, address: &str, port: u16) -> Receiver {
        let mut command = self.command(at, "python3");
        command.args(["-c", RECEIVING, protocol, address, &port.to_string()]);
        Receiver::start(command)
    }

    /// Runs a watcher of frames at the other end.
    pub(crate) fn watch(&self, watcher: &str, kind: &str) -> Receiver {
        let mut command = self.command(At::Far, "python3");
        command.args(["-c", watcher, kind]);
        Receiver::start(command)
    }

    /// Sends, and says how that ended: `through`, `silent`, or what the system said.
    pub(crate) fn send(
        &self,
        at: At,
        protocol: &str,
        from: (&str, u16),
        to: (&str, u16),
    ) -> String {
        let mut command = self.command(at, "python3");
        let (from_port, to_port) = (from.1.to_string(), to.1.to_string());
        command.args(["-c", SENDING, protocol, from.0, &from_port, to.0, &to_port]);
        String::from_utf8(ran(command).stdout)
            .unwrap()
            .trim()
            .to_owned()
    }
}

pub(crate) struct Receiver {
    child: Running,
    lines: BufReader<std::process::ChildStdout>,
}

impl Receiver {
    fn start(mut command: Command) -> Receiver {
        let mut child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut receiver = Receiver {
            child: Running(child),
            lines,
        };
        assert_eq!(receiver.line(), "ready");
        receiver
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// From whom something came. What was sent before this is asked lies in its queue.
    pub(crate) fn heard(mut self) -> Vec<String> {
        drop(self.child.0.stdin.take());
        let mut heard = Vec::new();
        loop {
            match self.line().as_str() {
                "" | "end" => return heard,
                line => heard.push(line.to_owned()),
            }
        }
    }
}

/// Ends when its input does, behind what has arrived by then.
const RECEIVING: &str = r#"
import select, socket, sys
protocol, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((address, port))
if protocol == "tcp":
    s.listen(16)
print("ready", flush=True)
ending = False
while True:
    ready, _, _ = select.select([s] if ending else [s, sys.stdin], [], [], 0 if ending else None)
    if s in ready:
        peer = s.accept()[1] if protocol == "tcp" else s.recvfrom(2048)[1]
        print(peer[0], flush=True)
    elif ending:
        break
    elif sys.stdin in ready and not sys.stdin.readline():
        ending = True
print("end", flush=True)
"#;

/// Refusals inwards are silent, so a connection is given up after a second.
const SENDING: &str = r#"
import socket, sys
protocol, source, from_port, to, port = sys.argv[1:6]
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.bind((source, int(from_port)))
s.settimeout(1)
try:
    s.connect((to, int(port)))
    if protocol == "udp":
        s.send(b"x")
    print("through")
except TimeoutError:
    print("silent")
except OSError as error:
    print(error.strerror)
"#;
