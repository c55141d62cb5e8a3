#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);

fn policy(attempts: u32) -> Policy {
    Policy { attempts, base: S, most: S * 60, after_429: S * 60 }
}

#[test]
fn the_delay_follows_its_table() {
    for (failed, ceiling) in [(1, 1), (2, 2), (3, 4), (4, 8), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)] {
        assert_eq!(delay(failed, S, S * 60, 1.0), S * ceiling, "{failed}");
        assert_eq!(delay(failed, S, S * 60, 0.0), Duration::ZERO);
        assert_eq!(delay(failed, S, S * 60, 0.5), S * ceiling / 2);
    }
    assert_eq!(delay(1, S * 90, S * 60, 1.0), S * 60);
}

#[test]
fn retry_after_is_understood_in_every_form() {
    // 1994-11-06 08:49:37 UTC, minus ten seconds.
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 10);
    for (value, seconds) in [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("99999999999999999999999999", Some(FOR_EVER.as_secs())),
        ("18446744073709551615", Some(FOR_EVER.as_secs())),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", Some(10)),
        ("Sun Nov  6 08:49:37 1994", Some(10)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(FOR_EVER.as_secs())),
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
        prop_assert!(delay(failed, base, most, unit) <= most);
    }

    #[test]
    fn no_retry_after_panics_or_is_endless(value in "\\PC{0,40}") {
        prop_assert!(retry_after(&value, SystemTime::UNIX_EPOCH).is_none_or(|wait| wait <= FOR_EVER));
    }

    #[test]
    fn randomness_is_a_fraction(_ in 0..50) {
        prop_assert!((0.0..1.0).contains(&random_unit()));
    }
}

struct Failing {
    made: u32,
    fails: u32,
    fault: fn() -> Fault,
}

impl Attempt for Failing {
    type Output = ();

    async fn make(&mut self, number: u32) -> Result<(), Fault> {
        self.made += 1;
        assert_eq!(self.made, number);
        if number > self.fails { Ok(()) } else { Err((self.fault)()) }
    }
}

/// Fails so many times with this, then succeeds; tells how long it took on the paused clock and how often it tried.
async fn play(
    policy: Policy,
    deadline: Deadline,
    fault: fn() -> Fault,
    fails: u32,
) -> (Result<(), ApiError>, Duration, u32) {
    let begun = Instant::now();
    let mut attempt = Failing { made: 0, fails, fault };
    let outcome = policy.run(Endpoint::Consents, deadline, &mut attempt).await;
    (outcome, begun.elapsed(), attempt.made)
}

fn too_many() -> Fault {
    Cause::Status(429).into()
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_until_the_attempts_are_used_up() {
    let (outcome, took, made) = play(policy(5), Deadline::none(), || Cause::Broken.into(), 4).await;
    assert!(outcome.is_ok() && made == 5 && took <= S * 15);
    let (outcome, _, made) = play(policy(3), Deadline::none(), || Cause::Broken.into(), 9).await;
    assert_eq!(made, 3);
    assert!(matches!(
        outcome,
        Err(ApiError::GaveUp { cause: Cause::Broken, attempts: 3, not_before: None, .. })
    ));
    let (outcome, took, made) = play(policy(5), Deadline::none(), || ApiError::CursorLoop.into(), 9).await;
    assert_eq!((outcome, took, made), (Err(ApiError::CursorLoop), Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_429_never_waits_less_than_its_own_delay() {
    let (outcome, took, _) = play(policy(2), Deadline::none(), too_many, 1).await;
    assert!(outcome.is_ok() && took >= S * 60);
    let short = || Fault::Passing { cause: Cause::Status(429), asked: Some(S) };
    let (outcome, took, _) = play(policy(2), Deadline::none(), short, 1).await;
    assert!(outcome.is_ok() && took >= S * 60);
    let long = || Fault::Passing { cause: Cause::Status(429), asked: Some(S * 100) };
    let (outcome, took, _) = play(policy(2), Deadline::none(), long, 1).await;
    assert!(outcome.is_ok() && took >= S * 100 && took < S * 101);
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_ends_the_call_at_once_and_tells_until_when() {
    let deadline = Deadline::at(Instant::now() + S * 50);
    let (outcome, took, made) = play(policy(5), deadline, too_many, 9).await;
    assert_eq!((took, made), (Duration::ZERO, 1));
    let error = outcome.unwrap_err();
    assert!(matches!(error, ApiError::NoTimeLeft { wait_secs: 60.., .. }));
    assert_eq!(error.not_before(), Some(Instant::now() + S * 60));

    let hour = || Fault::Passing { cause: Cause::Status(503), asked: Some(LONGEST_WAIT) };
    let (outcome, took, _) = play(policy(2), Deadline::none(), hour, 1).await;
    assert!(outcome.is_ok() && took >= LONGEST_WAIT);
    let more = || Fault::Passing { cause: Cause::Status(503), asked: Some(LONGEST_WAIT + S) };
    let (outcome, took, _) = play(policy(2), Deadline::none(), more, 1).await;
    assert_eq!(
        (outcome.unwrap_err().not_before(), took),
        (Some(Instant::now() + LONGEST_WAIT + S), Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_back_off_beyond_the_deadline_ends_the_call_without_a_time_to_wait_for() {
    let slow = Policy { base: S * 1_000_000, most: S * 1_000_000, ..policy(5) };
    let deadline = Deadline::at(Instant::now() + Duration::from_millis(1));
    let (outcome, took, made) = play(slow, deadline, || Cause::Timeout.into(), 9).await;
    assert_eq!((took, made), (Duration::ZERO, 1));
    let error = outcome.unwrap_err();
    assert!(matches!(error, ApiError::NoTimeLeft { not_before: None, .. }));
    assert_eq!(error.exit(), crate::exit::Exit::Retry);
}
