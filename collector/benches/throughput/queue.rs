//! What waits in the broker's queue, read at QoS 1 by the collector and by Telegraf, where that is
//! installed: neither has a journal then, so that the queue is all that can wait.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::{Connect, Publish};
use tokio::runtime::Runtime;

use crate::database::Database;
use crate::measure::{Measure, Part, Plan};
use crate::programs::{Program, free_port, influxd, installed, mosquitto};
use crate::{Bench, fleet, journal, settings};

/// Messages that wait.
const WAITING: [u64; 2] = [100_000, 300_000];
const NONE: Plan = Plan {
    rate: 0.0,
    cpu: 0.0,
    memory: 0.0,
};

/// Adds what was asked for.
pub(crate) fn measure(bench: &Bench, runtime: &Runtime, parts: &mut Vec<Part>) -> Result<()> {
    for messages in WAITING {
        if bench.wants("broker") {
            // Twice what Telegraf was measured with.
            let plan = Plan {
                rate: if messages == 100_000 {
                    61_400.0
                } else {
                    95_200.0
                },
                ..NONE
            };
            let of = Of {
                name: "collector",
                plan,
                messages,
                is_ours: true,
            };
            let part = of.run(bench, runtime, |folder, port, database| {
                settings::collector(folder, "broker", port, database)?;
                Ok(Box::new(move |folder: &Path| {
                    journal::collector(bench, folder)
                }))
            })?;
            parts.push(part);
        }
        if bench.wants("telegraf") {
            let Some(telegraf) = installed("telegraf") else {
                println!("skipped: telegraf is not on the PATH");
                continue;
            };
            let of = Of {
                name: "telegraf",
                plan: NONE,
                messages,
                is_ours: false,
            };
            let part = of.run(bench, runtime, |folder, port, database| {
                telegraf_settings(folder, port, database)?;
                let telegraf = telegraf.clone();
                Ok(Box::new(move |folder: &Path| {
                    let mut command = Command::new(&telegraf);
                    command.arg("--config").arg(folder.join("telegraf.conf"));
                    Program::start("telegraf", &mut command, &folder.join("telegraf.log"))
                }))
            })?;
            parts.push(part);
        }
    }
    Ok(())
}

/// One reader and what waits for it.
struct Of {
    name: &'static str,
    plan: Plan,
    messages: u64,
    /// Whether what is stored has the names that our collector gives.
    is_ours: bool,
}

type Start<'s> = Box<dyn Fn(&Path) -> Result<Program> + 's>;

impl Of {
    fn run<'s>(
        &self,
        bench: &Bench,
        runtime: &Runtime,
        prepare: impl FnOnce(&Path, u16, u16) -> Result<Start<'s>>,
    ) -> Result<Part> {
        let title = format!(
            "{}: {} messages that wait in the broker",
            self.name, self.messages
        );
        println!("{title}");
        let folder = tempfile::tempdir()?;
        let folder = folder.path();
        let (port, database_port) = (free_port()?, free_port()?);
        let broker = mosquitto(&bench.mosquitto, port, 2 * self.messages, folder)?;
        let stored = influxd(&bench.influxd, database_port, folder)?;
        let database = runtime.block_on(Database::create(database_port))?;
        let start = prepare(folder, port, database_port)?;
        // Its session must be there, so that messages wait. What it hears first shows that it has
        // subscribed.
        let mut first = start(folder)?;
        let topic = format!("{}/emeter/0/power", fleet::prefix(0));
        while runtime.block_on(database.written())? == 0 {
            first.runs()?;
            publish(port, std::iter::once((topic.clone(), "0.25".to_owned())))?;
            std::thread::sleep(Duration::from_millis(500));
        }
        runtime.block_on(database.settle(Instant::now(), &mut first))?;
        drop(first);
        publish(
            port,
            (0..self.messages).map(|number| {
                let topic = format!("{}/emeter/0/power", fleet::prefix(number % fleet::METERS));
                (topic, format!("{number}.5"))
            }),
        )?;
        let mut measure = Measure::begin()?
            .with("mosquitto", &broker, NONE)?
            .with("influxd", &stored, NONE)?;
        let mut reader = start(folder)?;
        measure.add_first(self.name, &reader, self.plan);
        let time = runtime.block_on(database.settle(measure.began(), &mut reader))?;
        let part = measure.end(title, self.messages, time)?;
        if self.is_ours {
            runtime.block_on(database.compare_queue(self.messages))?;
            println!(
                "stored: each of {} values once, and no other",
                self.messages
            );
        }
        Ok(part)
    }
}

fn telegraf_settings(folder: &Path, port: u16, database: u16) -> Result<()> {
    let text = format!(
        "[agent]\nflush_interval = \"1s\"\nmetric_batch_size = 5000\n\
         metric_buffer_limit = 100000\nomit_hostname = true\n\
         [[inputs.mqtt_consumer]]\nservers = [\"tcp://127.0.0.1:{port}\"]\n\
         topics = [\"shellies/+/emeter/#\"]\nqos = 1\nclient_id = \"telegraf\"\n\
         username = \"telegraf\"\npassword = \"abcd\"\npersistent_session = true\n\
         max_undelivered_messages = 2000\ndata_format = \"value\"\ndata_type = \"float\"\n\
         [[outputs.influxdb]]\nurls = [\"http://127.0.0.1:{database}\"]\n\
         database = \"bench\"\nskip_database_creation = true\n"
    );
    std::fs::write(folder.join("telegraf.conf"), text)?;
    Ok(())
}

/// Publishes something that is no reading.
pub(crate) fn probe(port: u16) -> Result<()> {
    let topic = format!("{}/relay/0", fleet::prefix(0));
    publish(port, std::iter::once((topic, "off".to_owned())))
}

/// Publishes, and returns when the broker has it.
fn publish(port: u16, messages: impl Iterator<Item = (String, String)>) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let mut bytes = BytesMut::new();
    let mut connect = Connect::new("probe");
    connect.set_login("probe", "abcd");
    connect.write(&mut bytes)?;
    for (topic, payload) in messages {
        Publish::new(topic, QoS::AtMostOnce, payload).write(&mut bytes)?;
    }
    let mut end = Publish::new("end", QoS::AtLeastOnce, "");
    end.pkid = 1;
    end.write(&mut bytes)?;
    stream.write_all(&bytes)?;
    // CONNACK and PUBACK, each of four bytes.
    stream.read_exact(&mut [0; 8])?;
    Ok(())
}
