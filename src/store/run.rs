//! One row of `sync_runs`, as a value.

use serde::Serialize;

use super::Timestamp;

/// What made a run begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// A tick of the schedule.
    Schedule,
    Start,
    Signal,
    /// `--run-once`.
    Once,
}

impl Trigger {
    /// As `sync_runs.trigger` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Start => "start",
            Self::Signal => "signal",
            Self::Once => "once",
        }
    }
}

/// A run as the database records it (contract, section 4). Counters are those of the contract, to the letter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct RunRow {
    pub id: i64,
    pub started_at: Timestamp,
    /// When it ended, however it ended.
    pub finished_at: Option<Timestamp>,
    /// `running`, `succeeded`, `failed`, `interrupted`
    pub outcome: String,
    /// `judged`, `withheld`, `blocked`, or none where the pass did not end.
    pub absence: Option<String>,
    /// `schedule`, `start`, `signal`, `once`
    pub trigger: String,
    /// The path that listed the consents.
    pub endpoint: Option<String>,
    pub pages: i64,
    pub items: i64,
    pub added: i64,
    pub updated: i64,
    /// Items equal to their row.
    pub unchanged: i64,
    pub returned: i64,
    /// Items whose row was removed or erased, and whose return is not confirmed.
    pub returns_pending: i64,
    /// Items whose row was stored already in this pass.
    pub duplicates: i64,
    /// Items that cannot be used.
    pub rejected: i64,
    pub suppressed: i64,
    pub foreign_items: i64,
    pub missing: i64,
    /// Rows whose removal was recorded.
    pub removed: i64,
    /// Active rows not listed that the guard kept.
    pub removals_withheld: i64,
    /// Removals that an acceptance let through, and who gave it.
    pub accepted_removals: Option<i64>,
    pub accepted_by: Option<String>,
    /// Active rows after the run.
    pub active: Option<i64>,
    pub requests: i64,
    /// Of those, repeats after a failure.
    pub retries: i64,
    /// What went wrong; never personal data, never a secret.
    pub error: Option<String>,
}

/// What `status`, `healthcheck`, `/readyz`, `/metrics` and the status page are made of. Read without a lock, without personal data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The newest runs, newest first.
    pub runs: Vec<RunRow>,
    /// The last complete run (outcome `succeeded`).
    pub last_complete: Option<RunRow>,
    /// When absence was last judged: `finished_at` of the last run with `absence` = `judged`.
    pub last_judged_at: Option<Timestamp>,
    pub consents: Counts,
    /// Rows with `withheld_since`.
    pub withheld: i64,
    pub rejected_items: i64,
    /// Ids under which erased people are listed, though these were not erased.
    pub renewed: Vec<String>,
    /// How many people these are.
    pub renewed_people: i64,
    /// Listed items whose return waits for confirmation.
    pub returns_pending: i64,
    /// Missing consents whose own page answers 200, and since when the first of them.
    pub unlisted_there: i64,
    pub unlisted_there_since: Option<Timestamp>,
    /// Missing consents whose page gave no clear answer.
    pub lookups_unclear: i64,
    pub lookups_unclear_since: Option<Timestamp>,
    /// (`finished_at`, `active`) of complete runs, oldest first, thinned to at most 400 points.
    pub active_over_time: Vec<(Timestamp, i64)>,
    /// What runs of the last 90 days changed, newest first, without the first load.
    pub changes: Vec<Change>,
    /// Named readers of the change feed.
    pub readers: Vec<super::Reader>,
    /// Since when this is a restored copy whose erasures were not confirmed yet.
    pub restored_at: Option<Timestamp>,
    /// Whether there is a database at all.
    pub exists: bool,
    /// The one whose consents are held; none where there is none yet, or several.
    pub company_id: Option<String>,
    /// When a daemon said that it runs next; none where none is up.
    pub next_run_at: Option<Timestamp>,
    /// The permission that waits for a run, if it is still good.
    pub acceptance: Option<super::Acceptance>,
    /// What was told to the receiver of `notify.url`.
    pub notifications: Vec<super::Notification>,
}

/// What one run changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Change {
    pub started_at: Timestamp,
    pub added: i64,
    pub returned: i64,
    pub updated: i64,
    pub missing: i64,
}

/// How many consents there are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// `missing_since` and `removed_at` null.
    pub active: i64,
    /// `missing_since` set, `removed_at` null.
    pub missing: i64,
    /// `removed_at` set.
    pub removed: i64,
}

impl RunRow {
    /// Adds the items of pages that are being stored.
    pub fn count(&mut self, tally: &crate::reconcile::Tally) {
        let fields = [
            (&mut self.pages, tally.pages),
            (&mut self.items, tally.items),
            (&mut self.added, tally.added),
            (&mut self.updated, tally.updated),
            (&mut self.unchanged, tally.unchanged),
            (&mut self.returned, tally.returned),
            (&mut self.returns_pending, tally.returns_pending),
            (&mut self.duplicates, tally.duplicates),
            (&mut self.rejected, tally.rejected),
            (&mut self.suppressed, tally.suppressed),
            (&mut self.foreign_items, tally.foreign_items),
        ];
        for (field, more) in fields {
            *field += more.cast_signed();
        }
    }

    /// A walk that starts again counts its pages and items anew; what was written stays counted.
    pub fn restart(&mut self) {
        self.pages = 0;
        self.items = 0;
        self.unchanged = 0;
        self.returns_pending = 0;
        self.duplicates = 0;
        self.rejected = 0;
        self.suppressed = 0;
        self.foreign_items = 0;
    }
}
