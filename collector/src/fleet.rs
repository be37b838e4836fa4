//! The meters of one site, found by topic. What their payloads mean is left to `points`.

use site::Meter;
use site::prefixes::Prefixes;

/// The meters that a collector reads, with the name of their site.
#[derive(Debug)]
pub struct Fleet {
    site: String,
    meters: Vec<Meter>,
    prefixes: Prefixes,
}

impl Fleet {
    /// A fleet of meters whose prefixes differ and do not contain one another.
    #[must_use]
    pub fn new(site: String, meters: Vec<Meter>) -> Self {
        Self {
            prefixes: Prefixes::new(meters.iter().map(|meter| meter.prefix.as_str())),
            site,
            meters,
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

    /// The meter below whose prefix a topic lies, and its place in [`Fleet::meters`].
    #[must_use]
    pub fn find(&self, topic: &str) -> Option<(usize, &Meter)> {
        self.find_near(topic, 0)
    }

    /// [`Fleet::find`] for one of many: the meter at the place `near` is looked at first.
    #[must_use]
    pub fn find_near(&self, topic: &str, near: usize) -> Option<(usize, &Meter)> {
        let place = self.prefixes.find(topic, near)?;
        Some((place, self.meters.get(place)?))
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
