//! A real Mosquitto on a free loopback port.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    process: Child,
    _folder: TempDir,
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
    pub(crate) async fn start() -> Option<Self> {
        let Some(program) = program() else {
            // Not eprintln!: the test runner swallows what a passing test prints, and a skipped check must be seen.
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            let why = "no `mosquitto` on the PATH (apt-get install mosquitto)";
            let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let settings = folder.path().join("mosquitto.conf");
        // The lines that matter to a collector, as the bastion's broker has them.
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuse_username_as_clientid true\n\
             persistence false\nupgrade_outgoing_qos true\nmax_queued_messages 100000\n\
             max_inflight_messages 65535\n"
        );
        fs::write(&settings, text).unwrap();
        let process = Command::new(program)
            .arg("-c")
            .arg(&settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(Self {
            port,
            process,
            _folder: folder,
        })
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
