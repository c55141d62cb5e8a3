//! This machine's clock against the API's: a run with a wrong clock stores nothing (contract 5.12).

use chrono::TimeDelta;

use super::RunError;
use crate::api::ServerTimes;
use crate::store::{Store, StoreError, Timestamp};

/// A clock that is further off ends the run.
const MAX_OFFSET: TimeDelta = TimeDelta::days(1);
/// A clock that is further off is warned of.
const WARN_OFFSET: TimeDelta = TimeDelta::minutes(5);
/// Two servers that differ by more do not confirm each other. The reading of a token can be as old as the token, and a
/// machine that was suspended meanwhile has not counted that time.
const MAX_DISAGREEMENT: TimeDelta = TimeDelta::hours(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    /// Off by less than a day: the other time.
    Inexact(Timestamp),
    Wrong(Timestamp),
    /// Both servers name another time than this machine and than each other.
    Disputed(Timestamp),
    Unknown,
}

fn compare(machine: Timestamp, times: ServerTimes) -> Verdict {
    let off = |time: Timestamp| (time.to_utc() - machine.to_utc()).abs();
    let [token, api] = [times.token, times.api].map(|time| time.map(Timestamp::new));
    let time = match (token, api) {
        (None, None) => return Verdict::Unknown,
        (Some(token), Some(api)) if (token.to_utc() - api.to_utc()).abs() > MAX_DISAGREEMENT => {
            return if off(token).min(off(api)) > WARN_OFFSET {
                Verdict::Disputed(api)
            } else {
                Verdict::Right
            };
        }
        (_, Some(api)) => api,
        (Some(token), None) => token,
    };
    match off(time) {
        off if off > MAX_OFFSET => Verdict::Wrong(time),
        off if off > WARN_OFFSET => Verdict::Inexact(time),
        _ => Verdict::Right,
    }
}

/// Compares the clocks once per run, before the first page is stored.
#[derive(Debug, Default)]
pub(super) struct ClockCheck {
    has_warned: bool,
}

impl ClockCheck {
    /// Whether the machine's clock could be checked. Where no answer named a time, PostgreSQL's clock stands in.
    ///
    /// # Errors
    /// [`RunError::WrongClock`]; else what the database says.
    pub(super) async fn check(
        &mut self,
        times: ServerTimes,
        store: Option<&mut Store>,
    ) -> Result<bool, RunError> {
        let mut verdict = compare(Timestamp::now(), times);
        if verdict == Verdict::Unknown
            && let Some(time) = database_time(store).await?
        {
            verdict = compare(Timestamp::now(), ServerTimes { token: None, api: Some(time.to_utc()) });
        }
        let machine = Timestamp::now();
        match verdict {
            Verdict::Right => Ok(true),
            Verdict::Inexact(time) => {
                tracing::warn!(
                    "this machine's clock says {machine}, the server's {time}: set it, for example with NTP"
                );
                Ok(true)
            }
            Verdict::Wrong(time) => Err(RunError::WrongClock { machine, time }),
            Verdict::Disputed(time) => {
                tracing::warn!(
                    "this machine's clock ({machine}) could not be checked: the token endpoint and the API ({time}) name different times; retention is not applied"
                );
                Ok(false)
            }
            Verdict::Unknown => {
                if !std::mem::replace(&mut self.has_warned, true) {
                    tracing::warn!(
                        "this machine's clock could not be checked: the API's answers have no Date; retention is not applied"
                    );
                }
                Ok(false)
            }
        }
    }
}

async fn database_time(store: Option<&mut Store>) -> Result<Option<Timestamp>, StoreError> {
    match store {
        Some(store) => store.server_time().await,
        None => Ok(None),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_wrong_where_both_servers_say_so_and_agree() {
        const MINUTE: i64 = 60;
        const DAY: i64 = 86_400;
        let machine: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let at = |seconds: i64| machine.plus_millis(seconds * 1000);
        for (token, api, expected) in [
            (None, None, Verdict::Unknown),
            (Some(0), Some(0), Verdict::Right),
            (Some(-5 * MINUTE), Some(5 * MINUTE), Verdict::Right),
            (None, Some(6 * MINUTE), Verdict::Inexact(at(6 * MINUTE))),
            (Some(-DAY), Some(-DAY), Verdict::Inexact(at(-DAY))),
            (Some(2 * DAY), Some(2 * DAY + MINUTE), Verdict::Wrong(at(2 * DAY + MINUTE))),
            (Some(-3653 * DAY), Some(-3653 * DAY), Verdict::Wrong(at(-3653 * DAY))),
            (Some(2 * DAY), None, Verdict::Wrong(at(2 * DAY))),
            (None, Some(2 * DAY), Verdict::Wrong(at(2 * DAY))),
            // One of them agrees with this machine.
            (Some(2 * DAY), Some(0), Verdict::Right),
            (Some(0), Some(2 * DAY), Verdict::Right),
            (Some(2 * DAY), Some(5 * DAY), Verdict::Disputed(at(5 * DAY))),
        ] {
            let [token, api] = [token, api].map(|seconds| seconds.map(|seconds| at(seconds).to_utc()));
            assert_eq!(compare(machine, ServerTimes { token, api }), expected, "{token:?} {api:?}");
        }
    }
}
