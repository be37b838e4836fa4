//! One channel: the loads behind it, and what its clamp or shunt sees of them.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::distinct::{Counter, Distinct, Quantity};
use crate::model::Model;

/// What one channel measures at one instant. Import is positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// As the tag `channel` has it.
    pub name: &'static str,
    /// Active power in W.
    pub active_w: Quantity,
    /// Reactive power in var.
    pub reactive_var: Quantity,
    /// Apparent power in VA.
    pub apparent_va: Quantity,
    /// RMS voltage in V.
    pub voltage_v: Quantity,
    /// RMS current in A.
    pub current_a: Quantity,
    /// Power factor with the sign of the active power.
    pub pf: Quantity,
    /// Mains frequency in Hz.
    pub freq_hz: Quantity,
    /// Energy drawn, in Wh.
    pub import_wh: Quantity,
    /// Energy returned, in Wh.
    pub export_wh: Quantity,
}

/// What an appliance draws, in W.
const APPLIANCES: [f64; 5] = [60.0, 150.0, 400.0, 900.0, 2000.0];

#[derive(Debug)]
pub(super) struct Circuit {
    name: &'static str,
    /// What never goes off, in W; negative behind a solar inverter.
    base_w: f64,
    on: [bool; 5],
    power_w: f64,
    mains_v: f64,
    /// Reactive power per active power.
    tangent: f64,
    active: Distinct,
    reactive: Distinct,
    apparent: Distinct,
    voltage: Distinct,
    current: Distinct,
    import: Counter,
    export: Counter,
}

impl Circuit {
    pub(super) fn new(name: &'static str, model: Model, random: &mut Xoshiro256PlusPlus) -> Self {
        let steps = model.resolution();
        // The last channel of a clamp meter has a solar inverter behind it.
        let solar = model.is_bidirectional() && model.channels().last() == Some(&name);
        let base_w = if solar {
            random.random_range(-900.0..-300.0)
        } else {
            random.random_range(40.0..200.0)
        };
        let (low, high) = if model.is_bidirectional() {
            (-15_000.0, 15_000.0)
        } else {
            (1.0, 3_500.0)
        };
        // A relay's counter starts at zero with each boot; the others outlive years.
        let past_wh = if model == Model::PlugS {
            50.0..500.0
        } else {
            100_000.0..4_000_000.0
        };
        Self {
            name,
            base_w,
            on: [false; 5],
            power_w: base_w,
            mains_v: random.random_range(228.0..238.0),
            tangent: random.random_range(0.1..0.9),
            active: Distinct::new(steps.power, low, high),
            reactive: Distinct::new(steps.power, -15_000.0, 15_000.0),
            apparent: Distinct::new(steps.power, 0.0, 20_000.0),
            voltage: Distinct::new(steps.voltage, 225.0, 242.0),
            current: Distinct::new(steps.current, 0.0, 80.0),
            import: Counter::new(steps.energy, random.random_range(past_wh)),
            export: Counter::new(steps.energy, random.random_range(10.0..50_000.0)),
        }
    }

    /// Switches one appliance over.
    pub(super) fn toggle(&mut self, random: &mut Xoshiro256PlusPlus) {
        // A socket carries 2.5 kW and so never the last appliance beside the others.
        let which = random.random_range(0..if self.base_w < 0.0 { 3 } else { 4 });
        if let Some(on) = self.on.get_mut(which) {
            *on = !*on;
        }
    }

    pub(super) fn measure(
        &mut self,
        seconds: f64,
        factor: f64,
        random: &mut Xoshiro256PlusPlus,
    ) -> Channel {
        let loads: f64 = APPLIANCES
            .iter()
            .zip(self.on)
            .filter(|(_, on)| *on)
            .map(|(watts, _)| watts)
            .sum();
        let noise = random.random_range(-1.0..1.0) * (1.0 + 0.02 * self.power_w.abs());
        self.power_w = self.base_w + loads + noise;
        self.mains_v = (self.mains_v + random.random_range(-0.3..0.3)).clamp(226.0, 241.0);
        self.tangent = (self.tangent + random.random_range(-0.02..0.02)).clamp(0.1, 1.2);

        let active_w = self.active.next(self.power_w);
        // What is measured is what happened: a nudged value is the power from here on.
        self.power_w = active_w.si;
        let reactive = self.power_w * self.tangent;
        let apparent = self.power_w.hypot(reactive);
        let voltage_v = self.voltage.next(self.mains_v);
        let energy_wh = self.power_w * seconds * factor / 3600.0;
        Channel {
            name: self.name,
            active_w,
            reactive_var: self.reactive.next(reactive),
            apparent_va: self.apparent.next(apparent),
            voltage_v,
            current_a: self.current.next(apparent / voltage_v.si),
            // Too few values for any run: a hundred of the one, a handful of the other.
            pf: Quantity::repeating(self.power_w / apparent, 100.0),
            freq_hz: Quantity::repeating(50.0 + random.random_range(-0.1..0.1), 10.0),
            import_wh: self.import.advance(energy_wh.max(0.0)),
            export_wh: self.export.advance((-energy_wh).max(0.0)),
        }
    }
}
