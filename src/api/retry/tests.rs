#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::cell::Cell;
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);

fn policy(max_attempts: u32) -> config::Retry {
    config::Retry { max_attempts, base_delay: S, max_delay: S * 60, rate_limit_delay: S * 60 }
}

#[test]
fn the_delay_follows_its_table() {
    for (failed, ceiling) in [(1, 1), (2, 2), (3, 4), (4, 8), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)] {
        assert_eq!(retry_delay(failed, S, S * 60, 1.0), S * ceiling, "{failed}");
        assert_eq!(retry_delay(failed, S, S * 60, 0.0), Duration::ZERO);
        assert_eq!(retry_delay(failed, S, S * 60, 0.5), S * ceiling / 2);
    }
    assert_eq!(retry_delay(1, S * 90, S * 60, 1.0), S * 60);
}

#[test]
fn retry_after_is_understood_in_every_form() {
    // 1994-11-06 08:49:37 UTC, minus ten seconds.
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 10);
    for (value, seconds) in [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("99999999999999999999999999", Some(MAX_RETRY_AFTER.as_secs())),
        ("18446744073709551615", Some(MAX_RETRY_AFTER.as_secs())),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", Some(10)),
        ("Sun Nov  6 08:49:37 1994", Some(10)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(MAX_RETRY_AFTER.as_secs())),
        ("-5", None),
        ("+5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ] {
        assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
    }
}

proptest! {
    #[test]
    fn the_delay_stays_within_its_bounds(failed in 0_u32..100, base in 0_u64..100_000, most in 0_u64..100_000, unit in 0.0..1.0_f64) {
        let (base, most) = (Duration::from_millis(base), Duration::from_millis(most));
        prop_assert!(retry_delay(failed, base, most, unit) <= most);
    }

    #[test]
    fn no_retry_after_panics_or_is_endless(value in "\\PC{0,40}") {
        prop_assert!(retry_after(&value, SystemTime::UNIX_EPOCH).is_none_or(|wait| wait <= MAX_RETRY_AFTER));
    }

    #[test]
    fn randomness_is_a_fraction(_ in 0..50) {
        prop_assert!((0.0..1.0).contains(&random_unit()));
    }
}

/// Fails so many times with this, then succeeds; tells how long it took on the paused clock and how often it tried.
async fn play(
    policy: config::Retry,
    deadline: Deadline,
    fault: fn() -> Fault,
    fails: u32,
) -> (Result<(), ApiError>, Duration, u32) {
    let begun = Instant::now();
    let made = Cell::new(0);
    let outcome = retry(&policy, Endpoint::Consents, deadline, |number| {
        made.set(made.get() + 1);
        assert_eq!(made.get(), number);
        std::future::ready(if number > fails { Ok(()) } else { Err(fault()) })
    });
    (outcome.await, begun.elapsed(), made.get())
}

fn broken() -> Fault {
    Transient::new("the connection broke").into()
}

fn status(status: u16, retry_after: Option<Duration>) -> Fault {
    Transient::status(status, retry_after).into()
}

fn too_many() -> Fault {
    status(429, None)
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_until_the_attempts_are_used_up() {
    let (outcome, took, made) = play(policy(5), Deadline::none(), broken, 4).await;
    assert!(outcome.is_ok() && made == 5 && took <= S * 15);
    let (outcome, _, made) = play(policy(3), Deadline::none(), broken, 9).await;
    assert_eq!(made, 3);
    let error = outcome.unwrap_err();
    assert!(matches!(error, ApiError::GaveUp { not_before: None, .. }));
    assert!(error.to_string().ends_with("the connection broke (3 of 3 attempts failed)"), "{error}");
    let (outcome, took, made) = play(policy(5), Deadline::none(), || ApiError::CursorRefused.into(), 9).await;
    assert_eq!((outcome, took, made), (Err(ApiError::CursorRefused), Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_429_never_waits_less_than_its_own_delay() {
    let (outcome, took, _) = play(policy(2), Deadline::none(), too_many, 1).await;
    assert!(outcome.is_ok() && took >= S * 60);
    let short = || status(429, Some(S));
    let (outcome, took, _) = play(policy(2), Deadline::none(), short, 1).await;
    assert!(outcome.is_ok() && took >= S * 60);
    let long = || status(429, Some(S * 100));
    let (outcome, took, _) = play(policy(2), Deadline::none(), long, 1).await;
    assert!(outcome.is_ok() && took >= S * 100 && took < S * 101);
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_ends_the_call_at_once_and_tells_until_when() {
    let deadline = Deadline::at(Instant::now() + S * 50);
    let (outcome, took, made) = play(policy(5), deadline, too_many, 9).await;
    assert_eq!((took, made), (Duration::ZERO, 1));
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("the wait of 60 s before the next attempt"), "{error}");
    assert_eq!(error.not_before(), Some(Instant::now() + S * 60));

    let hour = || status(503, Some(MAX_WAIT));
    let (outcome, took, _) = play(policy(2), Deadline::none(), hour, 1).await;
    assert!(outcome.is_ok() && took >= MAX_WAIT);
    let more = || status(503, Some(MAX_WAIT + S));
    let (outcome, took, _) = play(policy(2), Deadline::none(), more, 1).await;
    assert_eq!(
        (outcome.unwrap_err().not_before(), took),
        (Some(Instant::now() + MAX_WAIT + S), Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_back_off_beyond_the_deadline_ends_the_call_without_a_time_to_wait_for() {
    let slow = config::Retry { base_delay: S * 1_000_000, max_delay: S * 1_000_000, ..policy(5) };
    let deadline = Deadline::at(Instant::now() + Duration::from_millis(1));
    let (outcome, took, made) = play(slow, deadline, broken, 9).await;
    assert_eq!((took, made), (Duration::ZERO, 1));
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, ApiError::GaveUp { not_before: None, .. }) && error.to_string().contains("deadline")
    );
    assert_eq!(error.exit(), crate::exit::Exit::Retry);
}

#[tokio::test(start_paused = true)]
async fn what_never_passed_ends_as_its_last_failure_says() {
    for (fault, exit) in [
        (broken as fn() -> Fault, 75),
        (|| status(503, None), 75),
        (|| status(429, None), 75),
        (|| Transient::not_json(Endpoint::Consents).into(), 65),
    ] {
        let (outcome, ..) = play(policy(2), Deadline::none(), fault, 9).await;
        assert_eq!(outcome.unwrap_err().exit().code(), exit);
    }
}
