//! Single meters against a broker made of a few lines; fleets against a real one are below.

mod real_broker;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::fleet::Password;
use crate::ledger::{self, Line};
use crate::model::Model;
use crate::run::{Summary, run};

fn fleet(server: SocketAddr, models: &[Model]) -> Fleet {
    let meters = models.iter().map(|model| {
        let id = format!("{}-AABBCC", model.name());
        let prefix = if model.is_gen1() {
            format!("shellies/{id}")
        } else {
            id.clone()
        };
        Meter {
            id,
            model: *model,
            prefix,
            password: Password::new("secret"),
        }
    });
    Fleet {
        server: server.to_string(),
        seed: 1,
        period_ms: 200,
        duration_ms: None,
        backoff_ms: 20,
        changes_per_s: 0.0,
        energy_factor: 60.0,
        rpc_ntf: true,
        meters: meters.collect(),
    }
}

fn ledger_file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    (folder, path)
}

/// Readings entered as sent, entered as dropped, and losses.
fn tally(path: &std::path::Path) -> (usize, usize, usize) {
    ledger::read(path).unwrap().into_iter().fold(
        (0, 0, 0),
        |(sent, dropped, lost), line| match line {
            Line::Entry(entry) if entry.sent => (sent + 1, dropped, lost),
            Line::Entry(_) => (sent, dropped + 1, lost),
            Line::Lost(_) => (sent, dropped, lost + 1),
        },
    )
}

struct Peer {
    stream: TcpStream,
    inbox: BytesMut,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        Self {
            stream: listener.accept().await.unwrap().0,
            inbox: BytesMut::new(),
        }
    }

    /// `None` at the end of the connection.
    async fn receive(&mut self) -> Option<Packet> {
        loop {
            if let Ok(packet) = Packet::read(&mut self.inbox, 1 << 20) {
                return Some(packet);
            }
            if self.stream.read_buf(&mut self.inbox).await.ok()? == 0 {
                return None;
            }
        }
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, 1 << 20).unwrap();
        self.stream.write_all(&bytes).await.ok();
    }

    async fn welcome(&mut self, code: ConnectReturnCode) -> Connect {
        let Some(Packet::Connect(connect)) = self.receive().await else {
            panic!("no CONNECT")
        };
        self.send(Packet::ConnAck(ConnAck::new(code, false))).await;
        connect
    }

    /// Receives and answers until `enough`; gives the messages.
    async fn serve(
        &mut self,
        acknowledge: bool,
        enough: impl Fn(&[Publish]) -> bool,
    ) -> Vec<Publish> {
        let mut heard = Vec::new();
        while !enough(&heard) {
            match self.receive().await {
                Some(Packet::Publish(publish)) => {
                    if acknowledge && publish.qos == QoS::AtLeastOnce {
                        self.send(Packet::PubAck(PubAck::new(publish.pkid))).await;
                    }
                    heard.push(publish);
                }
                Some(Packet::Subscribe(subscribe)) => {
                    let granted = vec![
                        SubscribeReasonCode::Success(QoS::AtMostOnce);
                        subscribe.filters.len()
                    ];
                    self.send(Packet::SubAck(SubAck::new(subscribe.pkid, granted)))
                        .await;
                }
                Some(Packet::PingReq) => self.send(Packet::PingResp).await,
                Some(Packet::Disconnect) | None => break,
                Some(other) => panic!("unexpected {other:?}"),
            }
        }
        heard
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Runs one meter beside `broker`, and stops it when that ends and hands its last peer over.
async fn beside<B: Future<Output = Peer>>(
    model: Model,
    server: SocketAddr,
    broker: B,
) -> (Summary, (usize, usize, usize)) {
    let (_folder, path) = ledger_file();
    let (stop, stopped) = oneshot::channel::<()>();
    let meter = run(fleet(server, &[model]), &path, async {
        stopped.await.unwrap()
    });
    let broker = async {
        let mut peer = broker.await;
        stop.send(()).unwrap();
        peer.serve(true, |_| false).await;
    };
    let (summary, ()) = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::join!(meter, broker)
    })
    .await
    .unwrap();
    (summary.unwrap(), tally(&path))
}

#[tokio::test]
async fn a_first_generation_meter_introduces_itself_as_captured() {
    let (listener, server) = listen().await;
    let (summary, (sent, dropped, lost)) = beside(Model::Em, server, async {
        let mut peer = Peer::accept(&listener).await;
        let connect = peer.welcome(ConnectReturnCode::Success).await;
        let will = connect.last_will.unwrap();
        assert_eq!(
            (
                connect.client_id.as_str(),
                connect.keep_alive,
                connect.clean_session
            ),
            ("shellyem-AABBCC", 60, true)
        );
        assert_eq!(connect.login.unwrap().username, "shellyem-AABBCC");
        assert_eq!(
            (will.topic.as_str(), &will.message[..]),
            ("shellies/shellyem-AABBCC/online", &b"false"[..])
        );
        assert_eq!((will.qos, will.retain), (QoS::AtMostOnce, false));
        let heard = peer.serve(true, |heard| heard.len() == 15).await;
        let topics: Vec<_> = heard.iter().map(|publish| publish.topic.as_str()).collect();
        let own = "shellies/shellyem-AABBCC";
        assert_eq!(
            topics[..4],
            [
                &format!("{own}/online"),
                "shellies/announce",
                &format!("{own}/announce"),
                &format!("{own}/info")
            ]
        );
        assert_eq!(topics[4], format!("{own}/relay/0"));
        assert!(
            heard
                .iter()
                .all(|publish| publish.qos == QoS::AtMostOnce && !publish.retain)
        );
        peer
    })
    .await;
    assert_eq!(
        (summary.connected, summary.reconnects, summary.readings),
        (1, 0, sent)
    );
    assert_eq!((dropped, lost), (0, 0));
}

#[tokio::test]
async fn commands_are_answered() {
    let (listener, server) = listen().await;
    let (summary, _) = beside(Model::Plus1Pm, server, async {
        let mut peer = Peer::accept(&listener).await;
        let will = peer
            .welcome(ConnectReturnCode::Success)
            .await
            .last_will
            .unwrap();
        assert_eq!((will.qos, will.retain), (QoS::AtMostOnce, true));
        peer.serve(true, |heard| heard.len() == 3).await;
        peer.send(Packet::Publish(Publish::new(
            "shellies/command",
            QoS::AtMostOnce,
            "announce",
        )))
        .await;
        peer.serve(true, |heard| {
            heard
                .iter()
                .any(|publish| publish.topic.ends_with("/announce"))
        })
        .await;
        peer
    })
    .await;
    assert_eq!(summary.commands, 1);
}

#[tokio::test]
async fn a_refused_connect_is_tried_again() {
    let (listener, server) = listen().await;
    let (summary, (_, _, lost)) = beside(Model::PlugS, server, async {
        for _ in 0..2 {
            Peer::accept(&listener)
                .await
                .welcome(ConnectReturnCode::NotAuthorized)
                .await;
        }
        let mut peer = Peer::accept(&listener).await;
        peer.welcome(ConnectReturnCode::Success).await;
        peer.serve(true, |heard| heard.len() > 5).await;
        peer
    })
    .await;
    assert_eq!((summary.connected, summary.reconnects, lost), (1, 0, 0));
}

#[tokio::test]
async fn a_lost_connection_leaves_its_doubt_in_the_ledger() {
    let (listener, server) = listen().await;
    let (summary, (_, _, lost)) = beside(Model::Em3, server, async {
        let mut peer = Peer::accept(&listener).await;
        peer.welcome(ConnectReturnCode::Success).await;
        peer.serve(true, |heard| heard.len() > 30).await;
        drop(peer);
        let mut peer = Peer::accept(&listener).await;
        peer.welcome(ConnectReturnCode::Success).await;
        peer.serve(true, |heard| heard.len() > 5).await;
        peer
    })
    .await;
    assert_eq!((summary.connected, summary.reconnects, lost), (1, 1, 1));
}

#[tokio::test]
async fn a_full_queue_drops_and_says_so() {
    let (listener, server) = listen().await;
    let (summary, (sent, dropped, _)) = beside(Model::Pro3Em, server, async {
        let mut peer = Peer::accept(&listener).await;
        peer.welcome(ConnectReturnCode::Success).await;
        // Nothing is acknowledged for so many periods that three messages each overflow it.
        let stuck = peer.serve(false, |_| false);
        tokio::time::timeout(Duration::from_millis(200 * 12), stuck)
            .await
            .unwrap_err();
        // The message without an answer is gone with its connection.
        drop(peer);
        let mut peer = Peer::accept(&listener).await;
        peer.welcome(ConnectReturnCode::Success).await;
        peer.serve(true, |heard| heard.len() > 3).await;
        peer
    })
    .await;
    assert!(
        summary.dropped > 20 && dropped > 0 && sent == summary.readings,
        "{summary:?}, {dropped} readings dropped"
    );
}
