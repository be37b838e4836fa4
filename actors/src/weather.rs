//! A bad line: every packet that the kernel hands over is held for a while, and some are dropped.
//! Which packets that are, the rules on the machine say (`-j NFQUEUE`); what is done to them is that
//! of a real line, below TCP, so that it is TCP itself which sends again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nfq::{Message, Queue, Verdict};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// How often the heap is looked at: the error of a delay.
const TICK: Duration = Duration::from_millis(1);
/// Packets that may be under way; more are dropped by the kernel.
const UNDER_WAY: u32 = 20_000;

/// What the line is like.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Number of the kernel's queue.
    pub queue: u16,
    /// How long a packet takes.
    pub delay: Duration,
    /// How many of a hundred packets get lost, 0 to 100.
    pub loss_percent: u8,
    /// Which ones get lost.
    pub seed: u64,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Packets that were let go after their time.
    pub held: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

/// A packet until its time has come; the number keeps the order of those of one moment.
struct Held {
    due: Instant,
    number: u64,
    message: Message,
}

impl Held {
    fn key(&self) -> Reverse<(Instant, u64)> {
        Reverse((self.due, self.number))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Held) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Holds and drops until it is told to stop; what is held then goes at once. Says that it is ready
/// by calling `ready`.
///
/// # Errors
/// When the kernel has no such queue, or this program may not read it.
pub fn blow(weather: Weather, stop: &AtomicBool, ready: impl FnOnce()) -> Result<Done> {
    let mut queue = Queue::open().context("opening the kernel's queues")?;
    let number = weather.queue;
    queue
        .bind(number)
        .with_context(|| format!("taking queue {number}"))?;
    queue
        .set_queue_max_len(number, UNDER_WAY)
        .context("making the queue long")?;
    queue.set_nonblocking(true);
    ready();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(weather.seed);
    let mut held: BinaryHeap<Held> = BinaryHeap::new();
    let mut done = Done::default();
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        while let Some(mut message) = next(&mut queue)? {
            if random.random_range(0..100) < weather.loss_percent {
                message.set_verdict(Verdict::Drop);
                queue.verdict(message).context("dropping a packet")?;
                done.dropped += 1;
                continue;
            }
            message.set_verdict(Verdict::Accept);
            done.held += 1;
            held.push(Held {
                due: Instant::now() + weather.delay,
                number: done.held,
                message,
            });
        }
        let now = Instant::now();
        while held
            .peek()
            .is_some_and(|packet| packet.due <= now || stopping)
        {
            if let Some(packet) = held.pop() {
                queue
                    .verdict(packet.message)
                    .context("letting a packet go")?;
            }
        }
        if stopping {
            return Ok(done);
        }
        std::thread::sleep(TICK);
    }
}

/// The next packet, if there is one.
fn next(queue: &mut Queue) -> Result<Option<Message>> {
    match queue.recv() {
        Ok(message) => Ok(Some(message)),
        // The kernel's own word that some did not fit: they are lost, as on a line that is full.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
            Ok(None)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("reading the kernel's queue"),
    }
}
