//! Numbers, times and text as people read them. Every time says its zone.

use std::time::Duration;

use crate::store::Timestamp;
use crate::zone;

/// `10,345`
pub fn thousands(number: impl TryInto<i64>) -> String {
    let number = number.try_into().unwrap_or(i64::MAX);
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 consent`, `10,345 consents`
pub fn counted(number: impl TryInto<i64>, one: &str, many: &str) -> String {
    let number = number.try_into().unwrap_or(i64::MAX);
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// `0.3 s`, `42 s`, `4 min 10 s`, `2 h 10 min`, `7 d 3 h`
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        small => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match seconds {
        0..10 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => pair(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// `2026-11-21 13:00:04 +01:00`, in the zone of the schedule.
pub fn moment(at: Timestamp) -> String {
    zone::format_time(at.to_utc())
}

/// How long before `now` this was; zero where the clock was set back since.
pub fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.millis() - at.millis()).unwrap_or(0))
}

/// `4 min ago`, `in 42 min`, `now`
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let (past, future) = (age(at, now), age(now, at));
    match (past.as_secs(), future.as_secs()) {
        (0, 0) => "now".to_owned(),
        (0, _) => format!("in {}", coarse(future)),
        _ => format!("{} ago", coarse(past)),
    }
}

fn coarse(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Text that may stand in HTML, between tags and inside quoted attributes alike. Control characters become spaces.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
        .replace(char::is_control, " ")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (10_345, "10,345"),
            (-1_234_567, "-1,234,567"),
            (i64::MIN, "-9,223,372,036,854,775,808"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn durations_have_at_most_two_units() {
        for (millis, text) in [
            (0, "0.0 s"),
            (3_249, "3.2 s"),
            (9_999, "9.9 s"),
            (10_000, "10 s"),
            (250_000, "4 min 10 s"),
            (7_800_000, "2 h 10 min"),
            (604_800_000, "7 d"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn relative_times_look_both_ways() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (millis, text) in [
            (0, "now"),
            (-240_000, "4 min ago"),
            (2_520_000, "in 42 min"),
            (-90_000_000, "25 h ago"),
            (-400 * 86_400_000, "400 d ago"),
        ] {
            assert_eq!(relative(now.plus_millis(millis), now), text);
        }
    }

    #[test]
    fn nothing_gets_out_of_its_place_in_html() {
        assert_eq!(
            escape("<a href=\"x\" id='y'>&\u{0}\n</a>"),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;  &lt;/a&gt;"
        );
    }
}
