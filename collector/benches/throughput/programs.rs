//! The programs that are measured, each a process of its own with what the kernel knows of it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

/// What a program has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Seconds.
    pub(crate) cpu: f64,
    /// MiB at its largest.
    pub(crate) memory: f64,
}

impl Program {
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Program> {
        let written = fs::File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(written.try_clone()?)
            .stderr(written)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Program {
            child,
            name,
            log: log.to_owned(),
        })
    }

    /// An error when it ended, with what it said.
    pub(crate) fn runs(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "{} ended: {}", self.name, self.said());
        Ok(())
    }

    /// What it wrote to its log.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it listens.
    pub(crate) fn listens(&mut self, port: u16) -> Result<()> {
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            self.runs()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn used(&self) -> Result<Used> {
        Used::of(self.id())
    }

    /// From here on only what comes counts for its peak of memory.
    pub(crate) fn forget_peak(&self) {
        // Where the kernel cannot, it is the peak since the start.
        drop(fs::write(format!("/proc/{}/clear_refs", self.id()), "5"));
    }
}

impl Used {
    /// Of a process that runs.
    pub(crate) fn of(process: u32) -> Result<Used> {
        let folder = PathBuf::from(format!("/proc/{process}"));
        let gone = || format!("process {process} ended");
        let stat = fs::read_to_string(folder.join("stat")).with_context(gone)?;
        // Behind the name: user and system time are the 12th and 13th, in hundredths of a second.
        let (_, rest) = stat.rsplit_once(") ").context("no stat")?;
        let times = rest.split(' ').skip(11).take(2);
        let ticks: f64 = times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        let status = fs::read_to_string(folder.join("status")).with_context(gone)?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
        Ok(Used {
            cpu: ticks / 100.0,
            memory: kib.context("no peak")? / 1024.0,
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Where a program is installed.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Messages that a rendered broker queues.
pub(crate) const QUEUED: u64 = 200_000;

/// The broker, as it is rendered for a bastion but for accounts and rules.
pub(crate) fn mosquitto(program: &Path, port: u16, queued: u64, folder: &Path) -> Result<Program> {
    let settings = folder.join("mosquitto.conf");
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nuse_username_as_clientid true\n\
         persistence false\nupgrade_outgoing_qos true\nmax_queued_messages {queued}\n\
         max_queued_bytes 67108864\nmax_inflight_messages 1000\nqueue_qos0_messages false\n\
         max_packet_size 262144\nuser root\n"
    );
    fs::write(&settings, text)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(settings);
    let mut broker = Program::start("mosquitto", &mut command, &folder.join("mosquitto.log"))?;
    broker.listens(port)?;
    Ok(broker)
}

/// The database, with nothing in it.
pub(crate) fn influxd(program: &Path, port: u16, folder: &Path) -> Result<Program> {
    let data = folder.join("influxdb");
    let mut command = Command::new(program);
    // Without settings of its own it takes the package's, which name folders of the system's.
    let settings = folder.join("influxdb.conf");
    fs::write(&settings, "")?;
    command.arg("-config").arg(settings).envs([
        ("INFLUXDB_REPORTING_DISABLED", "true".to_owned()),
        ("INFLUXDB_BIND_ADDRESS", "127.0.0.1:0".to_owned()),
        ("INFLUXDB_HTTP_BIND_ADDRESS", format!("127.0.0.1:{port}")),
        ("INFLUXDB_HTTP_LOG_ENABLED", "false".to_owned()),
        ("INFLUXDB_META_DIR", data.join("meta").display().to_string()),
        ("INFLUXDB_DATA_DIR", data.join("data").display().to_string()),
        (
            "INFLUXDB_DATA_WAL_DIR",
            data.join("wal").display().to_string(),
        ),
        ("INFLUXDB_MONITOR_STORE_ENABLED", "false".to_owned()),
    ]);
    let mut database = Program::start("influxd", &mut command, &folder.join("influxd.log"))?;
    database.listens(port)?;
    Ok(database)
}
