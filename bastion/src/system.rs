//! What a machine does when it is asked: programs that run to their end, each with a time limit.
//!
//! One seam, so that tests can put another machine in its place and stop it before any step.
//! What the programs are for is left to those who call them.

use std::fmt;
use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use site::answer::Report;

use crate::host::Host;
use crate::verify::network;

/// Long enough for what a slow card and a slow processor do in one go.
pub const PATIENCE: Duration = Duration::from_secs(60);
const ONE_LOOK: Duration = Duration::from_millis(5);
/// Far more than any program here says; what is longer is an error, so that nothing fills the
/// memory.
const LONGEST: u64 = 32 << 20;

/// One program to run.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// Its name.
    pub program: &'a str,
    /// Its arguments; never a secret.
    pub arguments: Vec<&'a str>,
    /// What it reads on its standard input.
    pub input: Option<String>,
    /// What is added to its environment.
    pub environment: &'a [(&'a str, &'a str)],
    /// It is ended when it takes longer.
    pub patience: Duration,
    /// Its output is shown on our standard error, and not kept.
    pub shown: bool,
}

impl<'a> Call<'a> {
    /// A program with arguments, and nothing unusual.
    #[must_use]
    pub fn new(program: &'a str, arguments: &[&'a str]) -> Call<'a> {
        Call {
            program,
            arguments: arguments.to_vec(),
            input: None,
            environment: &[],
            patience: PATIENCE,
            shown: false,
        }
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program, self.arguments.join(" "))
    }
}

/// How a program ended.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it said.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Answer {
    /// What it said, if it succeeded.
    ///
    /// # Errors
    /// When it failed; the message has its own words.
    pub fn success(self, call: &Call<'_>) -> Result<String> {
        if self.code == Some(0) {
            return Ok(self.stdout);
        }
        let said = self.stderr.trim();
        let said = if said.is_empty() {
            self.stdout.trim()
        } else {
            said
        };
        bail!("{call}: {said}")
    }
}

/// A machine, or what stands for one.
pub trait System: fmt::Debug + Send + Sync {
    /// Runs a program to its end.
    ///
    /// # Errors
    /// When it cannot be started, or takes too long.
    fn run(&self, call: &Call<'_>) -> Result<Answer>;

    /// Stands before every change that this program makes to files. Tests stop the work here.
    ///
    /// # Errors
    /// Never on a real machine.
    fn step(&self) -> Result<()> {
        Ok(())
    }

    /// This program, so that it can be kept for going back.
    ///
    /// # Errors
    /// When it cannot be read.
    fn own_program(&self) -> Result<Vec<u8>> {
        let path = std::env::current_exe().context("finding this program")?;
        std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Adds what has to be asked over the network: listeners, logins, what the broker lets pass.
    fn ask_network(&self, host: &Host, report: &mut Report) {
        network::ask(host, report);
    }

    /// A clock that nobody sets, for time limits.
    fn now(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    /// Waits between two looks at something.
    fn pause(&self, time: Duration) {
        thread::sleep(time);
    }
}

/// The machine that this program runs on.
#[derive(Debug)]
pub struct ThisMachine;

impl System for ThisMachine {
    fn run(&self, call: &Call<'_>) -> Result<Answer> {
        let output = || {
            if call.shown {
                Stdio::from(std::io::stderr())
            } else {
                Stdio::piped()
            }
        };
        let mut child = Command::new(call.program)
            .args(&call.arguments)
            .envs(call.environment.iter().copied())
            .stdin(match call.input {
                Some(_) => Stdio::piped(),
                None => Stdio::null(),
            })
            .stdout(output())
            .stderr(output())
            .spawn()
            .with_context(|| format!("starting {}", call.program))?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        thread::scope(|scope| {
            scope.spawn(|| {
                if let (Some(mut stdin), Some(input)) = (stdin, &call.input) {
                    // When it ended early, its own words say more than a broken pipe.
                    let _ = stdin.write_all(input.as_bytes());
                }
            });
            let stdout = scope.spawn(|| text(stdout));
            let stderr = scope.spawn(|| text(stderr));
            let code = wait(&mut child, call);
            let too_long = || format!("{call}: says more than {} MiB", LONGEST >> 20);
            let said = stdout.join().unwrap_or_default();
            let complained = stderr.join().unwrap_or_default();
            let code = code?;
            Ok(Answer {
                code,
                stdout: said.with_context(too_long)?,
                stderr: complained.with_context(too_long)?,
            })
        })
    }
}

/// Nothing when it says too much. The pipe is closed then, which ends most programs.
fn text(pipe: Option<impl Read>) -> Option<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read until it broke is still worth showing.
        let _ = pipe.take(LONGEST + 1).read_to_end(&mut bytes);
    }
    let length: u64 = bytes.len().try_into().unwrap_or(u64::MAX);
    (length <= LONGEST).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn wait(child: &mut Child, call: &Call<'_>) -> Result<Option<i32>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("waiting for a program")? {
            return Ok(status.code());
        }
        if start.elapsed() > call.patience {
            // It may have ended by itself in this moment.
            let _ = child.kill();
            let _ = child.wait();
            bail!("{call}: took longer than {} s", call.patience.as_secs());
        }
        thread::sleep(ONE_LOOK);
    }
}
