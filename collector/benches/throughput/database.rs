//! What is in the database, asked without the collector's own code.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::Client;

use crate::fleet::{self, Values};
use crate::programs::Program;

/// When nothing came for so long, all is there. Longer than the collector waits for a page that got
/// lost.
const SILENT: Duration = Duration::from_secs(7);

pub(crate) struct Database {
    client: Client,
    url: String,
}

impl Database {
    pub(crate) async fn create(port: u16) -> Result<Database> {
        let database = Database {
            client: Client::new(),
            url: format!("http://127.0.0.1:{port}"),
        };
        database.ask("CREATE DATABASE bench").await?;
        Ok(database)
    }

    async fn ask(&self, query: &str) -> Result<String> {
        let encoded: String = query
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        let url = format!("{}/query?db=bench&epoch=ns&q={encoded}", self.url);
        let request = self.client.post(url).header("Accept", "application/csv");
        let answer = request.send().await?.error_for_status()?;
        Ok(answer.text().await?)
    }

    /// Points that were written since it was started.
    pub(crate) async fn written(&self) -> Result<u64> {
        let answer = self.client.get(format!("{}/debug/vars", self.url));
        let text = answer.send().await?.text().await?;
        let vars: serde_json::Value = serde_json::from_str(&text)?;
        let written = vars.get("write").and_then(|write| {
            let values = write.get("values")?;
            values.get("pointReq")?.as_u64()
        });
        Ok(written.unwrap_or(0))
    }

    /// Waits until nothing more comes from a program; how long it took since `begin` until the last came.
    pub(crate) async fn settle(&self, begin: Instant, writes: &mut Program) -> Result<Duration> {
        let (mut last, mut written) = (begin, 0);
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            writes.runs()?;
            let now = self.written().await?;
            if now != written {
                (last, written) = (Instant::now(), now);
            }
            if written > 0 && last.elapsed() > SILENT {
                return Ok(last - begin);
            }
            ensure!(
                written > 0 || begin.elapsed() < Duration::from_secs(60),
                "nothing is stored"
            );
        }
    }

    /// Compares what is stored with what was published: each value of each meter so often as it
    /// was said, and no other. Returns how many values that are.
    pub(crate) async fn compare(&self, rounds: u64) -> Result<u64> {
        let mut all = 0;
        for meter in 0..fleet::METERS {
            let mut stored = Values::new();
            for measurement in ["power", "energy"] {
                let id = fleet::id(meter);
                let query = format!("SELECT * FROM {measurement} WHERE device = '{id}'");
                read(&self.ask(&query).await?, &mut stored)?;
            }
            let expected = fleet::expected(meter, rounds);
            if stored != expected {
                let missing = expected.iter().find(|(key, n)| stored.get(key) != Some(n));
                let other = stored.iter().find(|(key, n)| expected.get(key) != Some(n));
                anyhow::bail!("meter {meter}: missing {missing:?}, and there is {other:?}");
            }
            all += stored.values().sum::<u64>();
        }
        Ok(all)
    }
}

impl Database {
    /// Compares what is stored of messages that waited in a broker: each was another number, of which
    /// [`crate::queue`] tells. The first ones, which only showed that somebody listens, do not count.
    pub(crate) async fn compare_queue(&self, messages: u64) -> Result<()> {
        for meter in 0..fleet::METERS {
            let id = fleet::id(meter);
            let query = format!("SELECT active_w, channel FROM power WHERE device = '{id}'");
            let mut stored = Values::new();
            read(&self.ask(&query).await?, &mut stored)?;
            stored.retain(|(_, _, bits), _| *bits != 0.25_f64.to_bits());
            let of_meter = (meter..messages).step_by(usize::try_from(fleet::METERS)?);
            let expected: Values = of_meter
                .map(|number| {
                    let value: f64 = format!("{number}.5").parse()?;
                    Ok(((0, "active_w".to_owned(), value.to_bits()), 1))
                })
                .collect::<Result<_>>()?;
            let missing = expected.iter().find(|(key, n)| stored.get(key) != Some(n));
            let other = stored.iter().find(|(key, n)| expected.get(key) != Some(n));
            ensure!(
                stored == expected,
                "meter {meter}: missing {missing:?}, and there is {other:?}"
            );
        }
        Ok(())
    }
}

/// Adds the fields of a table in CSV: tags are texts, fields numbers.
fn read(table: &str, values: &mut Values) -> Result<()> {
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name| names.iter().position(|known| *known == name);
    let channel = column("channel").context("no channel")?;
    let fields = [
        "active_w",
        "pf",
        "current_a",
        "voltage_v",
        "import_wh",
        "export_wh",
    ];
    let fields: Vec<(usize, &str)> = fields
        .into_iter()
        .filter_map(|name| Some((column(name)?, name)))
        .collect();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let phase: u64 = cells.get(channel).context("no channel")?.parse()?;
        for (place, name) in &fields {
            let cell = cells.get(*place).copied().unwrap_or_default();
            if !cell.is_empty() {
                let key = (phase, (*name).to_owned(), cell.parse::<f64>()?.to_bits());
                *values.entry(key).or_default() += 1;
            }
        }
    }
    Ok(())
}
