//! Is it healthy? One pure rule for `/readyz`, `healthcheck`, `status` and the page.

use std::fmt;
use std::time::Duration;

use crate::config::Health;
use crate::store::{Snapshot, Timestamp};

use super::text;

/// The clocks of two machines may differ by so much; what lies further ahead was recorded by a wrong clock.
const MAX_FUTURE: Duration = Duration::from_mins(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub text: String,
    /// The key that makes it one, and its value.
    pub limit: Option<(&'static str, Duration)>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.limit {
            Some((key, limit)) => write!(f, ", longer ago than {key} allows ({})", text::duration(limit)),
            None => Ok(()),
        }
    }
}

/// For what was seen of the database, else why it could not be seen: every reason why it is not healthy, one a line.
pub fn verdict(
    seen: Result<&Snapshot, impl fmt::Display>,
    health: &Health,
    now: Timestamp,
) -> Result<(), String> {
    let reasons = match seen {
        Ok(snapshot) => reasons(snapshot, health, now).iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    };
    if reasons.is_empty() { Ok(()) } else { Err(reasons.join("\n") + "\n") }
}

/// Healthy while the last complete run is younger than `health.stale_after`, and removals were evaluated within
/// `health.absence_after` or nobody is active.
pub(super) fn reasons(snapshot: &Snapshot, health: &Health, now: Timestamp) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut check =
        |at: Option<Timestamp>, never: &str, what: &str, ended: &str, key, limit: Duration| match at {
            None => reasons.push(Reason { text: never.to_owned(), limit: None }),
            Some(at) if text::age(now, at) > MAX_FUTURE => reasons.push(Reason {
                text: format!(
                    "{what} lies in the future ({}): this machine's clock is wrong, or was when it ran",
                    text::moment(at)
                ),
                limit: None,
            }),
            Some(at) if text::age(at, now) >= limit => reasons.push(Reason {
                text: format!("{ended} {} ({})", text::relative(at, now), text::moment(at)),
                limit: Some((key, limit)),
            }),
            Some(_) => {}
        };
    check(
        finished(snapshot),
        "no run has been complete yet",
        "the last complete run",
        "the last complete run ended",
        "health.stale_after",
        health.stale_after,
    );
    if snapshot.consents.active > 0 {
        check(
            snapshot.last_judged_at,
            "no run has evaluated removals yet",
            "the last run that evaluated removals",
            "removals were last evaluated",
            "health.absence_after",
            health.absence_after,
        );
    }
    reasons
}

/// When the last complete run ended.
pub(super) fn finished(snapshot: &Snapshot) -> Option<Timestamp> {
    snapshot.last_complete.as_ref()?.finished_at
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::store::{Counts, RunRow};

    const HEALTH: Health = Health {
        stale_after: Duration::from_mins(130),
        absence_after: Duration::from_hours(168),
        heartbeat_url: None,
    };

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn snapshot(complete: Option<i64>, judged: Option<i64>, active: i64) -> Snapshot {
        let minutes_ago = |minutes: i64| now().plus_millis(-60_000 * minutes);
        Snapshot {
            last_complete: complete
                .map(|minutes| RunRow { finished_at: Some(minutes_ago(minutes)), ..RunRow::default() }),
            last_judged_at: judged.map(minutes_ago),
            consents: Counts { active, ..Counts::default() },
            ..Snapshot::default()
        }
    }

    #[test]
    fn fresh_and_judged_is_well() {
        for (complete, judged, active) in
            [(129, Some(129), 5), (0, Some(10_079), 5), (5, None, 0), (-5, Some(-5), 1)]
        {
            let snapshot = snapshot(Some(complete), judged, active);
            assert_eq!(verdict(Ok::<_, String>(&snapshot), &HEALTH, now()), Ok(()));
        }
    }

    #[test]
    fn every_reason_is_told() {
        let reasons = |complete, judged, active| {
            let snapshot = snapshot(complete, judged, active);
            let reasons = verdict(Ok::<_, String>(&snapshot), &HEALTH, now()).unwrap_err();
            reasons.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(reasons(None, None, 0), ["no run has been complete yet"]);
        assert_eq!(
            reasons(Some(130), Some(10_080), 1),
            [
                "the last complete run ended 2 h ago (2026-11-21 09:50:00 UTC), longer ago than health.stale_after allows (2 h 10 min)",
                "removals were last evaluated 7 d ago (2026-11-14 12:00:00 UTC), longer ago than health.absence_after allows (7 d)",
            ]
        );
        assert_eq!(
            reasons(Some(-6), Some(-6), 1),
            [
                "the last complete run lies in the future (2026-11-21 12:06:00 UTC): this machine's clock is wrong, or was when it ran",
                "the last run that evaluated removals lies in the future (2026-11-21 12:06:00 UTC): this machine's clock is wrong, or was when it ran",
            ]
        );
        assert_eq!(reasons(Some(1), None, 1), ["no run has evaluated removals yet"]);
        let unseen = verdict(Err("the database cannot be reached"), &HEALTH, now());
        assert_eq!(unseen, Err("the database cannot be reached\n".to_owned()));
    }
}
