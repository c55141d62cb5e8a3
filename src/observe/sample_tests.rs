//! Snapshots for tests of everything that shows them. No real person, no real run.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::LazyLock;
use std::time::Duration;

use crate::config::Health;
use crate::store::{Counts, RunRow, Snapshot, Timestamp};

use super::view::{Installation, View};

pub(super) static INSTALLATION: LazyLock<Installation> = LazyLock::new(|| Installation {
    health: HEALTH,
    run_timeout: Some(Duration::from_mins(50)),
    database: "/var/lib/understory-sync/understory.db".to_owned(),
    config_file: Some("/etc/understory-sync/config.toml".to_owned()),
    company_id: None,
    notifies: true,
});

const HEALTH: Health = Health {
    stale_after: Duration::from_mins(130),
    absence_after: Duration::from_hours(168),
    heartbeat_url: None,
};

pub(super) fn now() -> Timestamp {
    "2026-11-21T12:04:00Z".parse().unwrap()
}

pub(super) fn view(snapshot: &Snapshot) -> View<'_> {
    View {
        snapshot,
        installation: &INSTALLATION,
        next_run: Some("2026-11-21T13:02:00Z".parse().unwrap()),
        now: now(),
    }
}

/// One ordinary complete run, so many hours before the last.
pub(super) fn run(id: i64, hours_ago: i64) -> RunRow {
    let started = now().plus_millis(-240_000 - 3_600_000 * hours_ago);
    RunRow {
        id,
        started_at: started,
        finished_at: Some(started.plus_millis(3_200 + id % 7 * 100)),
        outcome: "succeeded".to_owned(),
        absence: Some("judged".to_owned()),
        trigger: "schedule".to_owned(),
        endpoint: Some("/v1/grow/consents".to_owned()),
        pages: 104,
        items: 10_345,
        added: id % 5 * 3,
        updated: id % 3,
        unchanged: 10_345 - id % 5 * 3 - id % 3,
        missing: id % 4,
        removed: id % 6,
        active: Some(10_345 - hours_ago * 7),
        requests: 105,
        ..RunRow::default()
    }
}

pub(super) fn well() -> Snapshot {
    let runs: Vec<RunRow> = (0..20).map(|hour| run(142 - hour, hour)).collect();
    let active_over_time = (0..400_i64)
        .map(|hour| {
            let wave = [0, 5, 9, 12, 9, 3, -4, -2][usize::try_from(hour / 9 % 8).unwrap()];
            let at = now().plus_millis(-240_000 - 3_600_000 * (399 - hour));
            (at, 9_420 + hour * 7 / 3 + wave * 4)
        })
        .collect();
    Snapshot {
        exists: true,
        company_id: Some("north".to_owned()),
        last_complete: runs.first().cloned(),
        last_judged_at: runs[0].finished_at,
        consents: Counts { active: 10_345, missing: 12, removed: 131 },
        active_over_time,
        runs,
        ..Snapshot::default()
    }
}

/// The API is down since three hours; before that, 620 people vanished at once.
pub(super) fn troubled() -> Snapshot {
    let mut snapshot = well();
    for run in snapshot.runs.iter_mut().take(3) {
        run.outcome = "failed".to_owned();
        run.absence = None;
        run.active = None;
        (run.pages, run.items, run.added, run.updated) = (41, 4_100, 0, 0);
        (run.missing, run.removed, run.retries) = (0, 0, 4);
        run.error = Some(
            "the API answered 503 to page 42 five times; <try> again later & look at its status page"
                .to_owned(),
        );
    }
    let withheld = &mut snapshot.runs[3];
    withheld.absence = Some("withheld".to_owned());
    withheld.removals_withheld = 2_120;
    withheld.error = Some(
        "2,120 of 10,324 active consents are no longer listed; understory-sync --run-once --accept-removals 2120"
            .to_owned(),
    );
    snapshot.runs[7].outcome = "interrupted".to_owned();
    snapshot.runs[9].absence = Some("blocked".to_owned());
    snapshot.last_complete = Some(snapshot.runs[3].clone());
    snapshot.last_judged_at = snapshot.runs[4].finished_at;
    snapshot.withheld = 2_120;
    snapshot.rejected_items = 1;
    snapshot
}
