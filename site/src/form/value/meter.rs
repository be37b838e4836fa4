//! What belongs to a meter: its id, its model, its topic prefix.

use super::named;
use crate::form::Fault;
use crate::form::nearest::nearest;
use crate::meter::{Generation, MODELS, Model};

/// Longest id. The name of an account, a client id and a level of a topic.
const LONGEST_ID: usize = 64;
/// Longest prefix in characters. Source: the vendor's MQTT documentation.
const LONGEST_PREFIX: usize = 300;

/// A meter's id. It is the name of the meter's account, so whatever would end a word in the
/// broker's files or mean something in a topic is refused.
pub(crate) fn id(text: &str) -> Result<String, Fault> {
    const EXAMPLE: &str = "write the id as the meter shows it, such as shellyem-D3B45C";
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = if text.is_empty() {
        "is empty".to_owned()
    } else if let Some(odd) = text.chars().find(|c| !fits(*c)) {
        let why = match odd {
            '+' | '#' => "which stands for any text in a topic",
            '/' => "which parts the levels of a topic",
            ':' => "which ends a name in the broker's password file",
            ' ' => "which ends a word in the broker's access rules",
            '$' => "which the broker keeps for itself",
            _ => "and may hold only letters (a to z), digits, and . _ -",
        };
        format!("holds {}, {why}", named(odd))
    } else if text.len() > LONGEST_ID {
        format!("has more than {LONGEST_ID} characters")
    } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "begins with neither letter nor digit".to_owned()
    } else if text
        .rsplit_once('.')
        .is_some_and(|(_, end)| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()))
    {
        "ends in a dot and a number, as the second account of a meter does while its password \
         is being changed"
            .to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(Fault::new(problem, EXAMPLE))
}

/// A model that the project knows.
pub(crate) fn model(text: &str) -> Result<Model, Fault> {
    Model::named(text).ok_or_else(|| {
        let near = near_models(text);
        let quoted = |model: &&Model| format!("\"{}\" ({})", model.name, model.product);
        let remedy = if near.is_empty() {
            let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
            format!("write one of {}", names.join(", "))
        } else {
            let names: Vec<String> = near.iter().map(quoted).collect();
            format!("did you mean {}?", names.join(" or "))
        };
        Fault::new("is no model that this version knows", remedy)
    })
}

/// Models whose name or product is the written word, or begins or ends with it, or nearly is it.
fn near_models(text: &str) -> Vec<&'static Model> {
    // `Shelly 3EM`, `3em` and `shelly-3EM` mean the same.
    let bare = |word: &str| -> String {
        let letters = word.chars().filter(char::is_ascii_alphanumeric);
        let word = letters.collect::<String>().to_ascii_lowercase();
        word.strip_prefix("shelly").unwrap_or(&word).to_owned()
    };
    let written = bare(text);
    let names = |model: &Model| [bare(model.name), bare(model.product)];
    let pick = |fits: &dyn Fn(&str) -> bool| -> Vec<&'static Model> {
        let fits = |model: &&Model| names(model).iter().any(|name| fits(name));
        MODELS.iter().filter(fits).take(3).collect()
    };
    let exact = pick(&|name| name == written);
    if !exact.is_empty() || written.is_empty() {
        return exact;
    }
    let part = pick(&|name| name.contains(&written) || written.contains(name));
    if !part.is_empty() {
        return part;
    }
    let all: Vec<String> = MODELS.iter().flat_map(names).collect();
    let best = nearest(&written, all.iter().map(String::as_str));
    pick(&|name| Some(name) == best)
}

/// A topic prefix: what stands before `/online` in the meter's topics. Both dialects give people
/// freedom here; what MQTT, the vendor or the broker's files cannot carry is refused.
pub(crate) fn prefix(text: &str) -> Result<String, Fault> {
    const EXAMPLE: &str =
        "write what stands before /online in the meter's topics, such as shellies/shellyem-D3B45C";
    let problem = if text.is_empty() {
        "is empty".to_owned()
    } else if text.chars().count() > LONGEST_PREFIX {
        format!("has more than {LONGEST_PREFIX} characters")
    } else if let Some(odd) = text.chars().find(|c| matches!(c, '#' | '+' | '%' | '?')) {
        format!("holds {}, which no meter takes in a prefix", named(odd))
    } else if let Some(odd) = text.chars().find(|c| c.is_control() || is_noncharacter(*c)) {
        format!("holds {}, which MQTT cannot carry", named(odd))
    } else if text.starts_with('$') {
        "begins with $, which the broker keeps for itself".to_owned()
    } else if text.starts_with('/') || text.ends_with('/') {
        "begins or ends with a slash".to_owned()
    } else if text.contains("//") {
        "has two slashes with nothing between them".to_owned()
    } else if text.trim() != text {
        "begins or ends with a space, which the broker's access rules would lose".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(Fault::new(problem, EXAMPLE))
}

/// Code points that Unicode keeps free for ever; the broker hangs up on a topic with one.
fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

/// An id as the vendor makes it: a model that the project knows, a hyphen, and 6 or 12 hex digits
/// of the MAC address. Source: the vendor's documentation and captures of real meters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VendorId {
    pub(crate) model: Model,
    /// Lower-case.
    pub(crate) mac: String,
    /// With letters as large as the vendor writes them, on which topics depend.
    pub(crate) spelled: String,
}

impl VendorId {
    /// `None` when the id is of a form that somebody else chose.
    pub(crate) fn of(id: &str) -> Option<VendorId> {
        let (name, hex) = id.rsplit_once('-')?;
        let model = Model::named(&name.to_ascii_lowercase())?;
        let digits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits || !matches!(hex.len(), 6 | 12) {
            return None;
        }
        let mac = hex.to_ascii_lowercase();
        let spelled = match model.generation {
            Generation::One => format!("{}-{}", model.name, hex.to_ascii_uppercase()),
            Generation::TwoPlus => format!("{}-{mac}", model.name),
        };
        Some(VendorId {
            model,
            mac,
            spelled,
        })
    }
}
