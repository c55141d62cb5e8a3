//! How things are, for `status` and the status page: one sentence, what to do, the runs. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Health;
use crate::invocation::Invocation;
use crate::store::{Change, RunRow, Snapshot, Timestamp};

use crate::zone;

use super::health::{self, Reason};
use super::report::{changes, near_limit, outcome, took};
use super::text::{age, counted, duration, moment, relative, thousands};

const RUNS_SHOWN: usize = 10;

const IDS_NAMED: usize = 10;

/// A daemon that has not run so long after it said it would is not there.
const DAEMON_GRACE: Duration = Duration::from_mins(5);

/// What stays as it is while this process lives.
#[derive(Debug, Clone)]
pub struct Installation {
    pub health: Health,
    pub run_timeout: Option<Duration>,
    /// The file or server; never a password.
    pub database: String,
    pub config_file: Option<String>,
    pub company_id: Option<String>,
    pub notifies: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub snapshot: &'a Snapshot,
    pub installation: &'a Installation,
    /// When a daemon runs next, as it said itself.
    pub next_run: Option<Timestamp>,
    pub now: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Good,
    /// No run has ended yet.
    Waiting,
    /// Fresh, but somebody should look.
    Watch,
    Bad,
}

/// Something to know or to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    pub text: String,
    /// What to type: a command or a query.
    pub command: Option<String>,
    /// The keys that decide it, with their values where they are known.
    pub detail: Option<String>,
}

impl Note {
    /// Empty: no command, or no detail.
    pub(super) fn new(text: impl Into<String>, command: &str, detail: &str) -> Self {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self { text: text.into(), command: some(command), detail: some(detail) }
    }
}

impl View<'_> {
    pub fn condition(&self) -> Condition {
        if self.snapshot.last_complete.is_none() && self.last_ended().is_none() {
            Condition::Waiting
        } else if self.reasons().is_empty() {
            let is_watched = self.last_failed().is_some() || self.snapshot.withheld > 0;
            if is_watched { Condition::Watch } else { Condition::Good }
        } else {
            Condition::Bad
        }
    }

    pub fn reasons(&self) -> Vec<Reason> {
        health::reasons(self.snapshot, &self.installation.health, self.now)
    }

    pub fn sentence(&self) -> String {
        let as_of = health::finished(self.snapshot).map_or("never yet".to_owned(), |at| self.at(at));
        let waiting = match self.snapshot.withheld {
            0 => None,
            1 => Some("1 removal is waiting for your decision.".to_owned()),
            n => Some(format!("{} removals are waiting for your decision.", thousands(n))),
        };
        match (self.condition(), waiting) {
            (Condition::Waiting, _) => self.waiting_sentence(),
            (Condition::Bad, waiting) => {
                // Without the keys, which stand in the details.
                let texts: Vec<String> = self.reasons().into_iter().map(|reason| reason.text).collect();
                let waiting = waiting.map(|waiting| format!(" {waiting}")).unwrap_or_default();
                format!("Needs attention: {}.{waiting}", texts.join("; "))
            }
            (Condition::Watch, Some(waiting)) => format!("Last full sync {as_of}. {waiting}"),
            (Condition::Watch, None) => {
                format!("The last run failed, but the table is still fresh: as of {as_of}.")
            }
            (Condition::Good, _) => format!(
                "All is well: {} in line with Understory as of {as_of}.",
                counted(self.snapshot.consents.active, "active consent is", "active consents are")
            ),
        }
    }

    fn waiting_sentence(&self) -> String {
        if self.running().is_some() {
            return "The first run is under way.".to_owned();
        }
        if self.snapshot.exists {
            return "Waiting for the first run.".to_owned();
        }
        let database = &self.installation.database;
        let is_server = database.starts_with("PostgreSQL");
        let what = if is_server { "There are no tables in" } else { "There is no database at" };
        format!("{what} {database} yet: waiting for the first run.")
    }

    /// The runs that have ended, the newest first.
    pub fn ended(&self) -> impl Iterator<Item = &RunRow> {
        self.snapshot.runs.iter().filter(|run| run.finished_at.is_some())
    }

    pub fn last_ended(&self) -> Option<&RunRow> {
        self.ended().next()
    }

    /// The newest run that has ended, if it failed.
    fn last_failed(&self) -> Option<&RunRow> {
        self.last_ended().filter(|run| run.outcome == "failed")
    }

    /// Active, missing and removed.
    pub(super) fn counts(&self) -> [String; 3] {
        let consents = self.snapshot.consents;
        [consents.active, consents.missing, consents.removed].map(thousands)
    }

    pub fn running(&self) -> Option<&RunRow> {
        self.snapshot.runs.first().filter(|run| run.outcome == "running")
    }

    /// What to know and to do, the most urgent first.
    pub fn notes(&self) -> Vec<Note> {
        let notes = [
            self.stale_note(),
            self.withheld_note(),
            self.failure_note(),
            self.notification_note(),
            self.deferred_note(),
            self.rejected_note(),
            self.renewed_note(),
            self.slow_note(),
            self.restored_note(),
        ];
        notes.into_iter().flatten().collect()
    }

    /// The limits of a state that needs attention, where no other note says why.
    fn stale_note(&self) -> Option<Note> {
        let limits: Vec<String> = self
            .reasons()
            .iter()
            .filter_map(|reason| reason.limit)
            .map(|(key, limit)| format!("{key} is {}", duration(limit)))
            .collect();
        let is_told_otherwise = self.snapshot.withheld > 0 || self.last_failed().is_some();
        (!limits.is_empty() && !is_told_otherwise).then(|| {
            let text = "No run has been complete, or none has evaluated removals, for too long. To see what is wrong:";
            Note::new(text, "understory-sync check", &limits.join(", "))
        })
    }

    fn withheld_note(&self) -> Option<Note> {
        let Snapshot { withheld: 1.., consents, .. } = self.snapshot else { return None };
        let (text, command) = withheld_advice(self.snapshot.withheld, consents.active, Invocation::current());
        Some(Note::new(text, &command, "removal.max_percent, removal.min_count"))
    }

    fn failure_note(&self) -> Option<Note> {
        let last = self.last_failed()?;
        let before = self.ended().skip(1).take_while(|run| run.outcome == "failed").count();
        let often = if before > 0 { format!(" (and {before} before it)") } else { String::new() };
        let text = format!(
            "Run {}{often} failed: {}. What was stored stays, and the next run tries again. To see what is wrong and how to fix it:",
            last.id,
            reason(last.error.as_deref())
        );
        Some(Note::new(text, "understory-sync check", ""))
    }

    fn notification_note(&self) -> Option<Note> {
        let failed = self.snapshot.notifications.iter().filter(|told| told.failed_at.is_some());
        let told = failed.max_by_key(|told| told.failed_at).filter(|_| self.installation.notifies)?;
        let text = format!(
            "The last notification ({}) did not arrive, {}: {}. It is sent again after the next run. To try the receiver:",
            told.event,
            relative(told.failed_at?, self.now),
            reason(told.error.as_deref())
        );
        Some(Note::new(text, "understory-sync check --notify", "notify.url"))
    }

    fn deferred_note(&self) -> Option<Note> {
        let last = self.last_ended().filter(|run| run.absence.as_deref() == Some("blocked"))?;
        let text = format!(
            "Run {} did not evaluate removals: a record that could not be read might have been anybody. After two such runs they are \
             evaluated nevertheless.",
            last.id
        );
        Some(Note::new(text, "", ""))
    }

    fn rejected_note(&self) -> Option<Note> {
        let n @ 1.. = self.snapshot.rejected_items else { return None };
        let text = format!(
            "{} of the API cannot be used and {} set aside; all others are synced. To see why:",
            counted(n, "record", "records"),
            if n == 1 { "is" } else { "are" }
        );
        let query = "select reason, count(*) from rejected_items where resolved_at is null group by reason";
        Some(Note::new(text, query, ""))
    }

    fn renewed_note(&self) -> Option<Note> {
        let ids = &self.snapshot.renewed;
        let first = ids.first()?;
        let text = format!(
            "{} given consent since: Understory lists {}{}, which {} not erased with them. They stay suppressed. To let one in again:",
            counted(self.snapshot.renewed_people, "erased person has", "erased people have"),
            ids[..ids.len().min(IDS_NAMED)].join(", "),
            if ids.len() > IDS_NAMED { ", …" } else { "" },
            if ids.len() == 1 { "was" } else { "were" }
        );
        Some(Note::new(text, &Invocation::current().line(&format!("forget --undo {first}")), ""))
    }

    fn slow_note(&self) -> Option<Note> {
        let run = self.snapshot.last_complete.as_ref()?;
        let (time, limit) = near_limit(run, self.installation.run_timeout)?;
        let text = format!(
            "Run {} took {}, half or more of the {} that it may take. Raise the limit before runs are cut off.",
            run.id,
            duration(time),
            duration(limit)
        );
        Some(Note::new(text, "", "schedule.run_timeout"))
    }

    fn restored_note(&self) -> Option<Note> {
        let text = format!(
            "This database is a restored copy (noticed {}). Erasures made since the backup must be made again (`forget`); then confirm:",
            moment(self.snapshot.restored_at?)
        );
        Some(Note::new(text, &Invocation::current().line("changes --restored"), ""))
    }

    /// The company whose consents these are, as far as it is known.
    pub fn company(&self) -> Option<&str> {
        self.installation.company_id.as_deref().or(self.snapshot.company_id.as_deref())
    }

    /// What changed on each of the last days in the zone of the schedule, oldest first, today last.
    pub fn days(&self, count: i64) -> Vec<(String, Change)> {
        let day = |at: Timestamp| zone::format_bare_time(at.to_utc(), "%Y-%m-%d");
        // Steps of 23 h meet the short day as well.
        let steps = (0..=count * 24 / 23 + 1).map(|step| day(self.now.plus_millis(step * -82_800_000)));
        let mut days: Vec<(String, Change)> = steps.map(|date| (date, Change::default())).collect();
        days.dedup_by(|one, other| one.0 == other.0);
        days.truncate(usize::try_from(count).unwrap_or(0));
        for change in &self.snapshot.changes {
            let date = day(change.started_at);
            if let Some((_, sum)) = days.iter_mut().find(|(day, _)| *day == date) {
                add_changes(sum, change);
            }
        }
        days.reverse();
        days
    }

    /// Whether the daemon that said when it runs next is still there.
    fn is_daemon_seen(&self) -> bool {
        let late = |at| age(at, self.now) > DAEMON_GRACE;
        self.running().is_some() || self.next_run.is_some_and(|at| !late(at))
    }

    fn next_run_words(&self) -> String {
        match self.next_run {
            None => "not known: no daemon is up".to_owned(),
            Some(at) if self.is_daemon_seen() => self.at(at),
            Some(at) => format!("not known: no daemon seen since {}", self.at(at)),
        }
    }

    fn at(&self, at: Timestamp) -> String {
        format!("{} ({})", moment(at), relative(at, self.now))
    }

    /// What is only worth a line where there is something to it.
    fn waiting_lines(&self) -> Vec<(&'static str, String)> {
        let snapshot = self.snapshot;
        let since = |at: Option<Timestamp>| at.map_or(String::new(), |at| format!(" since {}", self.at(at)));
        let mut lines = Vec::new();
        if let Some(kept) = &snapshot.acceptance {
            let until = kept.ends_at().map(|at| self.at(at)).unwrap_or_default();
            let removals = counted(kept.removals, "removal", "removals");
            lines.push(("Accepted", format!("up to {removals}, by {}, until {until}", kept.by)));
        }
        if let n @ 1.. = snapshot.returns_pending {
            let returns = counted(n, "return waits", "returns wait");
            lines.push(("Returns", format!("{returns} for confirmation")));
        }
        if let n @ 1.. = snapshot.unlisted_there {
            let people = counted(n, "missing person", "missing people");
            let since = since(snapshot.unlisted_there_since);
            lines.push(("Look-ups", format!("{people}, though their pages still answer{since}")));
        }
        if let n @ 1.. = snapshot.lookups_unclear {
            let since = since(snapshot.lookups_unclear_since);
            lines
                .push(("Look-ups", format!("{} without a clear answer{since}", counted(n, "page", "pages"))));
        }
        for reader in &snapshot.readers {
            let state = if reader.refused {
                "must begin anew (changes --forget-reader)".to_owned()
            } else {
                format!("{} behind", duration(Duration::from_secs(reader.lag_seconds.unsigned_abs())))
            };
            lines.push(("Reader", format!("{}: {state}", reader.name)));
        }
        lines
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let none = || "none yet".to_owned();
        let installation = self.installation;
        let file = installation.config_file.as_deref().unwrap_or("no file");
        let mut lines = vec![("Database", installation.database.clone()), ("Settings", file.to_owned())];
        lines.extend(self.company().map(|company| ("Company", company.to_owned())));
        if !self.snapshot.exists {
            return lines;
        }
        let [active, missing, removed] = self.counts();
        lines.push(("Consents", format!("{active} active, {missing} missing, {removed} removed")));
        let running = self.running().map(|run| format!("{}, since {}", run.id, self.at(run.started_at)));
        lines.extend(running.map(|running| ("Running", running)));
        let last = self.last_ended().map_or_else(none, |run| {
            let time = took(run).map(duration).unwrap_or_default();
            let ended = self.at(run.finished_at.unwrap_or(run.started_at));
            format!("{} {}, {ended}, took {time}", run.id, outcome(run))
        });
        let evaluated = self.snapshot.last_judged_at.map_or_else(none, |at| self.at(at));
        lines.push(("Last run", last));
        lines.push(("Next run", self.next_run_words()));
        lines.push(("Removals", format!("last evaluated: {evaluated}")));
        lines.extend(self.waiting_lines());
        lines
    }

    pub fn to_text(&self) -> String {
        let mut page = format!("{}\n", self.sentence());
        for note in self.notes() {
            let _ = write!(page, "\n! {}\n", note.text);
            if let Some(command) = note.command {
                let _ = writeln!(page, "    {command}");
            }
            if let Some(detail) = note.detail {
                let _ = writeln!(page, "  ({detail})");
            }
        }
        page.push('\n');
        for (name, words) in self.lines() {
            let _ = writeln!(page, "{name:<8}  {words}");
        }
        if !self.snapshot.runs.is_empty() {
            page.push('\n');
            let head = ["run", "started", "trigger", "outcome", "took", "active", "changes"];
            push_run(&mut page, &head.map(str::to_owned));
        }
        for run in self.snapshot.runs.iter().take(RUNS_SHOWN) {
            let row = [
                run.id.to_string(),
                moment(run.started_at),
                run.trigger.clone(),
                outcome(run).to_owned(),
                took(run).map(duration).unwrap_or_default(),
                run.active.map(thousands).unwrap_or_default(),
                changes(run),
            ];
            push_run(&mut page, &row);
        }
        page
    }

    /// `status --json`: for scripts; the names do not change.
    pub fn to_json(&self) -> Value {
        let reasons: Vec<String> = self.reasons().iter().map(ToString::to_string).collect();
        json!({
            "healthy": reasons.is_empty(),
            "reasons": reasons,
            "at": self.now,
            "database": self.installation.database,
            "database_exists": self.snapshot.exists,
            "config_file": self.installation.config_file,
            "company_id": self.company(),
            "next_run_at": self.next_run.filter(|_| self.is_daemon_seen()),
            "daemon_seen": self.is_daemon_seen(),
            "acceptance": self.snapshot.acceptance,
            "returns_pending": self.snapshot.returns_pending,
            "unlisted_there": self.snapshot.unlisted_there,
            "unlisted_there_since": self.snapshot.unlisted_there_since,
            "lookups_unclear": self.snapshot.lookups_unclear,
            "lookups_unclear_since": self.snapshot.lookups_unclear_since,
            "notifications": self.snapshot.notifications,
            "feed_readers": self.snapshot.readers,
            "restored_at": self.snapshot.restored_at,
            "consents": self.snapshot.consents,
            "withheld": self.snapshot.withheld,
            "rejected_items": self.snapshot.rejected_items,
            "renewed_consents": self.snapshot.renewed,
            "last_complete": self.snapshot.last_complete,
            "last_judged_at": self.snapshot.last_judged_at,
            "warnings": self.notes(),
            "runs": self.snapshot.runs,
        })
    }
}

fn push_run(page: &mut String, [id, started, trigger, outcome, took, active, changes]: &[String; 7]) {
    let _ = writeln!(
        page,
        "{id:>6}  {started:<26}  {trigger:<8}  {outcome:<11}  {took:>11}  {active:>10}  {changes}"
    );
}

pub(super) fn add_changes(sum: &mut Change, more: &Change) {
    sum.added += more.added;
    sum.returned += more.returned;
    sum.updated += more.updated;
    sum.missing += more.missing;
}

/// What the removal guard keeps, and the line that lets it through.
pub(super) fn withheld_advice(withheld: i64, active: i64, how: &Invocation) -> (String, String) {
    let text = format!(
        "{} of {} no longer listed by Understory, more at once than the removal guard allows. They stay active until you decide, and \
         there may be people among them who withdrew. If they really left, run:",
        thousands(withheld),
        counted(active, "active consent is", "active consents are"),
    );
    (text, how.line_then_run(&format!("accept-removals {withheld}")))
}

/// An error inside a sentence.
pub(super) fn reason(error: Option<&str>) -> &str {
    error.unwrap_or("no reason was recorded").trim_end_matches('.')
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
