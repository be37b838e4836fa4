//! Which known word a person may have meant.

/// The known word that is close enough to the written one to be offered, if there is any.
pub(super) fn nearest<'k>(
    written: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    known
        .into_iter()
        .filter_map(|word| {
            // About a third of the letters may differ: `nmae` is `name`, `url` is not `ssh`.
            let limit = word.len() / 3 + 1;
            distance(written, word, limit).map(|distance| (distance, word))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters must be changed, added or left out to make one word of the other, regardless
/// of case (Levenshtein's distance). `None` above the limit.
fn distance(one: &str, other: &str, limit: usize) -> Option<usize> {
    if one.len().abs_diff(other.len()) > limit.saturating_mul(4) {
        // No letter has more than four bytes, and a word may be as long as the file.
        return None;
    }
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.to_lowercase().chars().enumerate() {
        let mut left = index + 1;
        let mut next = vec![left];
        for (pair, against) in row.windows(2).zip(&other) {
            let &[diagonal, above] = pair else { continue };
            left = (diagonal + usize::from(letter != *against)).min(above.min(left) + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[track_caller]
    fn check(written: &str, expected: Option<&str>) {
        let known = ["name", "networks", "readers", "gateways"];
        assert_eq!(nearest(written, known), expected, "{written}");
    }

    #[test]
    fn offers_what_was_meant() {
        check("nmae", Some("name"));
        check("nam", Some("name"));
        check("Name", Some("name"));
        check("network", Some("networks"));
        check("reeders", Some("readers"));
        check("gateway", Some("gateways"));
    }

    #[test]
    fn offers_nothing_when_nothing_is_near() {
        check("", None);
        check("colour", None);
        check(&"readers".repeat(100_000), None);
    }
}
