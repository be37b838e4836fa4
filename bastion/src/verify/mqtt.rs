//! One message that the broker must pass on, and one that it must refuse: on the loopback
//! listener, as the health account. The same account says what [`crate::watch`] has to tell.
//!
//! Spoken in MQTT 5, since only there the broker tells a publisher that it was refused. What is
//! refused is published where nobody listens, so nobody hears it if it is not.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectReturnCode, Filter, Login, Packet, PubAck, PubAckReason, Publish,
    Subscribe,
};
use site::account::{HEALTH_ACCOUNT, HEALTH_TOPIC};
use site::flow::MQTT_LOOPBACK_PORT;
use site::manifest::HEALTH_PASSWORD_PATH;

use super::Finding;
use crate::host::{Host, read_text};

const PATIENCE: Duration = Duration::from_secs(3);
/// What the broker answers here is a few bytes.
const ANSWER_LIMIT: u32 = 4096;
const OWN: u16 = 2;
const FOREIGN: u16 = 3;

pub(super) fn probe(host: &Host) -> Finding {
    let password = read_text(&host.path(HEALTH_PASSWORD_PATH))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, MQTT_LOOPBACK_PORT));
    judge(&mut Session::open(address, password.trim_end())?)
}

/// Says something on a topic of the health account, and waits until the broker has it.
pub(crate) fn tell(host: &Host, topic: &str, payload: &str) -> Result<()> {
    let password = read_text(&host.path(HEALTH_PASSWORD_PATH))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, MQTT_LOOPBACK_PORT));
    let mut session = Session::open(address, password.trim_end())?;
    session.send(&Packet::Publish(publish(OWN, topic, payload)))?;
    let refused = session.receive(|packet| match packet {
        Packet::PubAck(answer) if answer.pkid == OWN => Some(is_refused(answer)),
        _ => None,
    })?;
    ensure!(
        !refused,
        "the broker refuses what {HEALTH_ACCOUNT} may publish"
    );
    Ok(())
}

fn judge(session: &mut Session) -> Finding {
    let payload = format!("{:?}", Instant::now());
    let subscribe = Subscribe {
        pkid: 1,
        ..Subscribe::new(Filter::new(HEALTH_TOPIC, QoS::AtLeastOnce), None)
    };
    session.send(&Packet::Subscribe(subscribe))?;
    session.receive(|packet| matches!(packet, Packet::SubAck(_)).then_some(()))?;
    let own = publish(OWN, HEALTH_TOPIC, &payload);
    session.send(&Packet::Publish(own))?;
    let heard = session.receive(|packet| match packet {
        // Another probe of this machine may speak at the same time.
        Packet::Publish(heard) if heard.payload == payload.as_bytes() => Some(Heard::Delivered),
        Packet::PubAck(answer) if answer.pkid == OWN && is_refused(answer) => Some(Heard::Refused),
        _ => None,
    });
    match heard {
        Ok(Heard::Delivered) => {}
        Ok(Heard::Refused) => {
            return Ok(Some(format!(
                "the broker refuses what {HEALTH_ACCOUNT} may publish"
            )));
        }
        Err(error) => {
            return Ok(Some(format!(
                "the broker does not deliver what {HEALTH_ACCOUNT} may hear: {error:#}"
            )));
        }
    }
    let foreign = publish(FOREIGN, &format!("{HEALTH_TOPIC}/outside"), &payload);
    session.send(&Packet::Publish(foreign))?;
    let refused = session.receive(|packet| match packet {
        Packet::PubAck(answer) if answer.pkid == FOREIGN => Some(is_refused(answer)),
        _ => None,
    })?;
    Ok((!refused).then(|| format!("the broker lets {HEALTH_ACCOUNT} publish where it may not")))
}

enum Heard {
    Delivered,
    Refused,
}

fn is_refused(answer: &PubAck) -> bool {
    answer.reason == PubAckReason::NotAuthorized
}

fn publish(pkid: u16, topic: &str, payload: &str) -> Publish {
    Publish {
        pkid,
        ..Publish::new(topic, QoS::AtLeastOnce, payload.to_owned(), None)
    }
}

struct Session {
    stream: TcpStream,
    read: BytesMut,
}

impl Session {
    fn open(address: SocketAddr, password: &str) -> Result<Session> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("connecting to {address}"))?;
        let mut session = Session {
            stream,
            read: BytesMut::new(),
        };
        let connect = Connect {
            keep_alive: 30,
            client_id: String::new(),
            clean_start: true,
            properties: None,
        };
        let login = Login::new(HEALTH_ACCOUNT, password);
        session.send(&Packet::Connect(connect, None, Some(login)))?;
        let code = session.receive(|packet| match packet {
            Packet::ConnAck(ConnAck { code, .. }) => Some(*code),
            _ => None,
        })?;
        ensure!(
            code == ConnectReturnCode::Success,
            "the broker answers {code:?}"
        );
        Ok(session)
    }

    fn send(&mut self, packet: &Packet) -> Result<()> {
        let mut bytes = BytesMut::new();
        packet
            .write(&mut bytes, None)
            .context("writing an MQTT packet")?;
        self.stream
            .write_all(&bytes)
            .context("speaking to the broker")
    }

    /// Waits for a packet that says something; what else comes is left out.
    fn receive<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            match Packet::read(&mut self.read, Some(ANSWER_LIMIT)) {
                Ok(packet) => {
                    if let Some(found) = wanted(&packet) {
                        return Ok(found);
                    }
                    continue;
                }
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => bail!("the broker does not speak MQTT 5: {error}"),
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            ensure!(!left.is_zero(), "no answer in {} s", PATIENCE.as_secs());
            self.stream
                .set_read_timeout(Some(left))
                .context("setting a time limit")?;
            let mut chunk = [0; 512];
            let count = self
                .stream
                .read(&mut chunk)
                .context("waiting for the broker")?;
            match chunk.get(..count) {
                Some([]) | None => bail!("the broker closed the connection"),
                Some(bytes) => self.read.extend_from_slice(bytes),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::{Session, judge};
    use site::account::{HEALTH_ACCOUNT, HEALTH_TOPIC};

    /// Brokers of these tests so far.
    static BROKERS: AtomicU8 = AtomicU8::new(1);

    struct Broker(Child);

    impl Drop for Broker {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A real broker with these access rules, none at all when there are none.
    #[track_caller]
    fn check(rules: Option<&str>, expected: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let made = Command::new("mosquitto_passwd")
            .args(["-b", "-c", &at("passwd"), HEALTH_ACCOUNT, "secret"])
            .stderr(Stdio::null())
            .status();
        if !made.is_ok_and(|made| made.success()) {
            let why = "there is no mosquitto_passwd";
            let _ = writeln!(std::io::stderr(), "skipped: a broker's access rules: {why}");
            return;
        }
        // An address of its own: between here and the broker nobody else takes the port, and a
        // connection does not meet itself.
        let own = Ipv4Addr::new(127, 18, 84, BROKERS.fetch_add(1, Ordering::Relaxed));
        let free = TcpListener::bind((own, 0)).unwrap();
        let address: SocketAddr = free.local_addr().unwrap();
        drop(free);
        let mut settings = format!(
            "listener {} {own}\nallow_anonymous false\npassword_file {}\n\
             use_username_as_clientid true\npersistence false\nuser root\n",
            address.port(),
            at("passwd")
        );
        if let Some(rules) = rules {
            fs::write(at("acl"), format!("user {HEALTH_ACCOUNT}\n{rules}")).unwrap();
            settings += &format!("acl_file {}\n", at("acl"));
        }
        fs::write(at("conf"), settings).unwrap();
        let mut broker = Broker(
            Command::new("mosquitto")
                .args(["-c", &at("conf")])
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        while TcpStream::connect(address).is_err() {
            assert!(broker.0.try_wait().unwrap().is_none(), "the broker ended");
            std::thread::yield_now();
        }
        let found = judge(&mut Session::open(address, "secret").unwrap()).unwrap();
        match expected {
            None => assert_eq!(found, None),
            Some(words) => assert!(
                found.as_ref().is_some_and(|found| found.contains(words)),
                "{found:?}"
            ),
        }
        let error = Session::open(address, "wrong").err().unwrap().to_string();
        assert!(
            error.contains("BadUserNamePassword") || error.contains("NotAuthorized"),
            "{error}"
        );
    }

    #[test]
    fn the_broker_passes_what_it_may_and_refuses_the_rest() {
        check(Some(&format!("topic readwrite {HEALTH_TOPIC}\n")), None);
    }

    #[test]
    fn what_the_broker_should_not_do_is_found() {
        check(None, Some("lets health publish where it may not"));
        check(
            Some(&format!("topic readwrite {HEALTH_TOPIC}/#\n")),
            Some("lets health publish where it may not"),
        );
        check(
            Some(&format!("topic read {HEALTH_TOPIC}\n")),
            Some("refuses what health may publish"),
        );
        check(
            Some(&format!("topic write {HEALTH_TOPIC}\n")),
            Some("does not deliver what health may hear: "),
        );
    }
}
