//! One TCP connection that carries MQTT 3.1.1 packets, with bounded reads and bounded waits.

use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode, Packet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ledger::LedgerError;

/// Larger than any command; what is larger ends the connection.
const LARGEST_PACKET: usize = 64 * 1024;
/// For the TCP handshake, for the broker's answer to CONNECT, and for one write.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a connection is no more, or never was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("cannot connect to {server}")]
    Connect {
        server: String,
        source: std::io::Error,
    },
    #[error("no answer from {server} within {} s", PATIENCE.as_secs())]
    NoAnswer { server: String },
    #[error("{server} refused CONNECT with code {}, {code:?}", *code as u8)]
    Refused {
        server: String,
        code: ConnectReturnCode,
    },
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker has been silent for {0} s")]
    Silent(u64),
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    #[error("the broker sent what is not MQTT")]
    Malformed(#[from] PacketError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    inbox: BytesMut,
}

impl Link {
    /// Connects and logs in.
    pub(super) async fn open(server: &str, connect: Connect) -> Result<Self, Lost> {
        let no_answer = || Lost::NoAnswer {
            server: server.to_owned(),
        };
        let stream = timeout(PATIENCE, TcpStream::connect(server))
            .await
            .map_err(|_| no_answer())?
            .map_err(|source| Lost::Connect {
                server: server.to_owned(),
                source,
            })?;
        // One burst is one segment; it must not wait for the acknowledgement of the last.
        stream.set_nodelay(true)?;
        let mut link = Self {
            stream,
            inbox: BytesMut::with_capacity(4096),
        };
        link.send(&[Packet::Connect(connect)]).await?;
        match timeout(PATIENCE, link.receive())
            .await
            .map_err(|_| no_answer())??
        {
            Packet::ConnAck(ConnAck {
                code: ConnectReturnCode::Success,
                ..
            }) => Ok(link),
            Packet::ConnAck(ConnAck { code, .. }) => Err(Lost::Refused {
                server: server.to_owned(),
                code,
            }),
            _ => Err(Lost::Malformed(PacketError::IncorrectPacketFormat)),
        }
    }

    /// Sends packets back to back in one write.
    pub(super) async fn send(&mut self, packets: &[Packet]) -> Result<(), Lost> {
        let mut burst = BytesMut::new();
        for packet in packets {
            packet.write(&mut burst, LARGEST_PACKET)?;
        }
        match timeout(PATIENCE, self.stream.write_all(&burst)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Lost::Silent(PATIENCE.as_secs())),
        }
    }

    /// The next packet. May be given up at any await and called again.
    pub(super) async fn receive(&mut self) -> Result<Packet, Lost> {
        loop {
            match Packet::read(&mut self.inbox, LARGEST_PACKET) {
                Ok(packet) => return Ok(packet),
                Err(PacketError::InsufficientBytes(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if self.stream.read_buf(&mut self.inbox).await? == 0 {
                return Err(Lost::Closed);
            }
        }
    }

    /// Says goodbye and waits for the broker's own end: only then has everything arrived.
    pub(super) async fn close(&mut self) -> Result<(), Lost> {
        self.send(&[Packet::Disconnect]).await?;
        self.stream.shutdown().await?;
        let ended = async {
            loop {
                match self.receive().await {
                    Ok(_) => {}
                    Err(Lost::Closed) => return Ok(()),
                    Err(lost) => return Err(lost),
                }
            }
        };
        timeout(PATIENCE / 5, ended)
            .await
            .unwrap_or(Err(Lost::Silent(PATIENCE.as_secs() / 5)))
    }
}
