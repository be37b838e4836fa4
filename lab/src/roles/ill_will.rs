//! Programs that mean a broker no good. What they do is in `broker.py`; who they are and what must
//! come of it is left to the scenarios.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use deploy::Secrets;
use serde_json::{Value, json};

use crate::eventually::{Look, eventually};
use crate::node::{Node, Upload};

const PROGRAM: &str = "/root/broker.py";

/// What to do, `more`, behind a login at a broker.
///
/// # Errors
/// When the account has no password.
pub fn order(
    (host, port): (IpAddr, u16),
    account: &str,
    secrets: &Secrets,
    more: Value,
) -> Result<Value> {
    let login = json!({
        "host": host.to_string(),
        "port": port,
        "user": account,
        "password": secrets.password(account)?.expose(),
    });
    let (Value::Object(mut order), Value::Object(more)) = (login, more) else {
        bail!("what shall be done is no object");
    };
    order.extend(more);
    Ok(Value::Object(order))
}

async fn bring(node: &Node, name: &str, order: &Value) -> Result<String> {
    let path = format!("/root/{name}.json");
    let file = |path: &str, content| Upload {
        path: path.to_owned(),
        mode: 0o600,
        content,
    };
    let order = serde_json::to_vec(order).context("writing what shall be done")?;
    node.upload(&[
        file(PROGRAM, include_bytes!("broker.py").to_vec()),
        file(&path, order),
    ])
    .await?;
    Ok(path)
}

/// Does it, and returns what was said in the end.
///
/// # Errors
/// When the program cannot be run or fails.
pub async fn act(node: &Node, name: &str, order: &Value) -> Result<String> {
    let path = bring(node, name, order).await?;
    let said = node.run(&["python3", PROGRAM, &path]).await?;
    Ok(said.trim().to_owned())
}

/// Begins to do it, and waits until the program says a word. What it says is in `log`.
///
/// # Errors
/// When the program does not get there.
pub async fn begin(node: &Node, name: &str, order: &Value, word: &str) -> Result<()> {
    let path = bring(node, name, order).await?;
    node.script(&format!("rm -f /var/log/{name}.log")).await?;
    node.spawn(name, &["python3", PROGRAM, &path]).await?;
    until(node, name, word).await.map(drop)
}

/// Waits until a program that was begun has said a word, and returns all that it said.
///
/// # Errors
/// When the deadline passes.
pub async fn until(node: &Node, name: &str, word: &str) -> Result<String> {
    eventually(
        format!("{name} on {} to say {word}", node.name),
        Duration::from_secs(20),
        || async {
            let log = log(node, name).await;
            Ok(if log.contains(word) {
                Look::Done(log)
            } else {
                Look::NotYet(log.lines().last().unwrap_or_default().to_owned())
            })
        },
    )
    .await
}

/// What a program that was begun has said so far.
pub async fn log(node: &Node, name: &str) -> String {
    let path = format!("/var/log/{name}.log");
    node.run(&["cat", &path]).await.unwrap_or_default()
}
