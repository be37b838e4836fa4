//! Ways into the emulated machine that need no network of its own: its console, and the
//! emulator's command port. Both end inside the container, and are reached from inside it only.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::node::{Node, Output};

/// The serial line with the kernel's messages and a login for people.
pub(super) const SCREEN_PORT: u16 = 4001;
/// Where `lab-console` on the card listens: pipes with `.in` and `.out` behind this. A pipe is
/// there all the time, so that nothing is lost between two callers.
pub(super) const CONSOLE: &str = "/run/console";
/// The emulator's commands, in its own protocol (QMP).
pub(super) const COMMAND_PORT: u16 = 4003;

/// Sends one request and prints the answer's lines, without their number. One at a time: what is
/// read by one is gone for the others.
const ASK: &str = r#"
kill -0 "$(cat "$5")" || exit 7
exec 3<>"$1.in" 4<>"$1.out" && flock 3 || exit 7
printf '%s %s %s\n' "$2" "$3" "$4" >&3
while read -r number kind rest <&4; do
    [ "$number" = "$2" ] || continue
    printf '%s %s\n' "$kind" "$rest"
    [ "$kind" != e ] || exit 0
done
exit 8
"#;

/// Sends one request, and kills the emulator as soon as it ends well, without a way back here in
/// between.
const CUT: &str = r#"
kill -0 "$(cat "$5")" || exit 7
exec 3<>"$1.in" 4<>"$1.out" && flock 3 || exit 7
printf '%s %s %s\n' "$2" "$3" "$4" >&3
while read -r number kind rest <&4; do
    [ "$number" = "$2" ] && [ "$kind" = e ] || continue
    [ "$rest" = 0 ] || exit 9
    kill -KILL "$(cat "$5")"
    exit 0
done
exit 8
"#;

/// Greets, sends one command and prints its answer; events in between are not for us.
const COMMAND: &str = r#"
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 7
read -r greeting <&3
printf '{"execute":"qmp_capabilities"}\n' >&3
read -r ready <&3
printf '%s\n' "$2" >&3
while read -r line <&3; do
    case $line in *'"return"'* | *'"error"'*) printf '%s\n' "$line"; exit 0 ;; esac
done
exit 8
"#;

/// Runs a script of `bash` on the emulated machine as root, through its console.
///
/// # Errors
/// When the console does not answer. A script that ends badly is no error here; one that takes
/// longer than `limit` is ended there with code 124.
pub(super) async fn ask(hull: &Node, script: &str, limit: Duration) -> Result<Output> {
    let number = rand::random::<u32>().to_string();
    let seconds = limit.as_secs().max(1);
    // The console's own answer comes first, unless there is no console.
    let patience = (seconds + 10).to_string();
    let words = [
        "timeout",
        &patience,
        "bash",
        "-c",
        ASK,
        "ask",
        CONSOLE,
        &number,
        &seconds.to_string(),
        &BASE64.encode(script),
        super::machine::PID_FILE,
    ];
    let said = hull.exec("root", &words).await?;
    let (mut output, mut code) = (Vec::new(), None);
    for line in said.stdout.lines() {
        match line.split_once(' ') {
            Some(("o", part)) => {
                output.extend(BASE64.decode(part).context("reading the Pi's console")?)
            }
            Some(("e", ended)) => code = ended.trim().parse().ok(),
            _ => {}
        }
    }
    let Some(code) = code else {
        bail!("the Pi's console does not answer within {patience} s");
    };
    Ok(Output {
        code,
        stdout: String::from_utf8_lossy(&output).into_owned(),
        stderr: String::new(),
    })
}

/// Kills the emulator as soon as a condition of the machine's shell holds. No when it did not
/// within `limit`.
///
/// # Errors
/// When the console does not answer.
pub(super) async fn cut_when(hull: &Node, condition: &str, limit: Duration) -> Result<bool> {
    let script = format!("until {condition}; do :; done");
    let seconds = limit.as_secs().max(1);
    let words = [
        "timeout",
        &(seconds + 10).to_string(),
        "bash",
        "-c",
        CUT,
        "cut",
        CONSOLE,
        &rand::random::<u32>().to_string(),
        &seconds.to_string(),
        &BASE64.encode(script),
        super::machine::PID_FILE,
    ];
    match hull.exec("root", &words).await?.code {
        0 => Ok(true),
        9 => Ok(false),
        code => bail!("waiting at the Pi's console for `{condition}`: code {code}"),
    }
}

/// Gives the emulator a command of its protocol, and returns what it answered.
///
/// # Errors
/// When it does not answer, or refuses.
pub(super) async fn command(hull: &Node, command: &serde_json::Value) -> Result<String> {
    let words = [
        "timeout",
        "120",
        "bash",
        "-c",
        COMMAND,
        "command",
        &COMMAND_PORT.to_string(),
        &command.to_string(),
    ];
    let what = || format!("telling the emulator {command}");
    let said = hull
        .exec("root", &words)
        .await?
        .success()
        .with_context(what)?;
    let answer: serde_json::Value = serde_json::from_str(&said).with_context(what)?;
    match answer.get("return") {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
        None => bail!("{}: {said}", what()),
    }
}

/// Gives the emulator a command as a person at its monitor would type it. There, silence is
/// consent.
///
/// # Errors
/// When it says anything.
pub(super) async fn monitor(hull: &Node, line: &str) -> Result<()> {
    let wrapped = serde_json::json!({
        "execute": "human-monitor-command",
        "arguments": {"command-line": line},
    });
    let said = command(hull, &wrapped).await?;
    if !said.trim().is_empty() {
        bail!("the emulator says to `{line}`: {}", said.trim());
    }
    Ok(())
}
