//! Numbers as text. Meters say decimals with few places, and for those there is a way that is much
//! quicker than the standard library's; it writes the same, which a test compares.

use std::io::Write as _;

/// Places that are tried, and what each shifts by.
const SCALES: [(usize, f64); 4] = [(0, 1.0), (1, 10.0), (2, 100.0), (3, 1000.0)];
/// Below this each whole number is a float, and no two decimals of so many digits are the same float:
/// the shortest text that is read as a float again is then the decimal itself.
const LARGEST: f64 = 1e15;

/// Writes a finite number as [`std::fmt::Display`] does.
pub(super) fn write(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    for (places, scale) in SCALES {
        let scaled = (size * scale).round();
        // A division of two whole numbers gives the float next to their quotient, as reading does.
        if scaled < LARGEST && scaled / scale == size {
            if value.is_sign_negative() {
                out.push(b'-');
            }
            return write_decimal(out, whole(scaled), places);
        }
    }
    // Writing to memory does not fail.
    let _ = write!(out, "{value}");
}

/// Writes a whole number.
pub(super) fn write_whole(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    write_decimal(out, value.unsigned_abs(), 0);
}

/// A whole number, not negative and below 2^53, from the bits of its float.
fn whole(value: f64) -> u64 {
    const BIAS: u64 = 1023;
    const BITS: u64 = 52;
    let bits = value.to_bits();
    let exponent = bits >> BITS;
    if exponent < BIAS {
        return 0;
    }
    let mantissa = (bits & ((1 << BITS) - 1)) | (1 << BITS);
    mantissa >> (BIAS + BITS).saturating_sub(exponent)
}

/// A number whose last digits are so many places behind the point.
fn write_decimal(out: &mut Vec<u8>, mut number: u64, places: usize) {
    // Twenty digits and a point, from the end.
    let mut text = [0; 24];
    let mut slots = text.iter_mut().rev();
    let mut length = 0;
    let mut put = |byte| {
        if let Some(slot) = slots.next() {
            *slot = byte;
            length += 1;
        }
    };
    for place in 0.. {
        if place > places && number == 0 {
            break;
        }
        if place == places && places > 0 {
            put(b'.');
        }
        // A digit fits into a byte.
        put(b'0' + u8::try_from(number % 10).unwrap_or(0));
        number /= 10;
    }
    let begin = text.len() - length;
    out.extend_from_slice(text.get(begin..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(value: f64) {
        let mut out = Vec::new();
        write(&mut out, value);
        assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for value in [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            0.01,
            0.001,
            0.0001,
            -0.05,
            10.0,
            100.25,
            230.0,
            1562.68,
            -3.1,
            12.345,
            12.3456,
            0.1 + 0.2,
            1.0 / 3.0,
            999_999_999_999_999.0,
            1e15,
            999_999_999_999.999,
            1e21,
            1e-7,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::EPSILON,
        ] {
            check(value);
        }
    }

    proptest! {
        #[test]
        fn any_number_is(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                check(value);
            }
        }

        #[test]
        fn any_decimal_is(digits in any::<i64>(), places in 0..7_i32) {
            let digits = f64::from(i32::try_from(digits >> 33).unwrap());
            check(digits / 10_f64.powi(places));
        }

        #[test]
        fn any_whole_number_is(value in any::<i64>(), shift in 0..63_u32) {
            let mut out = Vec::new();
            write_whole(&mut out, value >> shift);
            prop_assert_eq!(String::from_utf8(out).unwrap(), (value >> shift).to_string());
        }
    }
}
