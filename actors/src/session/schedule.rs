//! When a meter speaks unasked: on a grid of full sets, and in between when a load changes.
//! All times count from the start of the program.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::fleet::Fleet;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Set,
    Change,
}

/// Bursts of one meter were seen no closer than this.
const SHORTEST_GAP: Duration = Duration::from_secs(1);
/// Half of the keep-alive that meters ask for.
const PING_AT_MOST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Schedule {
    period: Duration,
    phase: Duration,
    next_set: Duration,
    last_burst: Duration,
    changes_per_s: f64,
    next_change: Option<Duration>,
    random: Xoshiro256PlusPlus,
}

impl Schedule {
    /// The same seed, id and phase give the same instants.
    pub(super) fn new(fleet: &Fleet, id: &str, phase: f64) -> Self {
        let period = Duration::from_millis(fleet.period_ms);
        let phase = period.mul_f64(phase.clamp(0.0, 1.0));
        let seed = id.bytes().fold(fleet.seed, |seed, byte| {
            seed.rotate_left(5) ^ u64::from(byte)
        });
        let mut schedule = Self {
            period,
            phase,
            next_set: phase + period,
            last_burst: phase,
            changes_per_s: fleet.changes_per_s,
            next_change: None,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
        };
        schedule.draw_change(phase);
        schedule
    }

    /// When to connect for the first time.
    pub(super) fn first(&self) -> Duration {
        self.phase
    }

    /// Pings keep a quiet connection alive. They also tell what has surely arrived, so they come
    /// at least once a period: the shorter the doubt after a lost connection.
    pub(super) fn ping_every(&self) -> Duration {
        self.period.min(PING_AT_MOST)
    }

    /// Goes on from here; what fell due without a connection is not made up for.
    pub(super) fn connected(&mut self, now: Duration, said_set: bool) {
        while self.next_set <= now {
            self.next_set += self.period;
        }
        if self.next_change.is_some_and(|change| change <= now) {
            self.draw_change(now);
        }
        if said_set {
            self.last_burst = now;
        }
    }

    /// What comes next, and when.
    pub(super) fn next(&self) -> (Duration, Due) {
        match self
            .next_change
            .map(|change| change.max(self.last_burst + SHORTEST_GAP))
        {
            Some(change) if change < self.next_set => (change, Due::Change),
            _ => (self.next_set, Due::Set),
        }
    }

    /// It was done; `now` may be later than it was due.
    pub(super) fn done(&mut self, due: Due, now: Duration) {
        let (at, _) = self.next();
        self.last_burst = at;
        match due {
            Due::Set => {
                self.next_set += self.period;
                self.connected(now, false);
            }
            Due::Change => self.draw_change(at),
        }
    }

    fn draw_change(&mut self, after: Duration) {
        self.next_change = (self.changes_per_s > 0.0).then(|| {
            let wait = -(1.0 - self.random.random_range(0.0..1.0_f64)).ln() / self.changes_per_s;
            after + SHORTEST_GAP.max(Duration::from_secs_f64(wait.clamp(0.0, 86_400.0)))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(changes_per_s: f64) -> Vec<(Duration, Due)> {
        let text = format!(
            r#"{{"server":"","seed":1,"period_ms":3000,"duration_ms":null,"changes_per_s":{changes_per_s},"meters":[]}}"#
        );
        let mut schedule = Schedule::new(&serde_json::from_str(&text).unwrap(), "m", 0.5);
        (0..200)
            .map(|_| {
                let (at, due) = schedule.next();
                schedule.done(due, at);
                (at, due)
            })
            .collect()
    }

    #[test]
    fn without_changes_there_is_only_the_grid() {
        let expected: Vec<_> = (1..=200)
            .map(|set| (Duration::from_millis(1500 + 3000 * set), Due::Set))
            .collect();
        assert_eq!(plan(0.0), expected);
    }

    #[test]
    fn changes_come_between_at_their_rate_and_leave_the_grid_alone() {
        let plan = plan(0.5);
        let sets = plan.iter().filter(|(_, due)| *due == Due::Set);
        assert!(
            sets.enumerate()
                .all(|(set, (at, _))| at.as_millis() == 4500 + 3000 * set as u128)
        );
        let changes = plan.iter().filter(|(_, due)| *due == Due::Change).count();
        let rate = changes as f64 / plan.last().unwrap().0.as_secs_f64();
        assert!((0.25..0.55).contains(&rate), "{rate} changes per second");
        for pair in plan.windows(2) {
            assert!(
                pair[1].1 == Due::Set || pair[1].0 - pair[0].0 >= SHORTEST_GAP,
                "{pair:?}"
            );
        }
    }

    #[test]
    fn an_outage_is_not_made_up_for() {
        let text = r#"{"server":"","seed":1,"period_ms":3000,"duration_ms":null,"changes_per_s":0,"meters":[]}"#;
        let mut schedule = Schedule::new(&serde_json::from_str(text).unwrap(), "m", 0.0);
        schedule.connected(Duration::from_secs(100), true);
        assert_eq!(schedule.next(), (Duration::from_secs(102), Due::Set));
    }
}
