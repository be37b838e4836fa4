//! A household in numbers: plausible, reproducible, and no value twice.

use std::collections::HashSet;

use super::*;

fn run(seed: u64, model: Model, sets: usize) -> Vec<Sample> {
    let mut household = Household::new(seed, "meter", model);
    (0..sets)
        .map(|set| {
            if set % 3 == 0 {
                household.change();
            }
            household.measure(3.0, 60.0)
        })
        .collect()
}

#[test]
fn a_seed_and_an_id_give_the_same_values_and_another_seed_gives_others() {
    for model in Model::ALL {
        assert_eq!(run(7, model, 20), run(7, model, 20));
        assert_ne!(run(7, model, 1), run(8, model, 1));
    }
    assert_ne!(
        Household::new(7, "a", Model::Em).measure(3.0, 60.0),
        Household::new(7, "b", Model::Em).measure(3.0, 60.0)
    );
}

/// Every value of one field over a run, channel by channel.
fn fields(samples: &[Sample]) -> Vec<(String, Vec<Quantity>)> {
    type Of = fn(&Channel) -> Quantity;
    let of: [(&str, Of); 7] = [
        ("active_w", |channel| channel.active_w),
        ("reactive_var", |channel| channel.reactive_var),
        ("apparent_va", |channel| channel.apparent_va),
        ("voltage_v", |channel| channel.voltage_v),
        ("current_a", |channel| channel.current_a),
        ("import_wh", |channel| channel.import_wh),
        ("export_wh", |channel| channel.export_wh),
    ];
    let mut fields = Vec::new();
    for index in 0..samples[0].channels.len() {
        for (field, of) in of {
            let values = samples
                .iter()
                .map(|sample| of(&sample.channels[index]))
                .collect();
            fields.push((format!("{index} {field}"), values));
        }
    }
    for (field, of) in [
        (
            "total active_w",
            (|total| total.active_w) as fn(&Total) -> Quantity,
        ),
        ("total import_wh", |total| total.import_wh),
        ("total export_wh", |total| total.export_wh),
    ] {
        fields.push((
            field.to_owned(),
            samples.iter().map(|sample| of(&sample.total)).collect(),
        ));
    }
    fields
}

#[test]
fn no_value_repeats_in_a_hundred_sets_and_counters_only_rise() {
    for model in Model::ALL {
        for (field, values) in fields(&run(1, model, 100)) {
            let distinct: HashSet<u64> = values.iter().map(|value| value.si.to_bits()).collect();
            assert_eq!(distinct.len(), values.len(), "{model:?} {field}");
            assert!(values.iter().all(|value| value.unique), "{model:?} {field}");
            if field.ends_with("_wh") {
                assert!(values.is_sorted_by(|a, b| a.si < b.si), "{model:?} {field}");
            }
        }
    }
}

#[test]
fn what_has_run_out_of_values_says_so() {
    let mut few = Distinct::new(10.0, 0.95, 1.25);
    let given: Vec<_> = (0..4)
        .map(|_| few.next(1.1))
        .map(|value| (value.si, value.unique))
        .collect();
    assert_eq!(given, [(1.1, true), (1.2, true), (1.0, true), (1.1, false)]);
}

#[test]
fn a_nudge_keeps_the_direction_of_the_power() {
    let mut power = Distinct::new(10.0, -5.0, 5.0);
    let given: Vec<f64> = (0..4).map(|_| power.next(-0.04).si).collect();
    assert_eq!(given, [-0.1, -0.2, -0.3, -0.4]);
}

/// Recomputed from the published values alone; the tolerances are a few nudges wide.
#[test]
fn the_quantities_of_one_instant_fit_each_other() {
    for sample in run(3, Model::Pro3Em, 50) {
        for channel in &sample.channels {
            let (p, s) = (
                channel.active_w.si,
                channel.voltage_v.si * channel.current_a.si,
            );
            assert!(
                (s - channel.apparent_va.si).abs() < 6.0 + 0.05 * s,
                "{channel:?}"
            );
            assert!((p / s - channel.pf.si).abs() < 0.15, "{channel:?}");
            assert!(
                (225.0..=242.0).contains(&channel.voltage_v.si),
                "{channel:?}"
            );
            assert!((channel.freq_hz.si - 50.0).abs() < 0.2, "{channel:?}");
        }
        let sum: f64 = sample
            .channels
            .iter()
            .map(|channel| channel.active_w.si)
            .sum();
        assert!((sum - sample.total.active_w.si).abs() < 0.1, "{sample:?}");
    }
}

#[test]
fn energy_is_the_integral_of_power_times_the_factor() {
    let samples = run(5, Model::Em, 40);
    let imported: f64 = samples[1..]
        .iter()
        .map(|sample| sample.channels[0].active_w.si.max(0.0) * 3.0 * 60.0 / 3600.0)
        .sum();
    let counted = samples[39].channels[0].import_wh.si - samples[0].channels[0].import_wh.si;
    assert!(
        (imported - counted).abs() < 0.2,
        "{imported} Wh flowed, {counted} Wh were counted"
    );
}
