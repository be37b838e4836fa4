//! The five models that are simulated, and how finely each one's wire form resolves a quantity.
//! Source: captures of real meters; the vendor's documentation gives the units.

use serde::{Deserialize, Serialize};

/// A simulated model, named as the vendor begins its device ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Model {
    /// Gen1, two clamps on one phase.
    Em,
    /// Gen1, three phases.
    Em3,
    /// Gen1, a plug with a relay.
    PlugS,
    /// Gen2, a relay with a meter.
    Plus1Pm,
    /// Gen2, three phases.
    Pro3Em,
}

/// Steps per unit: 100 means that the wire carries hundredths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resolution {
    /// Per W, var and VA.
    pub power: f64,
    /// Per V.
    pub voltage: f64,
    /// Per A.
    pub current: f64,
    /// Per Wh; 60 for a counter of watt-minutes.
    pub energy: f64,
    /// Per degree Celsius.
    pub temperature: f64,
}

impl Model {
    /// All of them, in the order in which messages list them.
    pub const ALL: [Self; 5] = [
        Self::Em,
        Self::Em3,
        Self::PlugS,
        Self::Plus1Pm,
        Self::Pro3Em,
    ];

    /// The word in the fleet file, which is also how its ids begin.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Em => "shellyem",
            Self::Em3 => "shellyem3",
            Self::PlugS => "shellyplug-s",
            Self::Plus1Pm => "shellyplus1pm",
            Self::Pro3Em => "shellypro3em",
        }
    }

    /// The vendor's order code, as `announce` carries it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Em => "SHEM",
            Self::Em3 => "SHEM-3",
            Self::PlugS => "SHPLG-S",
            Self::Plus1Pm => "SNSW-001P16EU",
            Self::Pro3Em => "SPEM-003CEBEU",
        }
    }

    /// The firmware it claims to run, as `announce` carries it.
    #[must_use]
    pub fn firmware(self) -> &'static str {
        match self {
            Self::Em | Self::PlugS => "20230913-114010/v1.14.0-gcb84623",
            Self::Em3 => "20220809-123240/v1.12-g99f7e0b",
            Self::Plus1Pm => "0.11.0",
            Self::Pro3Em => "1.6.1",
        }
    }

    /// Whether it speaks the first dialect: bare decimals, QoS 0.
    #[must_use]
    pub fn is_gen1(self) -> bool {
        matches!(self, Self::Em | Self::Em3 | Self::PlugS)
    }

    /// The names of its channels, as the tag `channel` has them.
    #[must_use]
    pub fn channels(self) -> &'static [&'static str] {
        match self {
            Self::Em => &["0", "1"],
            Self::Em3 => &["0", "1", "2"],
            Self::PlugS | Self::Plus1Pm => &["0"],
            Self::Pro3Em => &["a", "b", "c"],
        }
    }

    /// Whether power may flow back: clamps see both directions, a socket only one.
    #[must_use]
    pub fn is_bidirectional(self) -> bool {
        matches!(self, Self::Em | Self::Em3 | Self::Pro3Em)
    }

    /// What its wire form can carry.
    #[must_use]
    pub fn resolution(self) -> Resolution {
        let of = |power, voltage, current, energy, temperature| Resolution {
            power,
            voltage,
            current,
            energy,
            temperature,
        };
        match self {
            Self::Em | Self::Em3 => of(100.0, 100.0, 100.0, 10.0, 100.0),
            Self::PlugS => of(100.0, 100.0, 100.0, 60.0, 100.0),
            Self::Plus1Pm => of(10.0, 10.0, 1000.0, 1000.0, 10.0),
            Self::Pro3Em => of(10.0, 10.0, 1000.0, 100.0, 10.0),
        }
    }
}

impl TryFrom<String> for Model {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|model| model.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                format!("unknown model {name:?}: this simulates {known}")
            })
    }
}

impl From<Model> for String {
    fn from(model: Model) -> Self {
        model.name().to_owned()
    }
}
