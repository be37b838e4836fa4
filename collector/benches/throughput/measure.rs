//! What programs use while something is measured, and the table of it.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::programs::{Program, Used};

/// What the project's plan asks for: at least so many messages per second, at most so many µs of CPU
/// per message and MiB. 0 where it asks for nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    pub(crate) rate: f64,
    pub(crate) cpu: f64,
    pub(crate) memory: f64,
}

/// Programs that are measured together, from one moment on.
pub(crate) struct Measure {
    programs: Vec<Measured>,
    begin: Instant,
    machine: f64,
}

struct Measured {
    name: &'static str,
    process: u32,
    before: f64,
    plan: Plan,
}

/// One line of the table.
struct Row {
    name: &'static str,
    rate: Option<f64>,
    cpu: f64,
    memory: Option<f64>,
    plan: Plan,
}

/// What was measured at once.
pub(crate) struct Part {
    title: String,
    rows: Vec<Row>,
    /// How many cores other programs of this machine took meanwhile, the bench itself among them.
    others: f64,
}

impl Measure {
    pub(crate) fn begin() -> Result<Measure> {
        Ok(Measure {
            programs: Vec::new(),
            begin: Instant::now(),
            machine: machine()?,
        })
    }

    /// With a program that has run before: what it used till now does not count.
    pub(crate) fn with(
        mut self,
        name: &'static str,
        program: &Program,
        plan: Plan,
    ) -> Result<Measure> {
        program.forget_peak();
        let before = program.used()?.cpu;
        self.programs.push(Measured {
            name,
            process: program.id(),
            before,
            plan,
        });
        Ok(self)
    }

    /// Adds a program that was started for this, as the one whose rate is measured.
    pub(crate) fn add_first(&mut self, name: &'static str, program: &Program, plan: Plan) {
        let first = Measured {
            name,
            process: program.id(),
            before: 0.0,
            plan,
        };
        self.programs.insert(0, first);
    }

    pub(crate) fn began(&self) -> Instant {
        self.begin
    }

    /// Now is the end, but the last of so many messages was through after `time`.
    pub(crate) fn end(self, title: String, messages: u64, time: Duration) -> Result<Part> {
        let messages = u32::try_from(messages).map_or(f64::MAX, f64::from);
        let all = self.begin.elapsed().as_secs_f64();
        let mut ours = 0.0;
        let mut rows = Vec::new();
        for (place, program) in self.programs.iter().enumerate() {
            let Used { cpu, memory } = Used::of(program.process)?;
            ours += cpu - program.before;
            rows.push(Row {
                name: program.name,
                rate: (place == 0).then(|| messages / time.as_secs_f64()),
                cpu: (cpu - program.before) * 1e6 / messages,
                memory: Some(memory),
                plan: program.plan,
            });
        }
        Ok(Part {
            title,
            rows,
            others: (machine()? - self.machine - ours) / all,
        })
    }
}

/// Seconds of CPU that all programs of this machine took since it started.
fn machine() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("no processors")?;
    // user nice system idle iowait irq softirq steal, in hundredths of a second.
    let mut busy = 0.0;
    for (place, ticks) in line.split_ascii_whitespace().skip(1).take(8).enumerate() {
        if place != 3 && place != 4 {
            busy += ticks.parse::<f64>()?;
        }
    }
    Ok(busy / 100.0)
}

/// Figures, and what the plan asks for.
pub(crate) fn table(parts: &[Part]) -> String {
    let mut out = format!(
        "{:<34} {:>24} {:>22} {:>18}\n",
        "", "messages/s", "µs CPU/message", "peak MiB"
    );
    for part in parts {
        let _ = writeln!(out, "{} (others took {:.1} cores)", part.title, part.others);
        for row in &part.rows {
            let rate = row.rate.map(whole).unwrap_or_default();
            let memory = row.memory.map(|memory| format!("{memory:.1}"));
            let _ = writeln!(
                out,
                "  {:<32} {:>24} {:>22} {:>18}",
                row.name,
                beside(rate, "≥", row.plan.rate, 0),
                beside(format!("{:.2}", row.cpu), "≤", row.plan.cpu, 2),
                beside(memory.unwrap_or_default(), "≤", row.plan.memory, 0),
            );
        }
    }
    out.push_str("beside a figure: what the plan asks for\n");
    out
}

fn beside(figure: String, sign: &str, plan: f64, digits: usize) -> String {
    match digits {
        _ if plan == 0.0 || figure.is_empty() => figure,
        0 => format!("{figure} ({sign} {})", whole(plan)),
        _ => format!("{figure} ({sign} {plan:.digits$})"),
    }
}

/// A number in groups of three.
fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
