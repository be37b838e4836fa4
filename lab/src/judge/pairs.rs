//! Which of two lists of times belong together: as many pairs as there can be, and of all ways to do
//! that the one that moves least. So a reading that is missing does not take the one that was stored
//! for another of the same value.

/// A place in a list, and a time in ns.
pub(super) type At = (usize, u64);

/// Leaving one out costs more than moving all that are paired.
const LEFT_OUT: u128 = 1 << 64;

/// Pairs of both lists, each in the order of time, that are no more than the tolerance apart.
pub(super) fn of(sent: &[At], stored: &[At], tolerance_ns: u64) -> Vec<(At, At)> {
    // costs[i][j]: of the cheapest way for what is behind the first i and j.
    let width = stored.len() + 1;
    let mut costs = vec![0_u128; (sent.len() + 1) * width];
    let get =
        |costs: &[u128], i: usize, j: usize| costs.get(i * width + j).copied().unwrap_or_default();
    let paired = |costs: &[u128], i: usize, j: usize| -> Option<u128> {
        let shift = sent.get(i)?.1.abs_diff(stored.get(j)?.1);
        (shift <= tolerance_ns).then(|| get(costs, i + 1, j + 1) + u128::from(shift))
    };
    for i in (0..=sent.len()).rev() {
        for j in (0..=stored.len()).rev() {
            let without_one = (i < sent.len()).then(|| get(&costs, i + 1, j) + LEFT_OUT);
            let without_other = (j < stored.len()).then(|| get(&costs, i, j + 1) + LEFT_OUT);
            let ways = [paired(&costs, i, j), without_one, without_other];
            if let Some(cost) = costs.get_mut(i * width + j) {
                *cost = ways.into_iter().flatten().min().unwrap_or_default();
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut pairs = Vec::new();
    while let (Some(one), Some(other)) = (sent.get(i), stored.get(j)) {
        let cost = get(&costs, i, j);
        if paired(&costs, i, j) == Some(cost) {
            pairs.push((*one, *other));
            (i, j) = (i + 1, j + 1);
        } else if get(&costs, i + 1, j) + LEFT_OUT == cost {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sent: &[u64], stored: &[u64], expected: &[(usize, usize)]) {
        let at = |list: &[u64]| -> Vec<At> {
            let each = list.iter().enumerate();
            each.map(|(place, ms)| (place, ms * 1_000_000)).collect()
        };
        let found: Vec<(usize, usize)> = of(&at(sent), &at(stored), super::super::TOLERANCE_NS)
            .iter()
            .map(|(one, other)| (one.0, other.0))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn as_many_as_there_can_be_and_of_these_the_nearest() {
        check(&[], &[1], &[]);
        check(&[1], &[], &[]);
        check(&[0, 500], &[500], &[(1, 0)]);
        check(&[0, 500], &[0], &[(0, 0)]);
        // The nearest pair alone would leave the others too far apart.
        check(&[0, 900], &[800, 1700], &[(0, 0), (1, 1)]);
        check(&[0], &[1001], &[]);
        check(&[5000, 9000], &[0, 5001, 5002, 9100], &[(0, 1), (1, 3)]);
    }
}
