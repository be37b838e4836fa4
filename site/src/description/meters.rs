//! How meters and readers must fit together and into the site: no two accounts may meet, no topics
//! those of others, and a meter's id must fit its model. What an id looks like, and how meters
//! differ wherever they are described, is left to `form`.

use std::collections::BTreeMap;

use super::ReaderKind;
use super::draft::{ReaderDraft, SiteDraft};
use crate::account::HEALTH_ACCOUNT;
use crate::daemon::{DAEMON_ACCOUNT, TICKER_ACCOUNT};
use crate::form::meter::{MeterDraft, names_differ, topics_differ};
use crate::form::value::meter::VendorId;
use crate::form::{Fault, Page, Place};
use crate::meter::Generation;

/// Accounts of the bastion's own programs.
const OWN_ACCOUNTS: &[&str] = &[DAEMON_ACCOUNT, HEALTH_ACCOUNT, TICKER_ACCOUNT];
/// Words that mean something else at the place of an id in a topic.
const TOPIC_WORDS: &[&str] = &["announce", "command", "shellies"];
/// Topics that no meter may have below its prefix, nor its prefix below them.
/// `$SYS` is kept out by the form of a prefix.
const RESERVED_TREES: &[&str] = &["bastion", "shellies/announce", "shellies/command"];

pub(super) fn check(page: &mut Page, site: &SiteDraft) {
    readers(page, &site.readers);
    ids(page, site);
    names_differ(page, &site.meters);
    for meter in &site.meters {
        vendor_form(page, meter);
        dialect(page, meter);
    }
    devices(page, &site.meters);
    let free = site.meters.iter().filter(|meter| !reserved(page, meter));
    let free: Vec<_> = free.collect();
    topics_differ(page, free);
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

/// An id is the name of an account, so it meets all other names there.
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

/// Whether a meter has topics among those that mean something else, which is noted.
fn reserved(page: &mut Page, meter: &MeterDraft) -> bool {
    let Some((prefix, place, id)) = meter.topics() else {
        return false;
    };
    let tree = RESERVED_TREES
        .iter()
        .find(|tree| prefix == **tree || below(&prefix, tree) || below(tree, &prefix));
    // Of a reserved word as an id has been told.
    if let Some(tree) = tree
        && same(&[OWN_ACCOUNTS, TOPIC_WORDS].concat(), id).is_none()
    {
        let problem = format!("has topics among those of {tree}, which are reserved");
        page.mistake(place, Fault::new(problem, "give the meter another prefix"));
    }
    tree.is_some()
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
