//! A meter: what it is, where it hangs, and below which topics it speaks.
//! How its payloads are read is the collector's business.

use serde::{Deserialize, Serialize};

/// The two dialects of Shelly's MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Generation {
    /// One bare decimal per topic below `shellies/`, QoS 0, no time, no TLS.
    #[serde(rename = "1")]
    One,
    /// JSON per component, QoS 1. Generations 2, 3 and 4 speak alike.
    #[serde(rename = "2")]
    TwoPlus,
}

/// Where the readings of a second-generation meter are taken from. The other source is
/// counted and dropped: both carry the same sample, rounded differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `<prefix>/status/<component>`: whole components. Needs `status_ntf` on the meter.
    #[default]
    Status,
    /// `<prefix>/events/rpc`: deltas. What a meter does out of the box.
    Events,
}

/// A model, named as the vendor begins its device ids: `shellyem3` for `shellyem3-AABBCCDDEEFF`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Model {
    /// The word in the site file and in the tag `model`.
    pub name: &'static str,
    /// What a person calls it.
    pub product: &'static str,
    /// Which dialect it speaks.
    pub generation: Generation,
    /// The vendor's number of its generation, 1 to 4: the tag `gen`.
    pub gen_number: u8,
}

const fn model(name: &'static str, product: &'static str, gen_number: u8) -> Model {
    let generation = if gen_number == 1 {
        Generation::One
    } else {
        Generation::TwoPlus
    };
    Model {
        name,
        product,
        generation,
        gen_number,
    }
}

/// Every model that the project knows.
///
/// Source: the vendor's API documentation and device pages, and captures of real meters.
pub const MODELS: &[Model] = &[
    model("shellyem", "Shelly EM", 1),
    model("shellyem3", "Shelly 3EM", 1),
    model("shelly1pm", "Shelly 1PM", 1),
    model("shelly1l", "Shelly 1L", 1),
    model("shellyswitch", "Shelly 2", 1),
    model("shellyswitch25", "Shelly 2.5", 1),
    model("shelly4pro", "Shelly 4Pro", 1),
    model("shellyplug", "Shelly Plug", 1),
    model("shellyplug-s", "Shelly Plug S", 1),
    model("shellyplug-u1", "Shelly Plug US", 1),
    model("shellydimmer", "Shelly Dimmer", 1),
    model("shellydimmer2", "Shelly Dimmer 2", 1),
    model("shellyplus1pm", "Shelly Plus 1PM", 2),
    model("shellyplus2pm", "Shelly Plus 2PM", 2),
    model("shellyplusplugs", "Shelly Plus Plug S", 2),
    model("shellypro1pm", "Shelly Pro 1PM", 2),
    model("shellypro2pm", "Shelly Pro 2PM", 2),
    model("shellypro4pm", "Shelly Pro 4PM", 2),
    model("shellypmmini", "Shelly PM Mini", 2),
    model("shelly1pmmini", "Shelly 1PM Mini", 2),
    model("shellypro3em", "Shelly Pro 3EM", 2),
    model("shellypro3em400", "Shelly Pro 3EM-400", 2),
    model("shellypro3em63", "Shelly Pro 3EM-3CT63", 2),
    model("shellyproem50", "Shelly Pro EM-50", 2),
    model("shellyemg3", "Shelly EM Gen3", 3),
    model("shelly3em63g3", "Shelly 3EM-63 Gen3", 3),
    model("shellypmminig3", "Shelly PM Mini Gen3", 3),
    model("shelly1pmminig3", "Shelly 1PM Mini Gen3", 3),
    model("shellyemg4", "Shelly EM Gen4", 4),
    model("shellyemminig4", "Shelly EM Mini Gen4", 4),
];

impl Model {
    /// The model of that name, if the project knows it.
    #[must_use]
    pub fn named(name: &str) -> Option<Model> {
        MODELS.iter().copied().find(|model| model.name == name)
    }

    /// The topic prefix of a meter that nobody renamed: Gen1 always speaks below `shellies/`.
    #[must_use]
    pub fn default_prefix(&self, id: &str) -> String {
        match self.generation {
            Generation::One => format!("shellies/{id}"),
            Generation::TwoPlus => id.to_owned(),
        }
    }
}

/// One meter of a site, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// Device id, also the name of its account and its forced client id.
    pub id: String,
    /// What it is.
    pub model: Model,
    /// Topic prefix with everything in front of it, without a slash at the end:
    /// `shellies/shellyem-D3B45C` or `shellypro3em-aabbccddeeff`.
    pub prefix: String,
    /// Where it hangs, for people.
    pub location: String,
    /// The permanent name of the metering point; survives a replaced meter.
    pub point: String,
    /// What it measures, for people.
    pub label: Option<String>,
    /// Whose it is.
    pub customer: Option<String>,
    /// Which topics of a second-generation meter are read.
    pub source: Source,
}
