//! Is it well? One pure rule for `/readyz`, `healthcheck`, `status` and the page.

use std::fmt;
use std::time::Duration;

use crate::config::Health;
use crate::store::{Snapshot, Timestamp};

use super::text;

/// The clocks of two machines may differ by so much; what lies further ahead was recorded by a wrong clock.
const MAX_FUTURE: Duration = Duration::from_mins(5);

/// Why it is not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub text: String,
    /// The key that makes it one, and its value.
    pub limit: Option<(&'static str, Duration)>,
}

impl Reason {
    fn plain(text: String) -> Self {
        Self { text, limit: None }
    }
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

/// Good while the last complete run is younger than `health.stale_after`, and absence was judged within `health.absence_after` or nobody
/// is active.
pub fn verdict(snapshot: &Snapshot, health: &Health, now: Timestamp) -> Result<(), Vec<Reason>> {
    let mut reasons = Vec::new();
    match finished(snapshot) {
        None => reasons.push(Reason::plain("no run has been complete yet".to_owned())),
        Some(at) if text::age(now, at) > MAX_FUTURE => reasons.push(Reason::plain(format!(
            "the last complete run lies in the future ({}): this machine's clock is wrong, or was when it ran",
            text::moment(at),
        ))),
        Some(at) if text::age(at, now) >= health.stale_after => reasons.push(Reason {
            text: format!("the last complete run ended {} ({})", text::relative(at, now), text::moment(at)),
            limit: Some(("health.stale_after", health.stale_after)),
        }),
        Some(_) => {}
    }
    if snapshot.consents.active > 0 {
        match snapshot.last_judged_at {
            None => reasons.push(Reason::plain("no run has judged yet who is absent".to_owned())),
            Some(at) if text::age(now, at) > MAX_FUTURE => reasons.push(Reason::plain(format!(
                "the last run that judged who is absent lies in the future ({}): this machine's clock is wrong, or was when it ran",
                text::moment(at),
            ))),
            Some(at) if text::age(at, now) >= health.absence_after => reasons.push(Reason {
                text: format!("who is absent was last judged {} ({})", text::relative(at, now), text::moment(at)),
                limit: Some(("health.absence_after", health.absence_after)),
            }),
            Some(_) => {}
        }
    }
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
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
            assert_eq!(verdict(&snapshot, &HEALTH, now()), Ok(()));
        }
    }

    #[test]
    fn every_reason_is_told() {
        let reasons = |complete, judged, active| {
            let reasons = verdict(&snapshot(complete, judged, active), &HEALTH, now()).unwrap_err();
            reasons.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(reasons(None, None, 0), ["no run has been complete yet"]);
        assert_eq!(
            reasons(Some(130), Some(10_080), 1),
            [
                "the last complete run ended 2 h ago (2026-11-21 09:50:00 UTC), longer ago than health.stale_after allows (2 h 10 min)",
                "who is absent was last judged 7 d ago (2026-11-14 12:00:00 UTC), longer ago than health.absence_after allows (7 d)",
            ]
        );
        assert_eq!(
            reasons(Some(-6), Some(-6), 1),
            [
                "the last complete run lies in the future (2026-11-21 12:06:00 UTC): this machine's clock is wrong, or was when it ran",
                "the last run that judged who is absent lies in the future (2026-11-21 12:06:00 UTC): this machine's clock is wrong, or was when it ran",
            ]
        );
        assert_eq!(reasons(Some(1), None, 1), ["no run has judged yet who is absent"]);
    }
}
