//! Running one program of OpenSSH with bounds on what comes back and on how long it may take.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::oneshot;

use super::SshError;
use crate::shown;

/// What is kept of standard error: the end of it.
const TAIL: usize = 16 * 1024;
/// More on standard error than this is no message any more.
const LONGEST_ERROR: usize = 4 * 1024 * 1024;

/// Bounds of one command.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of standard output.
    pub bytes: usize,
    /// How long it may take in all.
    pub patience: Duration,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; none when a signal ended it. 255 is ssh's own.
    pub code: Option<i32>,
    /// Standard output, at most as long as allowed. Not safe to show.
    pub out: Vec<u8>,
    /// The end of standard error. Not safe to show.
    pub err: String,
}

impl Said {
    /// Whether it ended well.
    #[must_use]
    pub fn well(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output as text, trimmed. Not safe to show.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim().to_owned()
    }

    /// The end of both outputs and the exit code, safe to show.
    #[must_use]
    pub fn shown(&self) -> String {
        let code = self
            .code
            .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        let said = format!("{}\n{}", self.text(), self.err.trim());
        let said = shown::text(said.trim(), 20);
        if said.is_empty() {
            code
        } else {
            format!("{code}: {said}")
        }
    }
}

/// Runs the command. It is killed when it says too much or takes too long.
pub(super) async fn run(
    command: Command,
    destination: &str,
    input: &[u8],
    limits: Limits,
) -> Result<Said, SshError> {
    run_greeted(command, destination, b"", input, limits).await
}

/// As [`run`], but the input is given only when the command has begun with `greeting`, which is
/// taken away from what it said. Whoever waits for that input knows that somebody is still here.
pub(super) async fn run_greeted(
    mut command: Command,
    destination: &str,
    greeting: &[u8],
    input: &[u8],
    limits: Limits,
) -> Result<Said, SshError> {
    let mut child = command.spawn().map_err(|source| SshError::Start {
        program: command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned(),
        source,
    })?;
    let too_much = || SshError::TooMuch {
        destination: destination.to_owned(),
        limit: limits.bytes,
    };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (greeted, greets) = oneshot::channel();
    let talk = async {
        let write = async {
            // There is no greeting, so the input is for somebody else: it ends here.
            if greets.await.is_err() {
                return Ok(());
            }
            if let Some(mut stdin) = stdin {
                // Who ends before it has read everything says why on another way.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
            Ok(())
        };
        let read = async {
            let whole = whole(stdout, limits.bytes, greeting, greeted).await?;
            whole.ok_or_else(too_much)
        };
        let listen = async { tail(stderr).await?.ok_or_else(too_much) };
        let ((), out, err) = tokio::try_join!(write, read, listen)?;
        let status = child.wait().await?;
        Ok(Said {
            code: status.code(),
            out,
            err,
        })
    };
    tokio::time::timeout(limits.patience, talk)
        .await
        .unwrap_or_else(|_| {
            Err(SshError::Silent {
                destination: destination.to_owned(),
                patience: limits.patience,
            })
        })
}

/// Everything behind the greeting, or nothing when it is longer than `limit`. Says when the
/// greeting has come; what does not begin with it comes back as it is.
async fn whole(
    reader: Option<impl AsyncRead + Unpin>,
    limit: usize,
    greeting: &[u8],
    greeted: oneshot::Sender<()>,
) -> Result<Option<Vec<u8>>, SshError> {
    let mut all = Vec::new();
    let mut greeted = Some(greeted);
    if let Some(reader) = reader {
        let bound = limit.saturating_add(greeting.len()).saturating_add(1);
        let mut reader = reader.take(u64::try_from(bound).unwrap_or(u64::MAX));
        loop {
            if all.starts_with(greeting) {
                // Who waits for it may have ended already.
                let _ = greeted.take().map(|greeted| greeted.send(()));
            } else if !greeting.starts_with(&all) {
                greeted = None;
            }
            if reader.read_buf(&mut all).await? == 0 {
                break;
            }
        }
    }
    if let Some(said) = all.strip_prefix(greeting) {
        all = said.to_vec();
    }
    Ok((all.len() <= limit).then_some(all))
}

/// The end of it, or nothing when there is no end to it.
async fn tail(reader: Option<impl AsyncRead + Unpin>) -> Result<Option<String>, SshError> {
    let mut kept = Vec::new();
    let mut total = 0_usize;
    if let Some(mut reader) = reader {
        let mut buffer = [0; 4096];
        loop {
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
            let surplus = kept.len().saturating_sub(TAIL);
            kept.drain(..surplus);
            total = total.saturating_add(count);
            if total > LONGEST_ERROR {
                return Ok(None);
            }
        }
    }
    Ok(Some(String::from_utf8_lossy(&kept).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::program;

    async fn shell(text: &str, input: &[u8], bytes: usize) -> Result<Said, SshError> {
        let mut command = program("sh");
        command.args(["-c", text]);
        let patience = Duration::from_secs(20);
        run(command, "box", input, Limits { bytes, patience }).await
    }

    #[tokio::test]
    async fn outputs_and_code_come_back() {
        let said = shell("cat; echo why >&2; exit 3", b"in", 100)
            .await
            .unwrap();
        assert_eq!((said.code, said.text().as_str()), (Some(3), "in"));
        assert_eq!(said.shown(), "exit code 3: in\nwhy");
    }

    #[tokio::test]
    async fn endless_output_ends() {
        for script in ["yes", "yes >&2"] {
            let got = shell(script, b"", 10_000).await;
            assert!(matches!(got, Err(SshError::TooMuch { .. })), "{got:?}");
        }
    }

    #[tokio::test]
    async fn input_that_nobody_reads_is_no_failure() {
        let said = shell("exit 0", &vec![0; 1 << 20], 10).await.unwrap();
        assert!(said.well());
    }

    #[tokio::test]
    async fn input_waits_for_the_greeting() {
        let greeted = async |text: &str| {
            let mut command = program("sh");
            command.args(["-c", text]);
            let patience = Duration::from_secs(20);
            let limits = Limits {
                bytes: 100,
                patience,
            };
            run_greeted(command, "box", b"ready\n", b"go\n", limits)
                .await
                .unwrap()
        };
        let said = greeted("sleep 0.2; echo ready; read word; echo \"heard $word\"").await;
        assert_eq!(said.text(), "heard go");
        // Another word is no greeting: nothing is given, and nothing is hidden.
        let said = greeted("echo welcome; read word; echo \"heard $word\"").await;
        assert_eq!(said.text(), "welcome\nheard");
    }

    #[tokio::test]
    async fn silence_is_bounded() {
        let mut command = program("sleep");
        command.arg("60");
        let limits = Limits {
            bytes: 1,
            patience: Duration::from_millis(50),
        };
        let got = run(command, "box", b"", limits).await;
        assert!(matches!(got, Err(SshError::Silent { .. })), "{got:?}");
    }
}
