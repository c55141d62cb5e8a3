//! Notifications: what is told, when, and in which words. Pure.

use serde_json::{Value, json};

use crate::config::NotifyFormat;
use crate::invocation::Invocation;
use crate::store::{Notification, NotificationState, Timestamp};

use super::text::counted;
use super::view::{reason, withheld_advice};

/// The same trouble is told again after so long.
const REPEAT_AFTER_MILLIS: i64 = 24 * 3_600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    RemovalsWithheld,
    RunsFailing,
    Recovered,
    Test,
}

impl Event {
    /// As messages and the database name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RemovalsWithheld => "removals_withheld",
            Self::RunsFailing => "runs_failing",
            Self::Recovered => "recovered",
            Self::Test => "test",
        }
    }
}

/// One message. No personal data, no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub event: Event,
    pub at: Timestamp,
    pub company: Option<String>,
    pub message: String,
    pub next_step: Option<String>,
    pub counts: Vec<(&'static str, i64)>,
    /// What the next message about the same is compared with.
    pub amount: i64,
}

impl Notice {
    fn new(event: Event, company: Option<&str>, at: Timestamp, message: String) -> Self {
        let company = company.map(str::to_owned);
        Self { event, at, company, message, next_step: None, counts: Vec::new(), amount: 0 }
    }

    pub fn test(company: Option<&str>, at: Timestamp) -> Self {
        let message = "This is a test message of understory-sync. Notifications arrive here.";
        Self::new(Event::Test, company, at, message.to_owned())
    }

    /// The content's type, and the content.
    pub fn body(&self, format: NotifyFormat) -> (&'static str, String) {
        match format {
            NotifyFormat::Json => ("application/json", self.to_json().to_string()),
            NotifyFormat::Slack => {
                let text = self.plain().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                ("application/json", json!({ "text": text }).to_string())
            }
            NotifyFormat::Text => ("text/plain; charset=utf-8", self.plain()),
        }
    }

    fn to_json(&self) -> Value {
        let counts: serde_json::Map<String, Value> =
            self.counts.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect();
        json!({
            "event": self.event.name(),
            "at": self.at,
            "company_id": self.company,
            "message": self.message,
            "next_step": self.next_step,
            "counts": counts,
        })
    }

    fn plain(&self) -> String {
        let company = self.company.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
        let step = self.next_step.as_ref().map(|step| format!("\n{step}")).unwrap_or_default();
        format!("understory-sync{company}: {}{step}", self.message)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    pub notices: Vec<Notice>,
    /// Troubles that have ended while another goes on: told at once when they come back.
    pub ended: Vec<&'static str>,
    /// Nothing is wrong and no trouble was told: what is remembered of one can be forgotten.
    pub forget: bool,
}

/// Decides after a run. `after_failures` is `notify.after_failures`.
pub fn due(state: &NotificationState, after_failures: u32, now: Timestamp, how: &Invocation) -> Due {
    let failing = state.failures >= i64::from(after_failures);
    let troubles = [
        (Event::RemovalsWithheld, state.withheld > 0, state.withheld),
        (Event::RunsFailing, failing, state.failures),
    ];
    let mut due = Due::default();
    for (event, holds, amount) in troubles {
        let told = state.told(event.name());
        // A run that has not evaluated removals says nothing about those that were withheld before.
        let undecided = event == Event::RemovalsWithheld && state.deferred;
        if holds && is_due(event, told, amount, now) {
            due.notices.push(trouble(event, amount, state, now, how));
        } else if !holds && !undecided && told.is_some_and(|told| told.amount > 0) {
            due.ended.push(event.name());
        }
    }
    if state.withheld == 0 && state.failures == 0 && !state.deferred {
        let known = || troubles.iter().filter_map(|(event, ..)| state.told(event.name()));
        let told = known().any(|told| told.sent_at.is_some());
        due.ended.clear();
        due.forget = !told && known().next().is_some();
        if told {
            due.notices.push(recovered(state, now));
        }
    }
    due
}

fn is_due(event: Event, told: Option<&Notification>, amount: i64, now: Timestamp) -> bool {
    let Some((told, sent_at)) = told.and_then(|told| Some((told, told.sent_at?))) else {
        return true;
    };
    let doubled =
        told.amount == 0 || event == Event::RemovalsWithheld && amount >= told.amount.saturating_mul(2);
    doubled || now.millis() - sent_at.millis() >= REPEAT_AFTER_MILLIS
}

fn trouble(event: Event, amount: i64, state: &NotificationState, now: Timestamp, how: &Invocation) -> Notice {
    let (message, next_step, kind) = if event == Event::RemovalsWithheld {
        let (message, line) = withheld_advice(amount, state.active, how);
        (message, line, "withheld")
    } else {
        let error = reason(state.last_error.as_deref());
        let runs = counted(amount, "run has failed", "runs in a row have failed");
        let message =
            format!("{runs}. The last error: {error}. The table keeps what it holds. To see the state, run:");
        (message, how.line("status"), "failed_runs")
    };
    let counts = vec![(kind, amount), ("active", state.active)];
    let notice = Notice::new(event, state.company.as_deref(), now, message);
    Notice { next_step: Some(next_step), counts, amount, ..notice }
}

fn recovered(state: &NotificationState, now: Timestamp) -> Notice {
    let active = counted(state.active, "active consent", "active consents");
    let message = format!("All is well again: the last run succeeded and nothing is withheld. {active}.");
    let notice = Notice::new(Event::Recovered, state.company.as_deref(), now, message);
    Notice { counts: vec![("active", state.active)], ..notice }
}

#[cfg(test)]
#[path = "notice_tests.rs"]
mod tests;
