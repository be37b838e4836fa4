//! A sample of what would take too long as a whole, chosen by a number that is printed: the same
//! number chooses the same.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::sample;

    fn all() -> Vec<u32> {
        (0..72).collect()
    }

    #[test]
    fn a_seed_chooses_the_same_each_time_and_another_another() {
        assert_eq!(sample(&all(), 1, 3), sample(&all(), 1, 3));
        assert_ne!(sample(&all(), 1, 3), sample(&all(), 2, 3));
    }

    #[test]
    fn nobody_is_chosen_twice_and_everybody_some_time() {
        let chosen = sample(&all(), 7, 100);
        assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 72);
        let seen: BTreeSet<u32> = (0..1000).flat_map(|seed| sample(&all(), seed, 3)).collect();
        assert_eq!(seen.len(), 72);
    }
}
