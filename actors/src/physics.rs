//! What a simulated meter measures: voltage, loads that come and go, and energy as their integral.
//! Everything is in SI units (energy in Wh), quantised to what the model's wire form can carry.
//! How that looks on the wire is left to `wire`.

mod circuit;
mod distinct;

pub use circuit::Channel;
pub use distinct::Quantity;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::model::Model;
use circuit::Circuit;
use distinct::Distinct;

/// Everything that one meter measures at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// One per channel of the model, in its order.
    pub channels: Vec<Channel>,
    /// The sums that a three-phase Gen2 meter forms itself.
    pub total: Total,
    /// Inside the case, in degrees Celsius.
    pub temperature_c: Quantity,
}

/// Sums over the channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Total {
    /// Net active power in W.
    pub active_w: Quantity,
    /// Sum of the apparent powers in VA.
    pub apparent_va: Quantity,
    /// Sum of the currents in A.
    pub current_a: Quantity,
    /// Sum of the import counters in Wh, not netted across phases.
    pub import_wh: Quantity,
    /// Sum of the export counters in Wh.
    pub export_wh: Quantity,
}

/// What stands behind one meter.
#[derive(Debug)]
pub struct Household {
    random: Xoshiro256PlusPlus,
    circuits: Vec<Circuit>,
    energy_steps: f64,
    warmth: f64,
    temperature: Distinct,
    total_active: Distinct,
    total_apparent: Distinct,
    total_current: Distinct,
}

impl Household {
    /// The household behind a meter: for the same seed and id always the same.
    #[must_use]
    pub fn new(seed: u64, id: &str, model: Model) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ fnv1a(id));
        let resolution = model.resolution();
        let circuits = model
            .channels()
            .iter()
            .map(|name| Circuit::new(name, model, &mut random))
            .collect();
        Self {
            warmth: random.random_range(20.0..35.0),
            random,
            circuits,
            energy_steps: resolution.energy,
            temperature: Distinct::new(resolution.temperature, 15.0, 75.0),
            // The captured sums carry three decimals where the phases carry one.
            total_active: Distinct::new(1000.0, -40_000.0, 40_000.0),
            total_apparent: Distinct::new(1000.0, 0.0, 60_000.0),
            total_current: Distinct::new(1000.0, 0.0, 240.0),
        }
    }

    /// Switches one appliance on or off, large enough to make a meter report at once.
    pub fn change(&mut self) {
        let which = self.random.random_range(0..self.circuits.len().max(1));
        if let Some(circuit) = self.circuits.get_mut(which) {
            circuit.toggle(&mut self.random);
        }
    }

    /// Lets time pass, with energy running `energy_factor` times faster, and measures.
    pub fn measure(&mut self, seconds: f64, energy_factor: f64) -> Sample {
        let random = &mut self.random;
        let channels: Vec<Channel> = self
            .circuits
            .iter_mut()
            .map(|circuit| circuit.measure(seconds, energy_factor, random))
            .collect();
        let sum = |of: fn(&Channel) -> f64| channels.iter().map(of).sum::<f64>();
        // Counters are summed in whole steps, so that the sum is as exact as its parts.
        let steps = self.energy_steps;
        let count = |of: fn(&Channel) -> Quantity| Quantity {
            si: channels
                .iter()
                .map(|channel| (of(channel).si * steps).round())
                .sum::<f64>()
                / steps,
            unique: channels.iter().all(|channel| of(channel).unique),
        };
        let total = Total {
            active_w: self.total_active.next(sum(|channel| channel.active_w.si)),
            apparent_va: self
                .total_apparent
                .next(sum(|channel| channel.apparent_va.si)),
            current_a: self.total_current.next(sum(|channel| channel.current_a.si)),
            import_wh: count(|channel| channel.import_wh),
            export_wh: count(|channel| channel.export_wh),
        };
        self.warmth = (self.warmth + random.random_range(-0.2..0.2)).clamp(18.0, 60.0);
        let temperature_c = self.temperature.next(self.warmth);
        Sample {
            channels,
            total,
            temperature_c,
        }
    }
}

/// A hash that stays the same for ever, which the standard library's does not promise.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
