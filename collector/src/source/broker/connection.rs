//! One connection after the other, with growing waits, and never an end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions, StateError};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::intake::Intake;
use crate::patience::Patience;
use crate::source::subscription::Subscriptions;

/// A connection that lasted this long ends a row of failures. Two programs with one account throw
/// each other out at once, and that is a row of failures too.
const LASTING: Duration = Duration::from_secs(60);

/// Polls in a task of its own: whoever waits for room in the client's queue would wait for ever
/// if it were also the one to poll.
pub(super) struct Reader {
    pub(super) broker: String,
    pub(super) options: MqttOptions,
    pub(super) requests: usize,
    pub(super) intake: Arc<Intake>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Reader {
    pub(super) async fn read(mut self) {
        let mut patience = Patience::new();
        while !*self.stopped.borrow() {
            let begin = Instant::now();
            let ended = self.connection().await;
            self.intake.disconnected();
            let Err(error) = ended else {
                return;
            };
            if begin.elapsed() > LASTING {
                patience = Patience::new();
            }
            let wait = patience.next_wait();
            explain(&self.broker, &error, wait);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = self.stopped.changed() => {}
            }
        }
    }

    /// Until the connection breaks, or the goodbye went out.
    async fn connection(&self) -> Result<(), ConnectionError> {
        let (client, mut events) = AsyncClient::new(self.options.clone(), self.requests);
        let mut subscriptions = None;
        loop {
            match events.poll().await? {
                Event::Incoming(Packet::ConnAck(answer)) => {
                    let resumed = answer.session_present;
                    info!(broker = self.broker, resumed, "connected");
                    self.intake.connected(client.clone(), resumed);
                    subscriptions = Some(Subscriptions::ask(client.clone(), self.intake.fleet()));
                }
                Event::Incoming(Packet::Publish(message)) => {
                    self.intake.take(&client, &message).await;
                }
                Event::Incoming(Packet::SubAck(answer)) => {
                    if let Some(subscriptions) = &mut subscriptions {
                        subscriptions.answered(&answer);
                    }
                }
                Event::Outgoing(Outgoing::Subscribe(id)) => {
                    if let Some(subscriptions) = &mut subscriptions {
                        subscriptions.sent(id);
                    }
                }
                Event::Outgoing(Outgoing::Disconnect) => {
                    // Until the broker closes: an end with something unread here would throw away
                    // acknowledgements that it has not read yet.
                    while events.poll().await.is_ok() {}
                    return Ok(());
                }
                _ => {}
            }
        }
    }
}

fn explain(broker: &str, error: &ConnectionError, wait: Duration) {
    use ConnectReturnCode::{BadUserNamePassword, Banned, NotAuthorized};
    match error {
        ConnectionError::ConnectionRefused(
            code @ (BadUserNamePassword | NotAuthorized | Banned),
        ) => {
            error!(broker, reason = ?code, ?wait, "the broker refuses the account: compare account and password_file in [broker] with the broker's accounts");
        }
        ConnectionError::ConnectionRefused(code) => {
            error!(broker, reason = ?code, ?wait, "the broker refuses the connection");
        }
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        }) => {
            error!(
                broker,
                ?wait,
                "another program logged in with the collector's account: give each program an account of its own"
            );
        }
        error => warn!(broker, %error, ?wait, "no connection to the broker"),
    }
}
