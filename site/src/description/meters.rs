//! How meters and readers must fit together: no two accounts, points or topics may meet,
//! and a meter's id must fit its model. What an id looks like is left to `value::meter`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::ReaderKind;
use super::draft::{MeterDraft, ReaderDraft, SiteDraft};
use super::page::{Fault, Page, Place};
use super::value::meter::VendorId;
use crate::account::HEALTH_ACCOUNT;
use crate::meter::Generation;

/// Accounts of the bastion's own programs.
const OWN_ACCOUNTS: &[&str] = &["bastion", HEALTH_ACCOUNT, "ticker"];
/// Words that mean something else at the place of an id in a topic.
const TOPIC_WORDS: &[&str] = &["announce", "command", "shellies"];
/// Topics that no meter may have below its prefix, nor its prefix below them.
/// `$SYS` is kept out by the form of a prefix.
const RESERVED_TREES: &[&str] = &["bastion", "shellies/announce", "shellies/command"];

pub(super) fn check(page: &mut Page, site: &SiteDraft) {
    readers(page, &site.readers);
    ids(page, site);
    points(page, &site.meters);
    for meter in &site.meters {
        vendor_form(page, meter);
        dialect(page, meter);
    }
    devices(page, &site.meters);
    prefixes(page, &site.meters);
}

fn readers(page: &mut Page, readers: &[ReaderDraft]) {
    let names = || readers.iter().filter_map(|reader| reader.name.as_ref());
    for name in names() {
        if let Some(own) = same(OWN_ACCOUNTS, &name.value) {
            let problem = format!("is an account of the bastion's own programs ({own})");
            page.mistake(&name.place, Fault::new(problem, "choose another name"));
        }
    }
    let names = names().map(|name| (name.value.to_ascii_lowercase(), &name.place));
    page.twice(names, |first| {
        let problem = format!(
            "is the name of another reader already ({})",
            first.line_name()
        );
        Fault::new(
            problem,
            "give each reader a name of its own, or they throw each other out",
        )
    });
    // A reader of unknown kind may be the collector that is looked for.
    let collects = |reader: &ReaderDraft| {
        reader
            .kind
            .as_ref()
            .is_none_or(|kind| kind.value == ReaderKind::Collector)
    };
    if !readers.is_empty() && !readers.iter().any(collects) {
        let place = Place {
            key: "reader".to_owned(),
            line: None,
            shown: None,
        };
        let remedy = "add a [[reader]] with name = \"collector\" and kind = \"collector\"";
        page.mistake(
            &place,
            Fault::new(
                "none is a collector, so nobody would store readings",
                remedy,
            ),
        );
    }
}

/// An id is the name of an account, so it meets all other names there. Two that differ in large
/// and small letters only would be told apart by the broker and by nobody else.
fn ids(page: &mut Page, site: &SiteDraft) {
    let names: Vec<_> = site
        .readers
        .iter()
        .filter_map(|reader| reader.name.as_ref())
        .collect();
    let ids = || site.meters.iter().filter_map(|meter| meter.id.as_ref());
    for id in ids() {
        let reader = names
            .iter()
            .find(|name| name.value.eq_ignore_ascii_case(&id.value));
        let problem = if let Some(own) = same(OWN_ACCOUNTS, &id.value) {
            format!("is an account of the bastion's own programs ({own})")
        } else if let Some(word) = same(TOPIC_WORDS, &id.value) {
            format!("is a reserved word: {word} means something else in the meters' topics")
        } else if let Some(reader) = reader {
            format!("is the name of a reader ({})", reader.place.line_name())
        } else {
            continue;
        };
        page.mistake(&id.place, Fault::new(problem, "give the meter another id"));
    }
    let ids = ids().map(|id| (id.value.to_ascii_lowercase(), &id.place));
    page.twice(ids, |first| {
        let shown = first.shown.as_deref().unwrap_or_default();
        let problem = format!("is the same meter as {shown} ({})", first.line_name());
        Fault::new(
            problem,
            "describe each meter once; large and small letters make no difference",
        )
    });
}

fn points(page: &mut Page, meters: &[MeterDraft]) {
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

fn vendor_form(page: &mut Page, meter: &MeterDraft) {
    let Some(id) = &meter.id else { return };
    let Some(vendor) = VendorId::of(&id.value) else {
        if let Some(model) = &meter.model {
            let start = format!("{}-", model.value.name);
            if id.value.to_ascii_lowercase().starts_with(&start) {
                let problem = "begins like an id of the vendor and does not end in 6 or 12 of the \
                               digits 0 to 9 and A to F";
                let remedy =
                    "compare it with what the meter shows; it may be right if you chose it";
                page.warning(&id.place, Fault::new(problem, remedy));
            }
        }
        return;
    };
    if id.value != vendor.spelled {
        let problem = "is not spelled as the meter spells it, and topics know large from small";
        let remedy = format!("write \"{}\"", vendor.spelled);
        page.mistake(&id.place, Fault::new(problem, remedy));
    }
    if let Some(model) = &meter.model
        && model.value != vendor.model
    {
        let problem = format!(
            "does not fit the id \"{}\", which is that of a {}",
            id.value, vendor.model.product
        );
        let remedy = format!("write model = \"{}\", or correct the id", vendor.model.name);
        page.mistake(&model.place, Fault::new(problem, remedy));
    }
}

/// What only one of the two dialects has.
fn dialect(page: &mut Page, meter: &MeterDraft) {
    let Some(model) = &meter.model else { return };
    if model.value.generation != Generation::One {
        return;
    }
    if let Some(prefix) = &meter.prefix
        && !prefix.value.starts_with("shellies/")
    {
        let problem = "does not begin with shellies/, as a first-generation meter's topics do";
        let remedy = format!("write \"shellies/{}\"", prefix.value);
        page.mistake(&prefix.place, Fault::new(problem, remedy));
    }
    if let Some(source) = &meter.source {
        let problem = format!(
            "is no choice for a {}, which has one source only",
            model.value.product
        );
        let remedy = "leave source out; it is for meters of generation 2 and later";
        page.mistake(&source.place, Fault::new(problem, remedy));
    }
}

/// One device under two ids: with the whole MAC address it is certain, with its last half likely.
fn devices(page: &mut Page, meters: &[MeterDraft]) {
    let mut seen: BTreeMap<(Option<&str>, String), (&Place, &str)> = BTreeMap::new();
    for meter in meters {
        let Some(id) = &meter.id else { continue };
        let Some(VendorId { model, mac, .. }) = VendorId::of(&id.value) else {
            continue;
        };
        let tail = mac
            .get(mac.len().saturating_sub(6)..)
            .unwrap_or_default()
            .to_owned();
        let whole = (mac.len() == 12).then_some((None, mac));
        let key = (Some(model.name), tail);
        let other = |place: &Place, id: &str| format!("\"{id}\" ({})", place.line_name());
        let known = whole.as_ref().and_then(|whole| seen.get(whole));
        if let Some((place, first)) = known {
            if !first.eq_ignore_ascii_case(&id.value) {
                let problem = format!("has the MAC address of {}", other(place, first));
                page.mistake(&id.place, Fault::new(problem, "describe each meter once"));
            }
        } else if let Some((place, first)) = seen.get(&key)
            && first.len() != id.value.len()
        {
            let problem = format!(
                "ends like {} and may be the same meter",
                other(place, first)
            );
            page.warning(&id.place, Fault::new(problem, "if it is, describe it once"));
        }
        for key in whole.into_iter().chain([key]) {
            seen.entry(key).or_insert((&id.place, &id.value));
        }
    }
}

/// Access rules are written per prefix, so one meter's topics must not lie among another's.
fn prefixes(page: &mut Page, meters: &[MeterDraft]) {
    let mut all: Vec<(Cow<str>, &Place, &str)> = Vec::new();
    for meter in meters {
        let (Some(id), Some(model)) = (&meter.id, &meter.model) else {
            continue;
        };
        all.push(match &meter.prefix {
            Some(prefix) => (Cow::from(&prefix.value), &prefix.place, &id.value),
            None => (
                model.value.default_prefix(&id.value).into(),
                &id.place,
                &id.value,
            ),
        });
    }
    let mut owners: BTreeMap<&str, (&Place, &str)> = BTreeMap::new();
    for (prefix, place, id) in &all {
        let reserved = RESERVED_TREES
            .iter()
            .find(|tree| prefix == *tree || below(prefix, tree) || below(tree, prefix));
        if let Some(tree) = reserved {
            // Of a reserved word as an id has been told.
            if same(&[OWN_ACCOUNTS, TOPIC_WORDS].concat(), id).is_none() {
                let problem = format!("has topics among those of {tree}, which are reserved");
                page.mistake(place, Fault::new(problem, "give the meter another prefix"));
            }
        } else if let Some((first, owner)) = owners.get(prefix.as_ref()) {
            // Of one id twice has been told.
            if !owner.eq_ignore_ascii_case(id) {
                let problem = format!("has the same topics as \"{owner}\" ({})", first.line_name());
                page.mistake(
                    place,
                    Fault::new(problem, "give each meter a prefix of its own"),
                );
            }
        } else {
            owners.insert(prefix, (place, id));
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
            page.mistake(
                place,
                Fault::new(problem, "give each meter a prefix of its own"),
            );
        }
    }
}

/// Whether a topic lies below a tree.
fn below(topic: &str, tree: &str) -> bool {
    topic
        .strip_prefix(tree)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn same<'w>(words: &[&'w str], text: &str) -> Option<&'w str> {
    words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .copied()
}
