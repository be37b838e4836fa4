//! People and programs that speak MQTT with the distribution's own clients.
//!
//! Passwords go into option files that their owner alone can read, never into a command line.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::eventually::{Look, eventually};
use crate::lab::Lab;
use crate::node::{Node, Output, Upload};
use crate::site_file::CHECK_ACCOUNT;
use crate::topology::BASTION;

/// What the listening reader heard, one message per line: topic, a space, payload.
const HEARD: &str = "/root/heard.txt";

/// How somebody introduces himself to the broker.
#[derive(Debug, Clone, Copy)]
pub enum Login<'a> {
    /// Not at all.
    Anonymous,
    /// With an account and its password.
    Account(&'a str),
    /// With an account that the lab's site does not have, and its password.
    Password(&'a str, &'a str),
    /// With an account and another password.
    WrongPassword(&'a str),
}

/// Writes the options for the clients, and returns the variable that makes them read it.
async fn options(lab: &Lab, node: &Node, host: &str, login: Login<'_>) -> Result<String> {
    let (name, password) = match login {
        Login::Anonymous => ("anonymous", None),
        Login::Account(name) => (name, Some(lab.secrets.password(name)?.expose())),
        Login::Password(name, password) => (name, Some(password)),
        Login::WrongPassword(name) => (name, Some("wrong-wrong-wrong")),
    };
    let credentials = password
        .map(|password| format!("-u {name}\n-P {password}\n"))
        .unwrap_or_default();
    let kind = match login {
        Login::WrongPassword(_) => "wrong",
        _ => "right",
    };
    let folder = format!("/root/logins/{name}-{kind}");
    let content = format!("-h {host}\n-p 1883\n{credentials}").into_bytes();
    let file = |client: &str| Upload {
        path: format!("{folder}/{client}"),
        mode: 0o600,
        content: content.clone(),
    };
    node.upload(&["mosquitto_pub", "mosquitto_sub"].map(file))
        .await?;
    Ok(format!("XDG_CONFIG_HOME={folder}"))
}

/// Publishes one message from a machine to what meters connect to, and waits for the broker's
/// answer (QoS 1).
///
/// # Errors
/// When the client cannot be started. A refusal is an output, no error.
pub async fn publish(
    lab: &Lab,
    node: &Node,
    login: Login<'_>,
    topic: &str,
    payload: &str,
) -> Result<Output> {
    publish_as(lab, node, login, None, topic, payload).await
}

/// As [`publish`], asking for a client id.
///
/// # Errors
/// As [`publish`].
pub async fn publish_as(
    lab: &Lab,
    node: &Node,
    login: Login<'_>,
    client_id: Option<&str>,
    topic: &str,
    payload: &str,
) -> Result<Output> {
    let options = options(lab, node, &lab.site.public.host, login).await?;
    let mut command = vec![
        "timeout",
        "10",
        "env",
        &options,
        "mosquitto_pub",
        "-q",
        "1",
        "-t",
        topic,
        "-m",
        payload,
    ];
    if let Some(id) = client_id {
        command.extend(["-i", id]);
    }
    node.exec("root", &command).await
}

/// Publishes each line that a script of `sh` prints as one message, over one connection. Older meters
/// publish at QoS 0, later ones at 1.
///
/// # Errors
/// When the script or the client ends badly.
pub async fn publish_lines(
    lab: &Lab,
    node: &Node,
    login: Login<'_>,
    qos: u8,
    topic: &str,
    script: &str,
) -> Result<()> {
    let options = options(lab, node, &lab.site.public.host, login).await?;
    let command = format!("{{ {script}; }} | env {options} mosquitto_pub -q {qos} -l -t '{topic}'");
    node.script(&command).await.map(drop)
}

/// Takes part in a session that outlives the connection, for as long as the client's further
/// options say, and returns what was heard.
///
/// # Errors
/// When the client cannot be started.
pub async fn subscribe_once(
    lab: &Lab,
    node: &Node,
    host: &str,
    login: Login<'_>,
    topic: &str,
    more: &[&str],
) -> Result<String> {
    let options = options(lab, node, host, login).await?;
    let command = [
        "timeout",
        "20",
        "env",
        &options,
        "mosquitto_sub",
        "-c",
        "-i",
        "away",
        "-q",
        "1",
        "-t",
        topic,
    ];
    let output = node.exec("root", &[&command, more].concat()).await?;
    Ok(output.stdout)
}

/// Subscribes from a machine and leaves it running. What it hears goes to `file`, a topic, a
/// space and a payload per line, among lines that tell each packet (`Subscribed`, `received
/// PUBLISH`).
///
/// # Errors
/// When the client cannot be started.
pub async fn listen(
    lab: &Lab,
    node: &Node,
    host: &str,
    login: Login<'_>,
    filter: &str,
    file: &str,
) -> Result<()> {
    let options = options(lab, node, host, login).await?;
    let command = format!(
        "exec env {options} stdbuf -oL mosquitto_sub -d -q 1 -t '{filter}' -F '%t %p' >{file} 2>&1"
    );
    node.spawn("listener", &["sh", "-c", &command]).await
}

/// A reader in the LAN that hears everything it may, over IPv6.
pub struct Reader<'a> {
    lab: &'a Lab,
}

impl<'a> Reader<'a> {
    /// Starts the reader, and waits until it hears.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn start(lab: &'a Lab, known_meter: (&str, String)) -> Result<()> {
        let bastion = lab.topology.dmz.host(BASTION).v6.to_string();
        listen(
            lab,
            &lab.collector,
            &bastion,
            Login::Account(CHECK_ACCOUNT),
            "#",
            HEARD,
        )
        .await?;
        let reader = Reader::of(lab);
        let (meter, topic) = known_meter;
        // Until the reader has subscribed, nothing is kept for it: so say it again.
        eventually(
            "a reader in the LAN to hear a meter over IPv6",
            Duration::from_secs(10),
            || async {
                publish(
                    lab,
                    &lab.meters,
                    Login::Account(meter),
                    &topic,
                    "reader-starts",
                )
                .await?;
                let heard = reader.heard().await?;
                Ok(if heard.contains("reader-starts") {
                    Look::Done(())
                } else {
                    Look::NotYet(format!("heard {heard:?}"))
                })
            },
        )
        .await
    }

    /// The reader that was started.
    #[must_use]
    pub fn of(lab: &'a Lab) -> Reader<'a> {
        Reader { lab }
    }

    /// All that was heard so far.
    ///
    /// # Errors
    /// When its machine does not answer.
    pub async fn heard(&self) -> Result<String> {
        self.lab.collector.run(&["cat", HEARD]).await
    }

    /// Waits until a payload was heard, and returns all that was heard until then. The broker
    /// delivers in order: what was sent before and is not in it will never come.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn heard_until(&self, payload: &str) -> Result<String> {
        eventually(
            format!("the reader to hear {payload}"),
            Duration::from_secs(10),
            || async {
                let heard = self.heard().await.context("asking the reader")?;
                Ok(if heard.contains(payload) {
                    Look::Done(heard)
                } else {
                    Look::NotYet(last_line(&heard))
                })
            },
        )
        .await
    }
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or("nothing").to_owned()
}
