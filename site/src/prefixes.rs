//! Whose a topic is: of the meter below whose prefix it lies. What the rest of a topic means is left
//! to others.

use std::collections::HashMap;
use std::sync::Arc;

/// The prefixes of meters, known by their places in a list.
#[derive(Debug, Default)]
pub struct Prefixes {
    all: Vec<Arc<str>>,
    places: HashMap<Arc<str>, usize>,
    /// In bytes. A hostile topic may hold tens of thousands of slashes; only those that can end a
    /// prefix are looked at.
    longest: usize,
}

impl Prefixes {
    /// Prefixes that differ and do not contain one another, as a site's are.
    #[must_use]
    pub fn new<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Prefixes {
        let all: Vec<Arc<str>> = prefixes.into_iter().map(Arc::from).collect();
        Prefixes {
            longest: all.iter().map(|prefix| prefix.len()).max().unwrap_or(0),
            places: all.iter().cloned().zip(0..).collect(),
            all,
        }
    }

    /// The place of the prefix below which a topic lies. The one at `near` is looked at first, since
    /// messages of one meter come together.
    #[must_use]
    pub fn find(&self, topic: &str, near: usize) -> Option<usize> {
        let is_below = |prefix: &Arc<str>| {
            let rest = topic.strip_prefix(prefix.as_ref());
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        if self.all.get(near).is_some_and(is_below) {
            return Some(near);
        }
        let ends = topic.match_indices('/').map(|(end, _)| end);
        ends.take_while(|end| *end <= self.longest)
            .find_map(|end| self.places.get(topic.get(..end)?))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::Prefixes;

    #[track_caller]
    fn check(topic: &str, expected: Option<usize>) {
        let deep = ["a/"; 20].concat() + "deep";
        let prefixes = Prefixes::new(["shellies/one", "haus 1/zähler,süd", deep.as_str()]);
        for near in 0..4 {
            assert_eq!(prefixes.find(topic, near), expected, "{topic}, near {near}");
        }
    }

    #[test]
    fn a_topic_belongs_to_the_prefix_above_it_only() {
        check("shellies/one/emeter/0/power", Some(0));
        check("haus 1/zähler,süd/online", Some(1));
        check(&(["a/"; 20].concat() + "deep/online"), Some(2));
        check("shellies/one", None);
        check("shellies/ones/online", None);
        check("shellies/announce", None);
        check("", None);
        check(&"/".repeat(65_535), None);
        assert_eq!(Prefixes::default().find("shellies/one/x", 0), None);
    }
}
