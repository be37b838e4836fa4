//! A deployer that runs beside the scenario: what it has said so far, and ways to end it that it
//! does not hear of. A step counts from the moment in which its line is printed.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::eventually::{Look, eventually};
use lab::node::Output;
use lab::virtual_pi::access::Access;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;

use crate::stage::Stage;

/// The deployer, started and left to itself.
pub(crate) struct Running {
    child: Child,
    stdout: Heard,
    stderr: Heard,
}

/// A stream that is read as it comes.
struct Heard {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Heard {
    fn of(stream: impl AsyncRead + Unpin + Send + 'static) -> Heard {
        let text = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&text);
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        Heard { text, reader }
    }

    fn so_far(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    /// All of it: its writer has ended.
    async fn whole(&mut self) -> String {
        // Programs that the deployer started may keep the stream open after it was killed.
        let _ = tokio::time::timeout(Duration::from_secs(5), &mut self.reader).await;
        self.so_far()
    }
}

impl Stage {
    /// Starts the deployer, see [`Stage::deployer`].
    pub(crate) fn start(&self, from: &Access, arguments: &[&str]) -> Result<Running> {
        let mut command = self.command(from, arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting the deployer")?;
        let stdout = child.stdout.take().context("the deployer's output")?;
        let stderr = child.stderr.take().context("the deployer's messages")?;
        Ok(Running {
            child,
            stdout: Heard::of(stdout),
            stderr: Heard::of(stderr),
        })
    }
}

impl Running {
    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        let ended = self.child.try_wait().context("looking at the deployer")?;
        Ok(ended.is_some())
    }

    /// Whether a step has ended well.
    pub(crate) fn has_done(&self, step: &str) -> bool {
        self.stderr.so_far().lines().any(|line| {
            let words = line
                .strip_prefix('[')
                .and_then(|line| line.split_once(" s] "));
            words.is_some_and(|(_, rest)| {
                let mut words = rest.split_whitespace();
                words.next() == Some(step) && words.next() != Some("failed")
            })
        })
    }

    /// Waits for the line of a step.
    ///
    /// # Errors
    /// When it ends before, or the line does not come in time.
    pub(crate) async fn wait_for(&mut self, step: &str, limit: Duration) -> Result<()> {
        let start = std::time::Instant::now();
        while !self.has_done(step) {
            if self.has_ended()? {
                // The line may have come with the end.
                let said = self.stderr.whole().await;
                if self.has_done(step) {
                    return Ok(());
                }
                bail!("the deployer ended before its step {step}:\n{said}");
            }
            if start.elapsed() > limit {
                bail!(
                    "the deployer has not done its step {step} within {} s:\n{}",
                    limit.as_secs(),
                    self.stderr.so_far()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends it with SIGKILL, unless it has ended.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        if self.has_ended()? {
            return Ok(());
        }
        self.child.kill().await.context("killing the deployer")
    }

    /// Waits for its end. The code of one that was killed is -1.
    ///
    /// # Errors
    /// When it does not end in time.
    pub(crate) async fn end(mut self, limit: Duration) -> Result<Output> {
        let ended = eventually("the deployer's end", limit, || {
            let ended = self.child.try_wait();
            let said = self.stderr.so_far();
            async move {
                Ok(match ended.context("looking at the deployer")? {
                    Some(status) => Look::Done(status),
                    None => Look::NotYet(said),
                })
            }
        })
        .await?;
        Ok(Output {
            code: ended.code().map_or(-1, i64::from),
            stdout: self.stdout.whole().await,
            stderr: self.stderr.whole().await,
        })
    }
}
