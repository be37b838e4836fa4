//! A real Mosquitto on a free loopback port, with the settings that matter to the daemon as the
//! bastion's broker has them.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    process: Child,
    program: PathBuf,
    folder: tempfile::TempDir,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("mosquitto"))
        .find(|program| program.is_file())
}

impl Mosquitto {
    /// Nothing when it is not installed, which is said.
    pub(crate) fn start() -> Option<Mosquitto> {
        let Some(program) = program() else {
            // Not eprintln!: the test runner swallows what a passing test prints.
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            let why = "no `mosquitto` on the PATH (apt-get install mosquitto)";
            let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuse_username_as_clientid true\n\
             persistence false\nupgrade_outgoing_qos true\nmax_queued_messages 200000\n\
             max_queued_bytes 67108864\nmax_inflight_messages 1000\nqueue_qos0_messages false\n\
             max_packet_size 262144\n"
        );
        fs::write(folder.path().join("mosquitto.conf"), text).unwrap();
        let mut broker = Mosquitto {
            port,
            process: spawn(&program, &folder),
            program,
            folder,
        };
        broker.wait();
        Some(broker)
    }

    fn wait(&mut self) {
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(self.process.try_wait().unwrap().is_none(), "it ended");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it and starts another one, which knows nothing of the first one's sessions.
    pub(crate) fn replace(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(&self.program, &self.folder);
        self.wait();
    }

    /// The most memory that was ever resident, in KiB.
    pub(crate) fn peak(&self) -> u64 {
        crate::processes::peak(self.process.id())
    }
}

fn spawn(program: &PathBuf, folder: &tempfile::TempDir) -> Child {
    Command::new(program)
        .arg("-c")
        .arg(folder.path().join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
