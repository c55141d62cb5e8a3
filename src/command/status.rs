//! `status [--json]`: the state in the terminal, the same as on the status page.

use crate::observe::view::View;

/// The text to print. An unhealthy state is a result, not a failure of this command.
pub fn run(view: &View<'_>, json: bool) -> String {
    if json { format!("{:#}\n", view.to_json()) } else { view.to_text() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Health;
    use crate::observe::view::Installation;
    use crate::store::{Snapshot, Timestamp};

    #[test]
    fn both_forms_tell_the_same_state() {
        let installation = Installation {
            health: Health {
                stale_after: Duration::from_hours(2),
                absence_after: Duration::from_hours(168),
                heartbeat_url: None,
            },
            run_timeout: None,
            database: "understory.db".to_owned(),
            config_file: None,
            company_id: None,
            notifies: false,
        };
        let view = View {
            snapshot: &Snapshot::default(),
            installation: &installation,
            next_run: None,
            now: Timestamp::default(),
        };
        assert!(
            run(&view, false)
                .starts_with("There is no database at understory.db yet: waiting for the first run.")
        );
        let json: serde_json::Value = serde_json::from_str(&run(&view, true)).unwrap_or_default();
        assert_eq!(json["healthy"], false);
        assert_eq!(json["reasons"][0], "no run has been complete yet");
        assert_eq!(json["next_run_at"], serde_json::Value::Null);
    }
}
