//! `accept-removals N`: lets the next complete run mark up to N consents that the removal guard would withhold.

use std::io::Write;

use super::error::CommandError;
use crate::config::Config;
use crate::exit::Exit;
use crate::observe::text::{counted, thousands};
use crate::store::{Store, Timestamp};

/// Records the permission and says what it means. Neither the API nor a secret is needed, and a run may be under way.
pub async fn run(
    config: &Config,
    removals: u64,
    by: &str,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let store = Store::open_beside_run(&config.database).await?;
    let place = store.place();
    let withheld =
        store.close_after(async |store| store.accept_removals(removals, by, Timestamp::now()).await).await?;
    writeln!(out, "{}", describe(removals, withheld, &place))?;
    Ok(Exit::Done)
}

fn describe(removals: u64, withheld: i64, place: &str) -> String {
    let now = match withheld {
        0 => "No removal is withheld at the moment.".to_owned(),
        1 => "1 removal is withheld at the moment.".to_owned(),
        n => format!("{} removals are withheld at the moment.", thousands(n)),
    };
    if removals == 0 {
        return format!("{place}: nothing is accepted any more. {now}");
    }
    let accepted = i64::try_from(removals).unwrap_or(i64::MAX);
    let enough = if accepted < withheld {
        format!(" That is more than you accepted: accept at least {withheld}, or nothing is let through.")
    } else {
        String::new()
    };
    format!(
        "{place}: up to {} accepted, for the next complete run within 24 hours; `accept-removals 0` withdraws it. {now}{enough}",
        counted(accepted, "removal is", "removals are"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_accepted_and_what_waits() {
        for (removals, withheld, told) in [
            (0, 0, "u.db: nothing is accepted any more. No removal is withheld at the moment."),
            (
                1_004,
                1_004,
                "u.db: up to 1,004 removals are accepted, for the next complete run within 24 hours; \
                 `accept-removals 0` withdraws it. 1,004 removals are withheld at the moment.",
            ),
            (
                1,
                2,
                "u.db: up to 1 removal is accepted, for the next complete run within 24 hours; `accept-removals 0` \
                 withdraws it. 2 removals are withheld at the moment. That is more than you accepted: accept at \
                 least 2, or nothing is let through.",
            ),
        ] {
            assert_eq!(describe(removals, withheld, "u.db"), told);
        }
    }
}
