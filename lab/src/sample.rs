//! A sample of what would take too long as a whole, chosen by a number that is printed: the same
//! number chooses the same.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::runner::Scenario;

/// So many of `all`, in an order that follows from `seed`; all when there are not more.
#[must_use]
pub fn sample<T: Copy>(all: &[T], seed: u64, count: usize) -> Vec<T> {
    let place = |number: usize| {
        // Begins with the same keys each time.
        let mut hasher = DefaultHasher::new();
        (seed, number).hash(&mut hasher);
        hasher.finish()
    };
    let mut all: Vec<(u64, T)> = (0..).map(place).zip(all.iter().copied()).collect();
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().take(count).map(|(_, one)| one).collect()
}

/// Takes so many of those that only a full run has into this one, of the ones whose names fit.
#[must_use]
pub fn take_in<S>(
    mut scenarios: Vec<Scenario<S>>,
    seed: u64,
    count: usize,
    fits: impl Fn(&str) -> bool,
) -> Vec<Scenario<S>> {
    let long = scenarios.iter().filter(|scenario| scenario.only_in_full);
    let names: Vec<&str> = long
        .map(|scenario| scenario.name)
        .filter(|name| fits(name))
        .collect();
    let chosen = sample(&names, seed, count);
    for scenario in &mut scenarios {
        scenario.only_in_full &= !chosen.contains(&scenario.name);
    }
    scenarios
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Scenario, sample, take_in};

    fn all() -> Vec<u32> {
        (0..72).collect()
    }

    #[test]
    fn a_seed_chooses_the_same_each_time_and_another_another() {
        assert_eq!(sample(&all(), 1, 3), sample(&all(), 1, 3));
        assert_ne!(sample(&all(), 1, 3), sample(&all(), 2, 3));
    }

    #[test]
    fn long_ones_are_taken_into_a_run_and_no_others() {
        let scenario = |name, only_in_full| Scenario::<()> {
            name,
            needs: None,
            only_in_full,
            body: |()| Box::pin(async { Ok(String::new()) }),
        };
        let runs = |seed| -> Vec<&str> {
            let all = vec![
                scenario("short", false),
                scenario("long one", true),
                scenario("long two", true),
                scenario("long three", true),
                scenario("another", true),
            ];
            let taken = take_in(all, seed, 2, |name| name.starts_with("long"));
            let run = taken.into_iter().filter(|each| !each.only_in_full);
            run.map(|each| each.name).collect()
        };
        let mut seen = BTreeSet::new();
        for seed in 0..20 {
            let runs = runs(seed);
            assert_eq!(runs.len(), 3, "{runs:?}");
            seen.extend(runs);
        }
        assert_eq!(
            seen,
            BTreeSet::from(["short", "long one", "long two", "long three"])
        );
    }

    #[test]
    fn nobody_is_chosen_twice_and_everybody_some_time() {
        let chosen = sample(&all(), 7, 100);
        assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 72);
        let seen: BTreeSet<u32> = (0..1000).flat_map(|seed| sample(&all(), seed, 3)).collect();
        assert_eq!(seen.len(), 72);
    }
}
