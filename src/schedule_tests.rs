#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn schedule(cron: &str, zone: &str) -> CronSchedule {
    CronSchedule::parse(cron, TimeZone::get(zone).unwrap(), at("2026-01-01T00:00:00Z")).unwrap()
}

fn ticks_between(schedule: &CronSchedule, from: &str, to: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut tick = schedule.next_after(at(from));
    while let Some(now) = tick.filter(|now| *now < at(to)) {
        found.push(now.format("%d %H:%M:%S").to_string());
        tick = schedule.next_after(now);
    }
    found
}

fn every_hour_between(from: &str, to: &str) -> Vec<String> {
    let mut hour = at(from) + TimeDelta::hours(1);
    let mut hours = Vec::new();
    while hour < at(to) {
        hours.push(hour.format("%d %H:%M:%S").to_string());
        hour += TimeDelta::hours(1);
    }
    hours
}

#[test]
fn an_hourly_schedule_has_one_tick_a_real_hour_over_both_nights_of_copenhagen() {
    let each: Vec<String> = (0..24).map(|hour: u8| hour.to_string()).collect();
    let each = format!("0 0 {} * * *", each.join(","));
    for line in ["0 0 * * * *", "0 0 */1 * * *", "0 0 0-23 * * *", &each] {
        let hourly = schedule(line, "Europe/Copenhagen");
        for (from, to) in [
            ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
            ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"),
        ] {
            assert_eq!(ticks_between(&hourly, from, to), every_hour_between(from, to), "{line}");
        }
    }
}

#[test]
fn every_zone_with_whole_hours_has_one_tick_a_real_hour_for_a_year() {
    for zone in ["America/New_York", "Australia/Sydney", "Europe/London", "UTC"] {
        let hourly = schedule("0 0 * * * *", zone);
        let (from, to) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        assert_eq!(ticks_between(&hourly, from, to), every_hour_between(from, to), "{zone}");
    }
}

#[test]
fn a_daily_schedule_keeps_its_local_hour_over_both_nights() {
    let daily = schedule("0 0 3 * * *", "Europe/Copenhagen");
    assert_eq!(
        ticks_between(&daily, "2026-03-27T12:00:00Z", "2026-03-31T00:00:00Z"),
        ["28 02:00:00", "29 01:00:00", "30 01:00:00"]
    );
    assert_eq!(
        ticks_between(&daily, "2026-10-23T12:00:00Z", "2026-10-27T00:00:00Z"),
        ["24 01:00:00", "25 02:00:00", "26 02:00:00"]
    );
}

/// In Copenhagen, 02:00 to 03:00 does not come on 2026-03-29 and comes twice on 2026-10-25.
fn both_nights(line: &str) -> [Vec<String>; 2] {
    let schedule = schedule(line, "Europe/Copenhagen");
    [("2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z"), ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z")]
        .map(|(from, to)| ticks_between(&schedule, from, to))
}

#[test]
fn a_fixed_time_in_the_hour_that_is_skipped_or_comes_twice_comes_once() {
    let [forward, back] = both_nights("0 30 2 * * *");
    assert_eq!(forward, ["28 01:30:00", "29 01:00:00", "30 00:30:00"]);
    assert_eq!(back, ["25 00:30:00", "26 01:30:00"]);
}

#[test]
fn several_fixed_times_in_that_hour_are_each_held_to_it() {
    let [forward, back] = both_nights("0 0,30 2 * * *");
    assert_eq!(
        forward,
        [
            "28 01:00:00",
            "28 01:30:00",
            // Both right after the gap, which is one moment.
            "29 01:00:00",
            "30 00:00:00",
            "30 00:30:00"
        ]
    );
    assert_eq!(back, ["25 00:00:00", "25 00:30:00", "26 01:00:00", "26 01:30:00"]);
    let [forward, _] = both_nights("0 0 1,2,4 * * *");
    assert_eq!(forward[2..5], ["29 00:00:00", "29 01:00:00", "29 02:00:00"]);
}

#[test]
fn a_time_table_of_every_so_often_goes_on_through_the_hour_that_comes_twice() {
    let half_hourly = schedule("0 */30 * * * *", "Europe/Copenhagen");
    assert_eq!(
        ticks_between(&half_hourly, "2026-10-24T23:45:00Z", "2026-10-25T02:15:00Z"),
        ["25 00:00:00", "25 00:30:00", "25 01:00:00", "25 01:30:00", "25 02:00:00"]
    );
}

#[test]
fn a_fraction_of_a_second_does_not_shift_the_ticks() {
    let often = schedule("*/2 * * * * *", "UTC");
    assert_eq!(often.next_after(at("2026-01-01T00:00:00.500Z")), Some(at("2026-01-01T00:00:02Z")));
    assert_eq!(often.next_after(at("2026-01-01T00:00:01.999Z")), Some(at("2026-01-01T00:00:02Z")));
}

#[test]
fn the_interval_is_the_longest_gap() {
    const DAY: u64 = 86_400;
    let from = at("2026-01-15T10:20:30Z");
    for (line, seconds) in [
        ("0 0 * * * *", 3_600),
        ("* * * * * *", 1),
        ("*/2 * * * * *", 2),
        ("0 0 9,17 * * *", 16 * 3_600),
        ("0 0 8-18 * * *", 14 * 3_600),
        ("0 0 3 * * *", DAY),
        ("0 0 3 * * MON-FRI", 3 * DAY),
        ("0 0 0 1 * *", 31 * DAY),
        // 2096 to 2104: the century has no leap day.
        ("0 0 0 29 2 *", 2_921 * DAY),
    ] {
        assert_eq!(schedule(line, "UTC").interval(from).as_secs(), seconds, "{line}");
    }
}

#[test]
fn lines_that_are_no_schedule_are_refused() {
    use ScheduleError::{Field, Fields, Never};
    for (line, error) in [
        ("", Fields(0)),
        ("* * * * *", Fields(5)),
        ("0 0 * * * * *", Fields(7)),
        ("@hourly", Fields(1)),
        ("0 @hourly * * * *", Field),
        ("60 0 * * * *", Field),
        ("0 0 25 * * *", Field),
        ("0 0 3,25 * * *", Field),
        ("0 0 , * * *", Field),
        ("0 0 1,,2 * * *", Field),
        ("0 */0 * * * *", Field),
        ("0 0 * * * funday", Field),
        ("0 0 ½ * * *", Field),
        ("0 0 0 30 2 *", Never),
        ("0 0 1,2 31 4,6 *", Never),
    ] {
        let parsed = CronSchedule::parse(line, TimeZone::UTC, at("2026-01-01T00:00:00Z"));
        assert_eq!(parsed.unwrap_err(), error, "{line}");
    }
    for line in ["0 30 2 * * MON-FRI", "0 0 0 29 2 *", "0 0 4 L * *"] {
        schedule(line, "UTC");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_panics(text in "[0-9*/,#LW?+A-Z-]{1,5}( [0-9*/,#LW?+-]{1,4}){5}") {
        let _ = CronSchedule::parse(&text, TimeZone::UTC, DateTime::UNIX_EPOCH);
    }

    #[test]
    fn ticks_go_forward_in_every_zone(
        seconds in 1_600_000_000_i64..4_000_000_000,
        zone: prop::sample::Index,
        fixed: bool,
    ) {
        let line = if fixed { "0 15,30 1 * * *" } else { "0 */20 * * * *" };
        let names: Vec<_> = jiff::tz::db().available().collect();
        prop_assert!(names.len() > 400);
        let zone = TimeZone::get(zone.get(&names).as_str()).unwrap();
        let now = DateTime::from_timestamp(seconds, 0).unwrap();
        let next = CronSchedule::parse(line, zone, now).unwrap().next_after(now).unwrap();
        prop_assert!(next > now);
        let most = TimeDelta::hours(if fixed { 26 } else { 3 });
        prop_assert!(next - now <= most);
    }
}

#[test]
fn jitter_is_fixed_below_its_limit_and_differs_between_hosts() {
    let (most, hour) = (Duration::from_mins(5), Duration::from_hours(1));
    assert_eq!(jitter(b"a", most, hour), jitter(b"a", most, hour));
    assert_eq!(jitter(b"a", Duration::ZERO, hour), Duration::ZERO);
    let mut halves = [0, 0];
    for host in 0..1000_u32 {
        let delay = jitter(&host.to_be_bytes(), most, hour);
        assert!(delay < most);
        assert!(jitter(&host.to_be_bytes(), most, Duration::from_secs(2)).as_millis() < 200);
        halves[usize::from(delay >= most / 2)] += 1;
    }
    assert!(halves.iter().all(|half| *half > 400), "{halves:?}");
}

struct TestClock(Arc<Mutex<DateTime<Utc>>>);

impl TestClock {
    fn set(&self, to: DateTime<Utc>) {
        *self.0.lock().unwrap() = to;
    }
}

fn clocked(line: &str, start: &str, jitter: Duration) -> (Ticks, TestClock) {
    let time = Arc::new(Mutex::new(at(start)));
    let clock = Arc::clone(&time);
    let ticks = Ticks::new(schedule(line, "UTC"), jitter, Box::new(move || *clock.lock().unwrap()));
    (ticks, TestClock(time))
}

#[test]
fn each_tick_is_told_once_and_shifted_by_the_jitter() {
    let (mut ticks, time) = clocked("0 0 * * * *", "2026-01-01T11:30:00Z", Duration::from_secs(90));
    assert_eq!(ticks.next(), at("2026-01-01T12:01:30Z"));
    time.set(at("2026-01-01T12:01:29.999Z"));
    assert_eq!(ticks.count_due(), 0);
    time.set(at("2026-01-01T12:01:30.001Z"));
    assert_eq!(ticks.count_due(), 1);
    assert_eq!(ticks.count_due(), 0);
    assert_eq!(ticks.next(), at("2026-01-01T13:01:30Z"));
}

#[test]
fn ticks_that_nobody_took_are_counted() {
    let (mut ticks, time) = clocked("*/2 * * * * *", "2026-01-01T00:00:01Z", Duration::ZERO);
    time.set(at("2026-01-01T00:00:02Z"));
    assert_eq!(ticks.count_due(), 1);
    time.set(at("2026-01-01T00:00:09Z"));
    assert_eq!(ticks.count_due(), 3);
    assert_eq!(ticks.count_due(), 0);
    assert_eq!(ticks.next(), at("2026-01-01T00:00:10Z"));
}

#[test]
fn a_machine_that_slept_runs_once_when_it_wakes() {
    let (mut ticks, time) = clocked("0 0 * * * *", "2026-01-01T11:30:00Z", Duration::ZERO);
    time.set(at("2026-01-02T11:30:00Z"));
    assert_eq!(ticks.count_due(), 24);
    assert_eq!(ticks.count_due(), 0);
    time.set(at("2126-01-02T11:30:00Z"));
    assert_eq!(ticks.count_due(), MAX_MISSED);
    assert_eq!(ticks.next(), at("2126-01-02T12:00:00Z"));
}

#[test]
fn a_clock_set_back_neither_repeats_a_tick_nor_silences_the_schedule() {
    let (mut ticks, time) = clocked("0 0 * * * *", "2026-01-01T11:59:00Z", Duration::ZERO);
    time.set(at("2026-01-01T12:00:00Z"));
    assert_eq!(ticks.count_due(), 1);
    time.set(at("2026-01-01T11:59:58Z"));
    assert_eq!(ticks.count_due(), 0);
    time.set(at("2026-01-01T12:00:01Z"));
    assert_eq!(ticks.count_due(), 0, "12:00 has been told");
    time.set(at("2020-01-01T00:10:00Z"));
    assert_eq!(ticks.count_due(), 0);
    assert_eq!(ticks.next(), at("2020-01-01T01:00:00Z"));
}
