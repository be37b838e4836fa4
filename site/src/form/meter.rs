//! One `[[meter]]` of a form, and what no two of them may have in common.
//! What follows from the site around them is left to those who describe a site.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::value::meter::{id, model, prefix};
use super::value::{choice, label};
use super::{Fault, Key, Page, Place, Table, Written};
use crate::meter::{Meter, Model, Source};

/// The broker, the firewall's sets and the Pi's memory are measured for far fewer.
const MOST_METERS: usize = 10_000;

/// A meter as described. What is absent was left out, or was missing or bad and has been noted.
pub struct MeterDraft {
    pub(crate) id: Option<Written<String>>,
    pub(crate) model: Option<Written<Model>>,
    pub(crate) prefix: Option<Written<String>>,
    location: Option<Written<String>>,
    pub(crate) point: Option<Written<String>>,
    label: Option<Written<String>>,
    customer: Option<Written<String>>,
    pub(crate) source: Option<Written<Source>>,
}

impl MeterDraft {
    /// All tables `[[meter]]` of a form, at least one.
    pub fn all(page: &mut Page, top: &mut Table) -> Vec<Self> {
        let tables = page.sections(top, "meter", MOST_METERS);
        tables
            .into_iter()
            .map(|table| Self::read(page, table))
            .collect()
    }

    fn read(page: &mut Page, mut table: Table) -> Self {
        let sources = |text: &str| {
            choice(
                text,
                &[
                    (
                        "status",
                        Source::Status,
                        "whole readings; needs status_ntf on the meter",
                    ),
                    (
                        "events",
                        Source::Events,
                        "changes only, as meters do out of the box",
                    ),
                ],
            )
        };
        let prefixes = Key("prefix", "\"shellies/shellyem-D3B45C\"");
        let draft = Self {
            id: page.required(&mut table, Key("id", "\"shellyem-D3B45C\""), id),
            model: page.required(&mut table, Key("model", "\"shellyem\""), model),
            prefix: page.optional(&mut table, prefixes, prefix),
            location: page.required(&mut table, Key("location", "\"barn\""), label),
            point: page.required(&mut table, Key("point", "\"barn-supply\""), label),
            label: page.optional(&mut table, Key("label", "\"Barn, main supply\""), label),
            customer: page.optional(&mut table, Key("customer", "\"Miller\""), label),
            source: page.optional(&mut table, Key("source", "\"status\""), sources),
        };
        page.finish(table);
        draft
    }

    /// The meter, when nothing that it needs is absent.
    #[must_use]
    pub fn meter(self) -> Option<Meter> {
        let (id, model) = (self.id?.value, self.model?.value);
        Some(Meter {
            prefix: match self.prefix {
                Some(prefix) => prefix.value,
                None => model.default_prefix(&id),
            },
            id,
            model,
            location: self.location?.value,
            point: self.point?.value,
            label: self.label.map(|label| label.value),
            customer: self.customer.map(|customer| customer.value),
            source: self.source.map(|source| source.value).unwrap_or_default(),
        })
    }

    /// Its topic prefix, written or not, with the place that decides it, and its id.
    pub(crate) fn topics(&self) -> Option<(Cow<'_, str>, &Place, &str)> {
        let (id, model) = (self.id.as_ref()?, self.model.as_ref()?);
        Some(match &self.prefix {
            Some(prefix) => (Cow::from(&prefix.value), &prefix.place, &id.value),
            None => (
                model.value.default_prefix(&id.value).into(),
                &id.place,
                &id.value,
            ),
        })
    }
}

/// Notes meters of one id, and meters of one point. Two that differ in large and small letters
/// only would be told apart by the broker and by nobody else.
pub fn names_differ(page: &mut Page, meters: &[MeterDraft]) {
    let ids = meters.iter().filter_map(|meter| meter.id.as_ref());
    let ids = ids.map(|id| (id.value.to_ascii_lowercase(), &id.place));
    page.twice(ids, |first| {
        let shown = first.shown.as_deref().unwrap_or_default();
        let problem = format!("is the same meter as {shown} ({})", first.line_name());
        Fault::new(
            problem,
            "describe each meter once; large and small letters make no difference",
        )
    });
    let points = meters.iter().filter_map(|meter| meter.point.as_ref());
    let points = points.map(|point| (point.value.to_lowercase(), &point.place));
    page.twice(points, |first| {
        let problem = format!(
            "is the point of another meter already ({})",
            first.line_name()
        );
        Fault::new(
            problem,
            "give each metering point one meter and a name of its own",
        )
    });
}

/// Notes meters of one prefix, and meters whose prefix lies below another's: access rules and
/// subscriptions are made per prefix.
pub fn topics_differ<'m>(page: &mut Page, meters: impl IntoIterator<Item = &'m MeterDraft>) {
    let all: Vec<_> = meters.into_iter().filter_map(MeterDraft::topics).collect();
    let mut owners: BTreeMap<&str, (&Place, &str)> = BTreeMap::new();
    let remedy = "give each meter a prefix of its own";
    for (prefix, place, id) in &all {
        let Some((first, owner)) = owners.get(prefix.as_ref()) else {
            owners.insert(prefix, (place, id));
            continue;
        };
        // Of one id twice has been told.
        if !owner.eq_ignore_ascii_case(id) {
            let problem = format!("has the same topics as \"{owner}\" ({})", first.line_name());
            page.mistake(place, Fault::new(problem, remedy));
        }
    }
    for (prefix, place, _) in &all {
        let outer = prefix
            .match_indices('/')
            .find_map(|(end, _)| owners.get(prefix.get(..end)?));
        if let Some((first, owner)) = outer {
            let problem = format!(
                "has topics below those of \"{owner}\" ({})",
                first.line_name()
            );
            page.mistake(place, Fault::new(problem, remedy));
        }
    }
}
