//! Every attempt and what came of it, in words for the report. The scenarios judge by themselves.

use super::{Arm, Case, Expected, Matrix, Sender};
use crate::probe::Outcome;
use crate::report::Attempt;

impl Matrix {
    /// All attempts.
    #[must_use]
    pub fn in_words(&self) -> Vec<Attempt> {
        self.cases.iter().map(|case| self.attempt(case)).collect()
    }

    fn attempt(&self, case: &Case) -> Attempt {
        let outcome = |arm: &Arm| {
            let key = (case.sender, case.target.to_string());
            let outcome = arm.outcomes.get(&key);
            outcome.map_or("–".to_owned(), |outcome| outcome.outcome.clone())
        };
        let through = |arm: &Arm| {
            let key = (case.sender, case.target.to_string());
            arm.outcomes.get(&key).is_some_and(Outcome::got_through)
        };
        let arrived = |arm: &Arm| {
            let arrival = case.arrival.as_ref();
            arrival.is_some_and(|arrival| arm.arrivals.contains(arrival))
        };
        let open_end = &self.open_end;
        let key = (case.sender, case.target.to_string());
        let tried = open_end.outcomes.contains_key(&key);
        let through_then = tried && (through(open_end) || arrived(open_end));
        let refused = through(&self.off) && !(through(&self.on) || arrived(&self.on));
        let (expected, holds) = match case.expected {
            Expected::Allowed => ("allowed", through(&self.on)),
            Expected::Refused => ("refused", refused && !through_then),
            Expected::RefusedAtTheEnd => ("refused at the end", refused),
        };
        Attempt {
            sender: sender(case.sender).to_owned(),
            whom: case.whom.to_owned(),
            target: case.target.to_string(),
            expected,
            outcomes: [&self.off, &self.on, &self.open_end].map(outcome),
            holds,
        }
    }
}

fn sender(sender: Sender) -> &'static str {
    match sender {
        Sender::Bastion => "the bastion, as the broker's user",
        Sender::Apt => "the bastion, as apt's user",
        Sender::TimeService => "the bastion, as the time service's user",
        Sender::Root => "the bastion, as root",
        Sender::Neighbour => "a neighbour in the DMZ",
        Sender::Stranger => "a stranger on the Internet",
        Sender::HomeServer => "the home server",
        Sender::Admin => "the admin's machine",
        Sender::Reader => "the reader's machine",
    }
}
