//! What is written beside a run: the permission to let withheld removals through, used up by the next run that it helps, and when the
//! daemon runs next.

use super::conn::{execute, row};
use super::snapshot::WITHHELD;
use super::{Store, StoreError, Timestamp};

impl Store {
    /// Keeps a permission for up to `removals`, in place of an older one; 0 withdraws. Gives what the guard keeps now.
    pub async fn accept_removals(
        &mut self,
        removals: u64,
        by: &str,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        const ACCEPT: &str =
            "update sync_state set accepted_removals = $1, accepted_by = $2, accepted_at = $3 where id = 1";
        let removals = (removals > 0).then(|| i64::try_from(removals).unwrap_or(i64::MAX));
        self.write(async |conn| {
            execute!(conn, ACCEPT, removals, removals.map(|_| by), removals.map(|_| now))?;
            let (withheld,): (i64,) = row!(conn, WITHHELD)?;
            Ok(withheld)
        })
        .await
    }

    /// When the daemon runs next; none where it stops.
    pub async fn record_next_run(&mut self, at: Option<Timestamp>) -> Result<(), StoreError> {
        const NEXT: &str = "update sync_state set next_run_at = $1 where id = 1";
        self.write(async |conn| Ok(execute!(conn, NEXT, at).map(drop)?)).await
    }
}
