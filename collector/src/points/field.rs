//! The fields of a point, and the values that mean "not available".
//!
//! Gen1 firmware has -1 for "not available" in power, energy, voltage, current and power factor,
//! and 999 in temperatures (its CoIoT value table; on MQTT nobody has recorded one). So -1 is
//! left out where it cannot be a reading: voltage, current, frequency, apparent power, counters.
//! It is kept where it can be one: -1.00 W of active or reactive power is a small return, and a
//! power factor of -1 is a purely resistive one. 999 is left out of temperatures only.

/// A field: its name with the unit, and the value that stands for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    unavailable: Option<f64>,
}

impl Field {
    /// Any number is a reading.
    const fn any(name: &'static str) -> Self {
        Self {
            name,
            unavailable: None,
        }
    }

    const fn without(unavailable: f64, name: &'static str) -> Self {
        Self {
            name,
            unavailable: Some(unavailable),
        }
    }

    /// The value as a reading, or nothing.
    pub(super) fn reading(self, value: f64) -> Option<f64> {
        (value.is_finite() && self.unavailable != Some(value)).then_some(value)
    }
}

pub(super) const ACTIVE: Field = Field::any("active_w");
pub(super) const REACTIVE: Field = Field::any("reactive_var");
pub(super) const APPARENT: Field = Field::without(-1.0, "apparent_va");
pub(super) const VOLTAGE: Field = Field::without(-1.0, "voltage_v");
pub(super) const CURRENT: Field = Field::without(-1.0, "current_a");
pub(super) const POWER_FACTOR: Field = Field::any("pf");
pub(super) const FREQUENCY: Field = Field::without(-1.0, "freq_hz");
pub(super) const IMPORT: Field = Field::without(-1.0, "import_wh");
pub(super) const EXPORT: Field = Field::without(-1.0, "export_wh");
pub(super) const TEMPERATURE: Field = Field::without(999.0, "temperature_c");
pub(super) const SIGNAL: Field = Field::any("rssi_dbm");
pub(super) const UPTIME: Field = Field::any("uptime_s");
