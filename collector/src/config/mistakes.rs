//! What a single value of the settings must be like, and why.

use std::collections::BTreeMap;

use site::meter::MODELS;
use site::{Meter, Model, Source};

use super::table::{Page, Text};

/// A value that becomes a tag. Line protocol has no escape for a newline, and InfluxDB 1.x stores
/// an escaped backslash as two, so the tag would not be what was written.
pub(super) fn tag(page: &mut Page, text: Text) -> Option<Text> {
    if text.value.contains(|c: char| c.is_control() || c == '\\') {
        page.mistake(
            &text,
            "holds a control character or a backslash, which no tag can carry",
            "leave it out",
        );
        return None;
    }
    Some(text)
}

/// A topic prefix. Wildcards would subscribe to other meters; `$` topics are the broker's own.
pub(super) fn prefix(page: &mut Page, text: Text) -> Option<Text> {
    /// Bytes; the vendor allows 300 characters.
    const LONGEST: usize = 1200;
    let prefix = text.value.as_str();
    let problem = if prefix.contains(['#', '+']) {
        "holds a wildcard"
    } else if prefix.contains(char::is_control) {
        "holds a control character"
    } else if prefix.starts_with('$') {
        "begins with $"
    } else if prefix.ends_with('/') {
        "ends with a slash"
    } else if prefix.len() > LONGEST {
        "is longer than a meter can have it"
    } else {
        return Some(text);
    };
    page.mistake(
        &text,
        problem,
        "write what stands before /online in the meter's topics, as shellies/shellyem-D3B45C",
    );
    None
}

/// A model that the project knows.
pub(super) fn model(page: &mut Page, text: &Text) -> Option<Model> {
    let model = Model::named(&text.value);
    if model.is_none() {
        let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        page.mistake(
            text,
            "is no model known here",
            &format!("one of {}", names.join(", ")),
        );
    }
    model
}

/// Where readings are taken from; whole components when nothing is said.
pub(super) fn source(page: &mut Page, text: Option<&Text>) -> Option<Source> {
    match text.map(|text| text.value.as_str()) {
        None => Some(Source::default()),
        Some("status") => Some(Source::Status),
        Some("events") => Some(Source::Events),
        Some(_) => {
            if let Some(text) = text {
                page.mistake(text, "is no source", "write status or events");
            }
            None
        }
    }
}

/// The address of the database. The collector speaks no TLS: both stand in the same house.
pub(super) fn url(page: &mut Page, mut text: Text) -> Option<Text> {
    const REMEDY: &str = "write http://host:port and nothing behind it";
    let parsed = reqwest::Url::parse(&text.value).ok();
    let problem = match &parsed {
        None => "is no address",
        Some(url) if url.scheme() != "http" => "is no http address",
        Some(url) if !url.username().is_empty() || url.password().is_some() => {
            // The value may hold a password, and is not repeated.
            text.value = "***".to_owned();
            page.mistake(&text, "names a user", "use user and password_file");
            return None;
        }
        Some(url) if url.host_str().is_none() => "names no host",
        Some(url) if url.path() != "/" || url.query().is_some() || url.fragment().is_some() => {
            "has a path"
        }
        Some(_) => {
            text.value.truncate(text.value.trim_end_matches('/').len());
            return Some(text);
        }
    };
    page.mistake(&text, problem, REMEDY);
    None
}

/// Two meters of one id or point could not be told apart; of two prefixes one within the other,
/// every message would come twice.
pub(super) fn doubled_meters<'m>(
    page: &mut Page,
    meters: impl Iterator<Item = &'m (Text, Meter)> + Clone,
) {
    let mut prefixes: BTreeMap<&str, &str> = BTreeMap::new();
    let mut ids: BTreeMap<&str, ()> = BTreeMap::new();
    for (place, meter) in meters.clone() {
        if ids.insert(&meter.id, ()).is_some() {
            page.mistake(place, "is there twice", "give each meter once");
        }
        if let Some(other) = prefixes.insert(&meter.prefix, &meter.id) {
            let problem = format!("has the same prefix {:?} as {other}", meter.prefix);
            page.mistake(place, &problem, "give each meter a prefix of its own");
        }
    }
    for (place, meter) in meters {
        let outer = meter
            .prefix
            .match_indices('/')
            .find_map(|(end, _)| prefixes.get(meter.prefix.get(..end)?));
        if let Some(outer) = outer {
            let problem = format!("has a prefix below that of {outer}");
            page.mistake(place, &problem, "give each meter a prefix of its own");
        }
    }
}
