//! A machine that is reached by SSH: a private `sshd` with keys, folders and a port of its own,
//! and the person's side with a configuration, a site file and known hosts.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::answers;
use crate::{FACTS, STAND_IN};

const SSHD: &str = "/usr/sbin/sshd";
const SITE: &str = include_str!("../../../site/examples/home.toml");
/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// One machine; gone when dropped.
pub(crate) struct Machine {
    folder: TempDir,
    sshd: Child,
    port: u16,
}

/// How `deploy` ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Both outputs hold all of these.
    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) -> &Ended {
        let all = format!("{}{}", self.out, self.err);
        for part in parts {
            assert!(all.contains(part), "{part:?} is not in:\n{all}");
        }
        self
    }

    /// It ended with this code.
    #[track_caller]
    pub(crate) fn with(&self, code: i32) -> &Ended {
        assert_eq!(
            self.code,
            Some(code),
            "out:\n{}\nerr:\n{}",
            self.out,
            self.err
        );
        self
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Says that the test on this thread was skipped.
pub(crate) fn skipped(why: &str) {
    // Not eprintln!: the test runner swallows what a passing test prints.
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

impl Machine {
    /// Starts one that knows the person, whom the person knows, and that answers as if all went
    /// well. Nothing when this machine has no OpenSSH; that is said.
    pub(crate) fn start() -> Option<Machine> {
        if !Path::new(SSHD).exists() {
            skipped(&format!("no {SSHD} (apt-get install openssh-server)"));
            return None;
        }
        let folder = tempfile::Builder::new()
            .prefix("ssh-")
            .tempdir_in("/tmp")
            .unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["bin", "stage", "root"] {
            fs::create_dir(at(name)).unwrap();
        }
        for name in ["host", "person"] {
            key(&at(name));
        }
        fs::copy(at("person.pub"), at("authorized_keys")).unwrap();
        let bin = at("bin").display().to_string();
        let stage = at("stage").display().to_string();
        let path = std::env::var("PATH").unwrap();
        script(
            &at("bin/sudo"),
            "#!/bin/sh\n[ \"$1\" = -n ] && shift\nexec \"$@\"\n",
        );
        // The tests may run as root; the bastion's admin is not.
        script(&at("bin/id"), "#!/bin/sh\necho 1000\n");
        script(
            &at("bin/sh"),
            "#!/bin/sh\nif [ \"$1\" = -s ]; then cat >/dev/null; cat \"$STAGE/facts\"; else exec /bin/sh \"$@\"; fi\n",
        );
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs();
        fs::write(at("stage/facts"), FACTS.replace("@NOW@", &now.to_string())).unwrap();
        script(&at("stand-in"), STAND_IN);

        // Root's sshd asks for a folder to lock strangers into.
        let _ = fs::create_dir("/run/sshd");
        let (sshd, port) = sshd(folder.path(), &format!("PATH={bin}:{path} STAGE={stage}"));
        let machine = Machine { folder, sshd, port };
        let shown = fs::read_to_string(machine.at("host.pub")).unwrap();
        fs::write(
            machine.at("known_hosts"),
            format!("[127.0.0.1]:{port} {shown}"),
        )
        .unwrap();
        machine.configure("");
        answers::all_well(&machine);
        Some(machine)
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    /// Gives the person's ssh a configuration, with `more` in it.
    pub(crate) fn configure(&self, more: &str) {
        let user =
            String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let text = format!(
            "Host *\n  HostName 127.0.0.1\n  Port {}\n  User {user}\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  ForwardAgent yes\n  ForwardX11 yes\n{more}\n",
            self.port,
            self.at("person").display(),
            self.at("known_hosts").display(),
        );
        // The first word wins, and the destination of the site file names another user.
        self.write("ssh_config", &text);
        let site = SITE.replace("pi@192.168.2.2", &format!("{}@127.0.0.1", user.trim()));
        self.write("home.toml", &site);
    }

    /// `deploy` with these words, not started yet.
    pub(crate) fn deploy(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deploy"));
        command
            .args(words)
            .arg("--site")
            .arg(self.at("home.toml"))
            .arg("--ssh-config")
            .arg(self.at("ssh_config"))
            .arg("--target-root")
            .arg(self.at("root"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A deployment of the stand-in, to its end.
    pub(crate) fn deployed(&self, words: &[&str]) -> Ended {
        self.start_deploying(words)
            .wait_with_output()
            .unwrap()
            .into()
    }

    /// A deployment of the stand-in, under way.
    pub(crate) fn start_deploying(&self, words: &[&str]) -> Child {
        let program = self.at("stand-in").display().to_string();
        let mut all = words.to_vec();
        all.extend(["--program", &program]);
        self.deploy(&all).spawn().unwrap()
    }

    /// What the stand-in was asked, one command per line.
    pub(crate) fn asked(&self) -> Vec<String> {
        let first = |line: &str| line.split(' ').next().unwrap().to_owned();
        self.read("stage/log").lines().map(first).collect()
    }

    /// Puts the stand-in where the program is installed.
    pub(crate) fn install(&self) {
        let place = self.at("root/usr/local/sbin");
        fs::create_dir_all(&place).unwrap();
        script(&place.join("bastion"), STAND_IN);
    }

    /// What is left in the folder in memory.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        let mut left = Vec::new();
        let mut folders = vec![self.at("root/run")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                folders.push(path.clone());
                left.push(path);
            }
        }
        left
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn key(path: &Path) {
    let _ = fs::remove_file(path);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path)
        .status()
        .unwrap();
    assert!(made.success());
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Starts a server on a free port. Another may take the port in between, so it is tried again.
fn sshd(folder: &Path, environment: &str) -> (Child, u16) {
    for _ in 0..5 {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let shown = folder.display();
        let settings = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PidFile none\nPermitRootLogin yes\nLogLevel ERROR\nMaxStartups 100\nSetEnv {environment}\n"
        );
        fs::write(folder.join("sshd_config"), settings).unwrap();
        let mut child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(folder.join("sshd_config"))
            .stderr(fs::File::create(folder.join("sshd.log")).unwrap())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while start.elapsed() < PATIENCE && child.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return (child, port);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
    }
    panic!(
        "sshd did not start: {}",
        fs::read_to_string(folder.join("sshd.log")).unwrap()
    );
}
