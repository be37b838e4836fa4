//! Telegraf beside it, where it is installed: what waited in the broker while it was away, read at
//! QoS 1 and written in batches of 5,000. It has no journal, so that the broker's queue is all that
//! can wait.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::{Connect, Publish};

use crate::database::Database;
use crate::fleet;
use crate::programs::{Program, free_port, influxd, mosquitto};
use crate::{Row, programs::Used};

/// Messages that wait for it.
const MESSAGES: u64 = 100_000;

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

pub(crate) async fn measure(
    telegraf: &Path,
    broker: &Path,
    database: &Path,
    folder: &Path,
) -> Result<Row> {
    let (port, database_port) = (free_port()?, free_port()?);
    let _broker = mosquitto(broker, port, folder)?;
    let _database = influxd(database, database_port, folder)?;
    let database = Database::create(database_port).await?;
    let settings = folder.join("telegraf.conf");
    let text = format!(
        "[agent]\nflush_interval = \"1s\"\nmetric_batch_size = 5000\n\
         metric_buffer_limit = 100000\nomit_hostname = true\n\
         [[inputs.mqtt_consumer]]\nservers = [\"tcp://127.0.0.1:{port}\"]\n\
         topics = [\"shellies/+/emeter/#\"]\nqos = 1\nclient_id = \"telegraf\"\n\
         username = \"telegraf\"\npassword = \"abcd\"\npersistent_session = true\n\
         max_undelivered_messages = 2000\ndata_format = \"value\"\ndata_type = \"float\"\n\
         [[outputs.influxdb]]\nurls = [\"http://127.0.0.1:{database_port}\"]\n\
         database = \"bench\"\nskip_database_creation = true\n"
    );
    std::fs::write(&settings, text)?;
    let start = || {
        let mut command = Command::new(telegraf);
        command.arg("--config").arg(&settings);
        Program::start("telegraf", &mut command, &folder.join("telegraf.log"))
    };
    // Its session must be there, so that messages wait.
    let mut first = start()?;
    // What it hears first shows that it has subscribed.
    let topic = format!("{}/emeter/0/power", fleet::prefix(0));
    tokio::time::sleep(Duration::from_secs(5)).await;
    publish(port, std::iter::once((topic, "1".to_owned())))?;
    database.settle(Instant::now(), &mut first).await?;
    drop(first);
    publish(
        port,
        (0..MESSAGES).map(|number| {
            let topic = format!("{}/emeter/0/power", fleet::prefix(number % fleet::METERS));
            (topic, format!("{number}.5"))
        }),
    )?;
    let begin = Instant::now();
    let mut telegraf = start()?;
    let time = database.settle(begin, &mut telegraf).await?;
    let Used { cpu, memory } = telegraf.used()?;
    Ok(Row {
        what: "catch-up: telegraf",
        messages: MESSAGES,
        time,
        used: Used { cpu, memory },
        limits: [0.0; 3],
    })
}
