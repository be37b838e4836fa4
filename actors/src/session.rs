//! One meter's life on the network: connect, speak until the connection is lost, back off, again.
//! What it says is left to `device`, and how that looks to `wire`.

mod conversation;
mod link;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::device::Device;
use crate::fleet::{Fleet, Meter};
use crate::ledger::LedgerError;
use crate::run::Shared;
use conversation::Conversation;
use link::Lost;
use schedule::{Due, Schedule};

/// The vendor's range of 2 s to 60 s, as a factor on the first wait.
const LONGEST_BACKOFF: u32 = 30;

/// Lives one meter's life until `stop` turns true. `phase`, 0 to 1, is its place in the period.
///
/// # Errors
/// When the ledger cannot be written. Everything that the network does is survived.
pub async fn live(
    fleet: Arc<Fleet>,
    meter: Meter,
    phase: f64,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), LedgerError> {
    let mut device = Device::new(&meter, &fleet);
    let mut schedule = Schedule::new(&fleet, &meter.id, phase);
    let backoff = Duration::from_millis(fleet.backoff_ms);
    let mut wait = backoff;
    let mut ever_connected = false;
    if !pause(schedule.first(), &mut stop).await {
        return Ok(());
    }
    loop {
        let connected = tokio::select! {
            opened = Conversation::open(&fleet.server, &meter, &mut device, &shared) => opened,
            () = told(&mut stop) => return Ok(()),
        };
        let reason = match connected {
            Ok(mut conversation) => {
                shared.connected(std::mem::replace(&mut ever_connected, true));
                wait = backoff;
                let ended = speak(&mut conversation, &mut schedule, &shared, &mut stop).await;
                shared.disconnected();
                match ended {
                    Ok(()) => return conversation.close().await,
                    Err(Lost::Ledger(error)) => return Err(error),
                    Err(lost) => {
                        conversation.lost(&lost)?;
                        lost
                    }
                }
            }
            Err(refused) => refused,
        };
        eprintln!(
            "{}: {}; trying again in {} ms",
            meter.id,
            chain(&reason),
            wait.as_millis()
        );
        // Real meters notice the end of a broker at different instants; the phase stands for that.
        if !pause(wait.mul_f64(1.0 + phase), &mut stop).await {
            return Ok(());
        }
        wait = (wait * 2).min(backoff * LONGEST_BACKOFF);
    }
}

/// Speaks and listens until the program stops (then it is `Ok`) or the connection is lost.
async fn speak(
    conversation: &mut Conversation<'_>,
    schedule: &mut Schedule,
    shared: &Shared,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), Lost> {
    let said_set = conversation.greet(shared.elapsed()).await?;
    schedule.connected(shared.elapsed(), said_set);
    let ping_every = schedule.ping_every();
    let mut next_ping = tokio::time::Instant::now() + ping_every;
    loop {
        let (at, due) = schedule.next();
        tokio::select! {
            () = told(stop) => return Ok(()),
            packet = conversation.receive() => conversation.handle(packet?, shared.elapsed()).await?,
            () = tokio::time::sleep_until((shared.started() + at).into()) => {
                match due {
                    Due::Set => conversation.set(at).await?,
                    Due::Change => conversation.change(at).await?,
                }
                schedule.done(due, shared.elapsed());
            }
            () = tokio::time::sleep_until(next_ping) => {
                conversation.ping().await?;
                next_ping = tokio::time::Instant::now() + ping_every;
            }
        }
    }
}

/// Waits until the program stops.
async fn told(stop: &mut watch::Receiver<bool>) {
    // An error means that the program is gone, which is a stop as well.
    stop.wait_for(|stop| *stop).await.ok();
}

/// Waits; false when the program stops meanwhile.
async fn pause(time: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = told(stop) => false,
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests;
