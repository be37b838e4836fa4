//! A connection that can be cut: everything to one port goes on to another until then.

use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) struct Cable {
    pub(crate) port: u16,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Cable {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let opened = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let connection = tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    drop(copy_bidirectional(&mut near, &mut far).await);
                });
                opened.lock().unwrap().push(connection);
            }
        });
        Self {
            port: own,
            connections,
        }
    }

    /// Whether somebody connected since the last cut.
    pub(crate) fn used(&self) -> bool {
        !self.connections.lock().unwrap().is_empty()
    }

    /// Cuts what is connected; new connections go through.
    pub(crate) fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}
