//! Values that never repeat, so that what was sent and what was stored can be compared as sets.

use std::collections::HashSet;

/// A measured value, quantised to its wire form's steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    /// In the SI unit of its field.
    pub si: f64,
    /// Whether the source had not given this value before.
    pub unique: bool,
}

impl Quantity {
    /// A quantity of which repetitions are to be expected, rounded to steps.
    pub(super) fn repeating(si: f64, per_unit: f64) -> Self {
        // Adding zero turns -0 into 0.
        Self {
            si: (si * per_unit).round() / per_unit + 0.0,
            unique: false,
        }
    }
}

/// Gives the unused step nearest to what the physics wants.
#[derive(Debug)]
pub(super) struct Distinct {
    per_unit: f64,
    low: f64,
    high: f64,
    used: HashSet<u64>,
}

/// Bounds the memory of a run without end: a field's values repeat after so many.
const REMEMBERED: usize = 100_000;
/// How many steps a value may be moved to either side.
const REACH: u16 = 2_000;

impl Distinct {
    /// A source of multiples of `1 / per_unit` between `low` and `high`, never zero.
    pub(super) fn new(per_unit: f64, low: f64, high: f64) -> Self {
        Self {
            per_unit,
            low: (low * per_unit).ceil(),
            high: (high * per_unit).floor(),
            used: HashSet::new(),
        }
    }

    /// The wanted value, moved by the smallest number of steps that makes it new, within the
    /// range and on its side of zero. When there is none left, the wanted value as it is.
    pub(super) fn next(&mut self, wanted: f64) -> Quantity {
        let wanted = (wanted * self.per_unit).clamp(self.low, self.high);
        let nearest = wanted.round() + 0.0;
        let same_side = |step: f64| step != 0.0 && (step > 0.0) == (wanted >= 0.0);
        if self.used.len() < REMEMBERED {
            let steps = (0..=REACH).flat_map(|distance| {
                let distance = f64::from(distance);
                [nearest + distance, nearest - distance]
            });
            for step in
                steps.filter(|step| (self.low..=self.high).contains(step) && same_side(*step))
            {
                // Whole numbers of this size have one bit pattern each.
                if self.used.insert(step.to_bits()) {
                    return Quantity {
                        si: step / self.per_unit,
                        unique: true,
                    };
                }
            }
        }
        Quantity {
            si: nearest / self.per_unit,
            unique: false,
        }
    }
}

/// An energy counter that advances between any two readings.
#[derive(Debug)]
pub(super) struct Counter {
    per_unit: f64,
    wh: f64,
    shown: f64,
}

impl Counter {
    /// A counter that stands at `wh`.
    pub(super) fn new(per_unit: f64, wh: f64) -> Self {
        Self {
            per_unit,
            wh,
            shown: (wh * per_unit).floor(),
        }
    }

    /// Adds energy and reads the counter, rounded down as counters are. At least one step is
    /// added: between two readings the power swings for an instant even to the other side.
    pub(super) fn advance(&mut self, wh: f64) -> Quantity {
        self.wh = (self.wh + wh).max((self.shown + 1.0) / self.per_unit);
        self.shown = (self.wh * self.per_unit).floor().max(self.shown + 1.0);
        Quantity {
            si: self.shown / self.per_unit,
            unique: true,
        }
    }
}
