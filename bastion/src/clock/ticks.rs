//! Dates messages that waited in the broker while nobody was there to see them arrive.
//!
//! A ticker, a process of its own, publishes the time since boot every second into the same session.
//! So what waited lies between two ticks, and gets the time in the middle, with the distance to both
//! as its spread. Each tick names the one before it, since nobody may remember that one: a daemon that
//! has nothing to write does not write what it heard last. What lies before the ticker's first tick
//! arrived after the latest time that the journal knew. When ticks come at once again, messages are
//! dated as they arrive.
//!
//! Messages are held back until the tick behind them is here; the caller says when that must end.

const SECOND_NS: u64 = 1_000_000_000;
/// A tick that is younger is heard at once: nothing is waiting any more.
const FRESH_NS: u64 = SECOND_NS / 2;
/// A tick that is older has waited, and so have the messages around it.
const STALE_NS: u64 = SECOND_NS;
/// When no tick comes for so long, there is no ticker, and nothing to wait for.
const SILENT_NS: u64 = 3 * SECOND_NS / 2;

/// A time and how far it may be from the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dated {
    /// ns since boot.
    pub time_ns: u64,
    /// ms before or after it.
    pub spread_ms: u32,
}

/// What a ticker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// ns since boot.
    pub at_ns: u64,
    /// The same of the tick before, which the broker got, too; 0 when there is none.
    pub before_ns: u64,
}

/// How messages are dated right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// As they arrive.
    Live,
    /// By ticks; since when nothing was heard of a ticker.
    Waiting { since_ns: u64 },
}

/// Follows ticks and messages in the order in which the broker hands them over.
#[derive(Debug)]
pub struct Ticks {
    mode: Mode,
    /// All that comes now arrived after this.
    floor_ns: u64,
}

impl Ticks {
    /// `heard_ns`: the latest time that is known of this boot, 0 for none.
    #[must_use]
    pub fn new(heard_ns: u64) -> Ticks {
        Ticks {
            mode: Mode::Live,
            floor_ns: heard_ns,
        }
    }

    /// A connection stands; when the session was resumed, there may be messages that waited.
    pub fn connected(&mut self, resumed: bool, now_ns: u64) {
        self.mode = if resumed {
            Mode::Waiting { since_ns: now_ns }
        } else {
            Mode::Live
        };
    }

    /// The time of a message that is here now; none when it has to be held back until
    /// [`Ticks::tick`], [`Ticks::force`] or [`Ticks::silence`] dates what is held.
    pub fn arrival(&mut self, now_ns: u64) -> Option<Dated> {
        match self.mode {
            Mode::Waiting { .. } => None,
            Mode::Live => {
                self.floor(now_ns);
                Some(Dated {
                    time_ns: now_ns,
                    spread_ms: 0,
                })
            }
        }
    }

    /// A tick came; the time of all messages that are held back.
    pub fn tick(&mut self, tick: Tick, now_ns: u64) -> Dated {
        // A tick of the future is none, and dates nothing later than now.
        let tick_ns = tick.at_ns.min(now_ns);
        self.floor(tick.before_ns.min(tick_ns));
        let held = self.between(tick_ns.max(self.floor_ns));
        self.floor(tick_ns);
        let age = now_ns - tick_ns;
        self.mode = match self.mode {
            Mode::Waiting { .. } if age < FRESH_NS => Mode::Live,
            Mode::Live if age <= STALE_NS => Mode::Live,
            _ => Mode::Waiting { since_ns: now_ns },
        };
        held
    }

    /// The time of all messages that are held back, when no more can be held: more waited than the
    /// window takes. Ticks come every second, so that they arrived within one after the last.
    #[must_use]
    pub fn force(&self, now_ns: u64) -> Dated {
        self.between(now_ns.min(self.floor_ns.saturating_add(SECOND_NS)))
    }

    /// When there is no ticker: the time of all messages that are held back.
    pub fn silence(&mut self, now_ns: u64) -> Option<Dated> {
        match self.mode {
            Mode::Waiting { since_ns } if now_ns.saturating_sub(since_ns) > SILENT_NS => {
                self.mode = Mode::Live;
                Some(self.between(now_ns))
            }
            _ => None,
        }
    }

    /// The latest time that is known: what comes now arrived later.
    #[must_use]
    pub fn heard_ns(&self) -> u64 {
        self.floor_ns
    }

    fn floor(&mut self, time_ns: u64) {
        self.floor_ns = self.floor_ns.max(time_ns);
    }

    fn between(&self, upto_ns: u64) -> Dated {
        // Of a boot of which nothing is known yet: ticks come every second.
        let from_ns = match self.floor_ns {
            0 => upto_ns.saturating_sub(SECOND_NS),
            floor => floor,
        };
        let half = upto_ns.saturating_sub(from_ns) / 2;
        Dated {
            time_ns: from_ns + half,
            spread_ms: u32::try_from(half.div_ceil(1_000_000)).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const S: u64 = SECOND_NS;

    fn dated(time_ns: u64, spread_ms: u32) -> Dated {
        Dated { time_ns, spread_ms }
    }

    /// The first of its connection.
    fn tick(at_ns: u64) -> Tick {
        Tick {
            at_ns,
            before_ns: 0,
        }
    }

    #[test]
    fn what_is_seen_to_arrive_has_the_time_of_its_arrival() {
        let mut ticks = Ticks::new(0);
        ticks.connected(false, 9 * S);
        assert_eq!(ticks.arrival(10 * S), Some(dated(10 * S, 0)));
    }

    #[test]
    fn what_waited_lies_between_two_ticks() {
        let mut ticks = Ticks::new(100 * S);
        ticks.connected(true, 110 * S);
        // Away from 100 s to 110 s; ticks at 100.6, 101.6, …
        assert_eq!(ticks.arrival(110 * S), None);
        assert_eq!(
            ticks.tick(tick(100 * S + 600 * MS), 110 * S),
            dated(100 * S + 300 * MS, 300)
        );
        assert_eq!(ticks.arrival(110 * S), None);
        assert_eq!(
            ticks.tick(tick(101 * S + 600 * MS), 110 * S),
            dated(101 * S + 100 * MS, 500)
        );
        // The last one of those that waited, and one that comes at once.
        ticks.tick(tick(109 * S + 600 * MS), 110 * S + MS);
        assert_eq!(
            ticks.arrival(110 * S + 2 * MS),
            Some(dated(110 * S + 2 * MS, 0))
        );
    }

    #[test]
    fn more_than_a_window_is_dated_within_a_second_of_the_last_tick() {
        let mut ticks = Ticks::new(0);
        ticks.connected(true, 50 * S);
        ticks.tick(tick(20 * S), 50 * S);
        assert_eq!(ticks.arrival(50 * S), None);
        assert_eq!(ticks.force(50 * S), dated(20 * S + 500 * MS, 500));
        assert_eq!(ticks.force(20 * S + 100 * MS), dated(20 * S + 50 * MS, 50));
        assert_eq!(
            ticks.tick(tick(21 * S), 50 * S),
            dated(20 * S + 500 * MS, 500)
        );
    }

    #[test]
    fn ticks_that_come_late_show_that_messages_waited() {
        let mut ticks = Ticks::new(0);
        ticks.connected(false, 5 * S);
        ticks.tick(tick(5 * S), 5 * S);
        assert!(ticks.arrival(6 * S).is_some());
        ticks.tick(tick(6 * S), 9 * S);
        assert_eq!(ticks.arrival(9 * S), None);
        ticks.tick(tick(8 * S + 900 * MS), 9 * S);
        assert!(ticks.arrival(9 * S).is_some());
    }

    #[test]
    fn where_nobody_spoke_for_a_while_a_tick_tells_when_the_one_before_was() {
        // The journal knows of nothing behind 70 s, since nothing was written after it.
        let mut ticks = Ticks::new(70 * S);
        ticks.connected(true, 100 * S);
        assert_eq!(ticks.arrival(100 * S), None);
        let first = Tick {
            at_ns: 99 * S + 600 * MS,
            before_ns: 98 * S + 600 * MS,
        };
        assert_eq!(ticks.tick(first, 100 * S), dated(99 * S + 100 * MS, 500));
        // One before it that is older than what is known says nothing new, and one of the future
        // dates nothing later than now.
        for (known, before_ns, expected) in [
            (95 * S, 70 * S, dated(95 * S + 500 * MS, 500)),
            (95 * S, u64::MAX, dated(96 * S, 0)),
        ] {
            let mut ticks = Ticks::new(known);
            ticks.connected(true, 100 * S);
            let at_ns = 96 * S;
            assert_eq!(ticks.tick(Tick { at_ns, before_ns }, 100 * S), expected);
        }
    }

    #[test]
    fn without_a_ticker_nothing_is_held_for_ever() {
        let mut ticks = Ticks::new(90 * S);
        ticks.connected(true, 100 * S);
        assert_eq!(ticks.arrival(100 * S), None);
        assert_eq!(ticks.silence(101 * S), None);
        assert_eq!(ticks.silence(102 * S), Some(dated(96 * S, 6000)));
        assert!(ticks.arrival(102 * S).is_some());
        assert_eq!(ticks.silence(200 * S), None);
    }

    #[test]
    fn a_tick_of_the_future_dates_nothing_later_than_now() {
        let mut ticks = Ticks::new(9 * S);
        ticks.connected(true, 10 * S);
        let held = ticks.tick(tick(u64::MAX), 10 * S);
        assert_eq!(held, dated(9 * S + 500 * MS, 500));
        assert_eq!(ticks.heard_ns(), 10 * S);
    }
}
