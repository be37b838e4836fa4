//! Listeners that answer in a word, and count who came.
//!
//! The count is in the file before the answer is sent, so that a receiver's zero is a real zero.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::target::{Port, Protocol};

/// Connections served at once; more are counted and closed.
const AT_ONCE: usize = 100;
/// For one connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// Source addresses remembered per port; further ones are counted without a name.
const SOURCES: usize = 1_000;

/// What came to one port. The counters file maps `tcp:80` to this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCount {
    /// Connections for TCP, datagrams for UDP.
    pub connections: u64,
    /// How many of them came from where.
    pub sources: BTreeMap<IpAddr, u64>,
}

/// Why listening ended or never began.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A port cannot be had.
    #[error("cannot listen on {port} at {address}")]
    Bind {
        /// Which port.
        port: Port,
        /// Which wildcard address.
        address: IpAddr,
        /// Why.
        source: io::Error,
    },
    /// Counts cannot be written, and uncounted visitors would look like none.
    #[error("cannot write the counters to {path}")]
    Counters {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Debug)]
struct Counters {
    path: Option<PathBuf>,
    ports: Mutex<BTreeMap<String, PortCount>>,
}

impl Counters {
    fn create(path: Option<&Path>, ports: &[Port]) -> Result<Self, ListenError> {
        let zero = ports
            .iter()
            .map(|port| (port.to_string(), PortCount::default()))
            .collect();
        let counters = Self {
            path: path.map(Path::to_owned),
            ports: Mutex::new(zero),
        };
        counters.save(
            &counters
                .ports
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )?;
        Ok(counters)
    }

    fn count(&self, port: Port, from: SocketAddr) -> Result<(), ListenError> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ports.entry(port.to_string()).or_default();
        count.connections += 1;
        if count.sources.len() < SOURCES || count.sources.contains_key(&from.ip()) {
            *count.sources.entry(from.ip()).or_default() += 1;
        }
        self.save(&ports)
    }

    /// Writes a new file and puts it in the old one's place, so that a reader sees one or the other.
    fn save(&self, ports: &BTreeMap<String, PortCount>) -> Result<(), ListenError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let write = || {
            std::fs::write(&new, serde_json::to_vec(ports)?)?;
            std::fs::rename(&new, path)
        };
        write().map_err(|source| ListenError::Counters {
            path: path.clone(),
            source,
        })
    }
}

/// Listens on every port, on the wildcard address of both families, until `shutdown` is ready.
/// Calls `ready` once when all are bound and the counters stand at zero.
///
/// # Errors
/// When a port cannot be bound or the counters cannot be written.
pub async fn listen(
    ports: &[Port],
    counters: Option<&Path>,
    ready: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ListenError> {
    let mut listeners = JoinSet::new();
    let counters = Arc::new(Counters::create(counters, ports)?);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    for &port in ports {
        for address in [
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Ipv6Addr::UNSPECIFIED.into(),
        ] {
            let at = SocketAddr::new(address, port.number);
            let bound = match port.protocol {
                Protocol::Tcp => bind_tcp(at).map(|listener| {
                    listeners.spawn(serve_tcp(listener, port, counters.clone(), room.clone()));
                }),
                Protocol::Udp => bind_udp(at).map(|socket| {
                    listeners.spawn(serve_udp(socket, port, counters.clone()));
                }),
            };
            match bound {
                Err(error)
                    if address.is_ipv6()
                        && Errno::from_io_error(&error) == Some(Errno::AFNOSUPPORT) =>
                {
                    eprintln!("{port}: this machine has no IPv6");
                }
                bound => bound.map_err(|source| ListenError::Bind {
                    port,
                    address,
                    source,
                })?,
            }
        }
    }
    ready();
    tokio::select! {
        () = shutdown => Ok(()),
        // A listener ends only when it cannot count.
        Some(Ok(ended)) = listeners.join_next() => ended,
    }
}

fn bind_tcp(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if at.is_ipv6() {
        // The other family has a socket of its own.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(1024)
}

fn bind_udp(at: SocketAddr) -> io::Result<UdpSocket> {
    let family = if at.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    UdpSocket::from_std(socket.into())
}

async fn serve_tcp(
    listener: TcpListener,
    port: Port,
    counters: Arc<Counters>,
    room: Arc<Semaphore>,
) -> Result<(), ListenError> {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors or the like: connections in progress end within their patience.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        counters.count(port, from)?;
        if let Ok(permit) = room.clone().try_acquire_owned() {
            tokio::spawn(async move {
                let _permit = permit;
                // The visitor may leave or dawdle; it was counted, and that is all that matters.
                timeout(PATIENCE, answer(stream, port.number)).await.ok();
            });
        }
    }
}

async fn answer(mut stream: TcpStream, port: u16) -> io::Result<()> {
    stream.write_all(banner(port)).await?;
    stream.shutdown().await?;
    // Closing over unread bytes would send a RST, which can take the banner with it.
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

fn banner(port: u16) -> &'static [u8] {
    match port {
        80 | 443 | 8080 => {
            b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nlab\n"
        }
        22 => b"SSH-2.0-lab\r\n",
        _ => b"lab\r\n",
    }
}

async fn serve_udp(
    socket: UdpSocket,
    port: Port,
    counters: Arc<Counters>,
) -> Result<(), ListenError> {
    let mut datagram = [0; 2048];
    loop {
        match socket.recv_from(&mut datagram).await {
            Ok((_, from)) => {
                counters.count(port, from)?;
                // The sender may be gone, or a firewall may refuse the reply: its loss.
                socket.send_to(b"lab", from).await.ok();
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}
