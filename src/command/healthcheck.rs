//! `healthcheck`: is the last complete run fresh enough? For a container's HEALTHCHECK; asks the database only.

use std::fmt::Display;

use crate::config::Health;
use crate::exit::Exit;
use crate::observe::health;
use crate::store::{Snapshot, Timestamp};

/// What to print, and 0 or 1: a HEALTHCHECK knows no other numbers, so a database that does not answer is a 1 too.
pub fn run<E: Display>(snapshot: Result<&Snapshot, E>, health: &Health, now: Timestamp) -> (String, Exit) {
    match health::verdict(snapshot, health, now) {
        Ok(()) => ("ok\n".to_owned(), Exit::Done),
        Err(reasons) => (reasons, Exit::Unhealthy),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::RunRow;

    #[test]
    fn healthcheck_ends_with_0_or_1_and_says_why() {
        let health = Health {
            stale_after: Duration::from_hours(2),
            absence_after: Duration::from_hours(168),
            heartbeat_url: None,
        };
        let now = Timestamp::default().plus_millis(7_200_000);
        let fresh = Snapshot {
            last_complete: Some(RunRow {
                finished_at: Some(Timestamp::default().plus_millis(1)),
                ..RunRow::default()
            }),
            ..Snapshot::default()
        };
        let empty = Snapshot::default();
        let run = |snapshot| super::run(snapshot, &health, now);
        assert_eq!(run(Ok::<_, &str>(&fresh)), ("ok\n".to_owned(), Exit::Done));
        assert_eq!(run(Ok(&empty)), ("no run has been complete yet\n".to_owned(), Exit::Unhealthy));
        assert_eq!(
            run(Err("the database cannot be reached")),
            ("the database cannot be reached\n".to_owned(), Exit::Unhealthy)
        );
    }
}
