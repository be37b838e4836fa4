//! The database: InfluxDB as the distribution ships it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::eventually::{Look, eventually};
use crate::node::Node;
use crate::site_file::DATABASE;

const QUERY: &str = "http://127.0.0.1:8086/query";

/// Starts the database and makes the one database that the collector writes to.
///
/// # Errors
/// When it does not come up.
pub async fn start(node: &Node) -> Result<()> {
    node.spawn(
        "influxd",
        &["influxd", "-config", "/etc/influxdb/influxdb.conf"],
    )
    .await?;
    eventually("InfluxDB", Duration::from_secs(30), || async {
        let answer = query(node, &format!("CREATE DATABASE {DATABASE}")).await;
        Ok(match answer {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await
}

/// Asks in InfluxQL; times in the answer are nanoseconds.
///
/// # Errors
/// When the database does not answer or refuses.
pub async fn query(node: &Node, question: &str) -> Result<Value> {
    let question = format!("q={question}");
    let database = format!("db={DATABASE}");
    let answer = node
        .run(&[
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--data-urlencode",
            &database,
            "--data-urlencode",
            "epoch=ns",
            "--data-urlencode",
            &question,
            QUERY,
        ])
        .await?;
    let answer: Value =
        serde_json::from_str(&answer).with_context(|| format!("InfluxDB answered {answer}"))?;
    let error = answer
        .get("error")
        .or_else(|| answer.pointer("/results/0/error"));
    match error {
        Some(error) => anyhow::bail!("InfluxDB refused {question}: {error}"),
        None => Ok(answer),
    }
}
