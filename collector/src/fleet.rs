//! The meters of one site, found by topic. What their payloads mean is left to `points`.

use std::collections::HashMap;

use site::Meter;

/// The meters that a collector reads, with the name of their site.
#[derive(Debug)]
pub struct Fleet {
    site: String,
    meters: Vec<Meter>,
    by_prefix: HashMap<String, usize>,
    /// In bytes. A hostile topic may hold tens of thousands of slashes; only those that can end a
    /// prefix are looked at.
    longest_prefix: usize,
}

impl Fleet {
    /// A fleet of meters whose prefixes differ and do not contain one another.
    #[must_use]
    pub fn new(site: String, meters: Vec<Meter>) -> Self {
        let by_prefix: HashMap<String, usize> = meters
            .iter()
            .enumerate()
            .map(|(index, meter)| (meter.prefix.clone(), index))
            .collect();
        let longest_prefix = by_prefix.keys().map(String::len).max().unwrap_or(0);
        Self {
            site,
            meters,
            by_prefix,
            longest_prefix,
        }
    }

    /// The site's name: the tag `site`.
    #[must_use]
    pub fn site(&self) -> &str {
        &self.site
    }

    /// All meters, in the order of the settings.
    #[must_use]
    pub fn meters(&self) -> &[Meter] {
        &self.meters
    }

    /// [`Fleet::find`] for one of many: messages of one meter come together, so that the meter of the
    /// one before, at the place `near`, is looked at first.
    #[must_use]
    pub fn find_near(&self, topic: &str, near: usize) -> Option<(usize, &Meter)> {
        self.meters
            .get(near)
            .filter(|meter| {
                let rest = topic.strip_prefix(meter.prefix.as_str());
                rest.is_some_and(|rest| rest.starts_with('/'))
            })
            .map(|meter| (near, meter))
            .or_else(|| self.find(topic))
    }

    /// The meter below whose prefix a topic lies, and its place in [`Fleet::meters`].
    #[must_use]
    pub fn find(&self, topic: &str) -> Option<(usize, &Meter)> {
        let index = topic
            .match_indices('/')
            .map(|(end, _)| end)
            .take_while(|end| *end <= self.longest_prefix)
            .find_map(|end| self.by_prefix.get(topic.get(..end)?))?;
        Some((*index, self.meters.get(*index)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::tests::meter;

    #[track_caller]
    fn check(topic: &str, expected: Option<&str>) {
        let renamed = Meter {
            prefix: "haus 1/zähler,süd".to_owned(),
            ..meter("shellyem3", "shellyem3-AABBCC")
        };
        let fleet = Fleet::new(
            "home".to_owned(),
            vec![meter("shellyem", "shellyem-D3B45C"), renamed],
        );
        let found = fleet.find(topic).map(|(_, meter)| meter.id.as_str());
        assert_eq!(found, expected, "{topic}");
        for near in 0..3 {
            let found = fleet.find_near(topic, near);
            let found = found.map(|(_, meter)| meter.id.as_str());
            assert_eq!(found, expected, "{topic}, near {near}");
        }
    }

    #[test]
    fn a_meter_is_found_below_its_own_prefix_only() {
        check(
            "shellies/shellyem-D3B45C/emeter/0/power",
            Some("shellyem-D3B45C"),
        );
        check("haus 1/zähler,süd/online", Some("shellyem3-AABBCC"));
        check("shellies/shellyem-D3B45C", None);
        check("shellies/shellyem-D3B45CX/online", None);
        check("shellies/announce", None);
        check("", None);
        check(&"/".repeat(65_535), None);
    }
}
