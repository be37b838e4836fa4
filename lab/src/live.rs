//! A living lab to look at: a fleet that publishes until somebody stops it, and a table of what
//! was sent and what is stored. And waiting until the one is the other.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use actors::fleet::Fleet;
use actors::ledger::Value;
use anyhow::{Context as _, Result};
use deploy::Secrets;
use serde_json::json;
use site::Site;

use crate::eventually::{Look, eventually};
use crate::judge::{self, Reading, Readings, sent, stored};
use crate::lab::Lab;
use crate::node::Node;
use crate::roles::{database, fleet};
use crate::site_file::PUBLIC_HOST;

const REFRESH: Duration = Duration::from_secs(5);

/// The fleet of a lab: all of its meters, with their accounts.
///
/// # Errors
/// When a meter has no password or a model is not simulated.
pub fn fleet_of(lab: &Lab, period_ms: u64, duration_ms: Option<u64>) -> Result<Fleet> {
    fleet_for(&lab.site, &lab.secrets, period_ms, duration_ms)
}

/// The fleet of a site.
///
/// # Errors
/// As [`fleet_of`].
pub fn fleet_for(
    site: &Site,
    secrets: &Secrets,
    period_ms: u64,
    duration_ms: Option<u64>,
) -> Result<Fleet> {
    let meters = site
        .meters
        .iter()
        .map(|meter| {
            let password = secrets.password(&meter.id)?.expose();
            Ok(json!({"id": meter.id, "model": meter.model.name, "prefix": meter.prefix, "password": password}))
        })
        .collect::<Result<Vec<_>>>()?;
    let fleet = json!({
        "server": format!("{PUBLIC_HOST}:{}", site::flow::MQTT_PORT),
        "seed": 1,
        "period_ms": period_ms,
        "duration_ms": duration_ms,
        "meters": meters,
    });
    serde_json::from_value(fleet).context("describing the fleet")
}

/// Everything the database holds, in its own words.
///
/// # Errors
/// When it does not answer.
pub async fn everything_stored(lab: &Lab) -> Result<serde_json::Value> {
    stored_in(&lab.influxdb).await
}

/// Everything that a machine's database holds, in its own words.
///
/// # Errors
/// When it does not answer.
pub async fn stored_in(node: &Node) -> Result<serde_json::Value> {
    let question = "SELECT * FROM \"power\",\"energy\",\"device\" GROUP BY *";
    database::query(node, question).await
}

/// What a machine's database holds of a time and later, in ns since 1970.
///
/// # Errors
/// When it does not answer.
pub async fn stored_since(node: &Node, from_ns: u64) -> Result<serde_json::Value> {
    let question =
        format!("SELECT * FROM \"power\",\"energy\",\"device\" WHERE time >= {from_ns} GROUP BY *");
    database::query(node, &question).await
}

/// Prints the table every few seconds until the process is asked to stop.
///
/// # Errors
/// When a machine of the lab does not answer any more.
pub async fn watch(lab: &Lab) -> Result<()> {
    loop {
        let ledger = fleet::ledger(&lab.meters).await?;
        print!(
            "{}",
            table(
                lab,
                &sent(&ledger),
                &stored(&everything_stored(lab).await?)?
            )
        );
        tokio::select! {
            stop = tokio::signal::ctrl_c() => return stop.context("waiting for Ctrl-C"),
            () = tokio::time::sleep(REFRESH) => {}
        }
    }
}

#[derive(Default)]
struct Row {
    sent: usize,
    stored: usize,
    last: Option<(u64, String)>,
}

fn table(lab: &Lab, sent: &Readings, stored: &Readings) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for ((device, ..), list) in sent {
        rows.entry(device).or_default().sent += list.len();
    }
    for ((device, _, channel, field), list) in stored {
        let row = rows.entry(device).or_default();
        row.stored += list.len();
        let newest = list
            .last()
            .map(|reading| (reading.at_ns, shown(channel.as_deref(), field, reading)));
        // Power is what a person looks for; whatever came last stands in for it.
        if field == "active_w" || row.last.is_none() {
            row.last = newest.max(row.last.take());
        }
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let mut text = format!(
        "\n{:<32} {:<28} {:>7} {:>8} {:>8}\n",
        "meter", "last value", "age", "sent", "stored"
    );
    for meter in &lab.site.meters {
        let row = rows.remove(meter.id.as_str()).unwrap_or_default();
        let (age, value) = match &row.last {
            Some((at_ns, value)) => {
                let age = now.saturating_sub(Duration::from_nanos(*at_ns));
                (format!("{:.1} s", age.as_secs_f32()), value.as_str())
            }
            None => ("-".to_owned(), "nothing yet"),
        };
        text += &format!(
            "{:<32} {value:<28} {age:>7} {:>8} {:>8}\n",
            meter.id, row.sent, row.stored
        );
    }
    text
}

fn shown(channel: Option<&str>, field: &str, reading: &Reading) -> String {
    let value = match &reading.value {
        Value::Truth(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    };
    let channel = channel
        .map(|channel| format!("[{channel}] "))
        .unwrap_or_default();
    format!("{channel}{field} {value}")
}

/// Waits until what was sent is stored, exactly; gives that in words. The last batch is on its way
/// for a moment; what is not there after `deadline` never comes.
///
/// # Errors
/// When it does not come, or looking fails.
pub async fn arrives<F>(
    sent: &Readings,
    tolerance_ns: u64,
    deadline: Duration,
    mut stored: impl FnMut() -> F,
) -> Result<String>
where
    F: Future<Output = Result<Readings>>,
{
    let arrived = eventually(
        "the database to hold what the meters sent",
        deadline,
        || {
            let stored = stored();
            async {
                let difference = judge::compare_within(tolerance_ns, sent, &stored.await?);
                let text = difference.to_string();
                Ok(if difference.is_none() {
                    Look::Done(text)
                } else {
                    Look::NotYet(text)
                })
            }
        },
    );
    arrived
        .await
        .context("promise broken: sent and stored are not the same")
}
