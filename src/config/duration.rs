//! Spans of time as people write them: `250ms`, `30s`, `5m`, `2h`, `30d`, and nothing else.
//!
//! One number and one unit: `1h30m` or `1.5h` would have to be explained, `90m` explains itself.

use std::time::Duration;

/// The units, greatest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration; `None` where the text is none, or too long to count in milliseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let milliseconds = number.parse::<u64>().ok()?.checked_mul(*factor)?;
    Some(Duration::from_millis(milliseconds))
}

/// Writes a duration so that [`parse_duration`] reads it, in the greatest unit that divides it.
///
/// Parts of a millisecond are dropped: no key can hold them.
pub fn show_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .find(|(_, factor)| milliseconds.is_multiple_of(*factor))
        .map_or_else(String::new, |(name, factor)| format!("{}{name}", milliseconds / factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_one_number_and_one_unit() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("0s", 0),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("30d", 2_592_000_000),
            ("007s", 7_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "5 m",
            " 5m",
            "5m ",
            "1h30m",
            "1.5h",
            "-5s",
            "+5s",
            "5M",
            "5sec",
            "1w",
            "1y",
            "never",
            "off",
            "٣s",
            "1_000s",
            "5µs",
            "1e3s",
            // One more than fits, in the number and in the product.
            "18446744073709551616ms",
            "18446744073709552s",
            "999999999999999999d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn the_greatest_unit_that_divides_is_shown() {
        for (milliseconds, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1500ms"),
            (7_800_000, "130m"),
            (3_600_000, "1h"),
            (604_800_000, "7d"),
        ] {
            assert_eq!(show_duration(Duration::from_millis(milliseconds)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(milliseconds in any::<u64>()) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse_duration(&text);
        }

        #[test]
        fn what_is_read_is_number_times_unit(number in 0_u64..=213_503_982_334, unit in 0_usize..5) {
            let (name, factor) = UNITS[unit];
            prop_assert_eq!(
                parse_duration(&format!("{number}{name}")),
                number.checked_mul(factor).map(Duration::from_millis)
            );
        }
    }
}
