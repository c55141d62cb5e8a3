//! What the demo does and says: the made-up people, what happens to them between the runs, and the words for it. No I/O.

use std::fmt::Write as _;
use std::time::Duration;

use super::people::{DemoConsent, DemoConsents, family_name};
use crate::store::RunRow;

pub const PEOPLE: u64 = 1_200;

const MARIA: &str = "Maria@example.com";
/// Where she stands in the list at the start.
const MARIA_AT: usize = 60;
/// Listed while the API is in trouble.
const SHORT_LIST: usize = 300;

pub const ASK_RUNS: &str = "\
select id, items, added, missing, removed, returned,
  absence, removals_withheld as withheld, active
from sync_runs order by id;";

/// The README's question about one person, shorter by a column.
pub const ASK_MARIA: &str = "\
select h.run_id, h.change, h.before ->> 'full_name' as name_before
from consent_history h join consents c on c.consent_key = h.consent_key
where lower(c.email) = lower('Maria@example.com')
order by h.changed_at, h.id;";

pub const ASK_FEED: &str = "\
select state, substr(consent_key, 1, 8) as key, email, full_name, mailable
from consent_feed order by changed_at desc, consent_key limit 3;";

/// What happens at Understory before a run, and what is said of it.
pub struct DemoStep {
    pub says: &'static str,
    pub change: fn(&mut DemoConsents),
    pub run: &'static str,
}

pub const STEPS: [DemoStep; 5] = [
    DemoStep { says: "", change: |_| {}, run: "First run" },
    DemoStep {
        says: "Then 12 people agree, 6 change their name, one consent gets a field that nobody knew, and 3 people \
            withdraw, Maria among them.",
        change: change_people,
        run: "Second run",
    },
    DemoStep {
        says: "Then the API suddenly lists 300 of 1,209 people.",
        change: |consents| consents.iter_mut().skip(SHORT_LIST).for_each(|consent| consent.listed = false),
        run: "Third run",
    },
    DemoStep {
        says: "Then the list is whole again. Those who withdrew are still not in it.",
        change: |consents| consents.iter_mut().for_each(|consent| consent.listed = true),
        run: "Fourth run",
    },
    DemoStep {
        says: "Then Maria agrees again, under a new name.",
        change: |consents| consents.push(DemoConsent { full_name: "Maria Ørsted".to_owned(), ..maria() }),
        run: "Fifth run",
    },
];

fn maria() -> DemoConsent {
    let other = DemoConsent::made_up(MARIA_AT as u64);
    DemoConsent { email: MARIA.to_owned(), full_name: "Maria Lindqvist".to_owned(), ..other }
}

/// The people before the first run.
pub fn initial_people() -> DemoConsents {
    let mut consents: DemoConsents = (0..PEOPLE).map(DemoConsent::made_up).collect();
    if let Some(place) = consents.get_mut(MARIA_AT) {
        *place = maria();
    }
    consents
}

/// Spread over the list, so that the changes lie on several pages.
fn change_people(consents: &mut DemoConsents) {
    for (number, consent) in (0..).zip(consents.iter_mut().skip(7).step_by(173).take(6)) {
        let given = consent.full_name.split(' ').next().unwrap_or("Emma").to_owned();
        consent.full_name = format!("{given} {}-{}", family_name(number), family_name(number + 9));
    }
    if let Some(consent) = consents.get_mut(500) {
        consent.preferred_language = Some("da");
    }
    for index in [860, 460, MARIA_AT] {
        consents.remove(index);
    }
    consents.extend((PEOPLE..PEOPLE + 12).map(DemoConsent::made_up));
}

/// Who asks to be erased: one of those who came last.
pub fn erased_address() -> String {
    DemoConsent::made_up(PEOPLE + 3).email
}

pub fn render_start(base_url: &str, database: &str) -> String {
    format!(
        "The whole job, against a made-up Understory API on this machine.\n\n  \
         API       {base_url} ({} made-up people)\n  database  {database}\n",
        grouped(PEOPLE.cast_signed())
    )
}

/// One run in a sentence, and its message indented.
pub fn render_run(name: &str, run: &RunRow, took: Duration) -> String {
    let (pages, items) = (grouped(run.pages), grouped(run.items));
    let mut line = format!("{name}, {:.1} s: {pages} pages, {items} consents", took.as_secs_f64());
    for (count, word) in [
        (run.added, "added"),
        (run.updated, "updated"),
        (run.returned, "returned"),
        (run.unchanged, "unchanged"),
        (run.missing, "missing"),
        (run.removed, "removed"),
    ] {
        if count > 0 {
            let _ = write!(line, ", {} {word}", grouped(count));
        }
    }
    let error = run.error.as_ref().map(|error| wrap("  ", error));
    wrap("", &line) + &error.unwrap_or_default()
}

pub fn render_erasure(address: &str) -> String {
    format!(
        "A person asks to be erased, and nobody may bring them back:\n    \
         understory-sync forget {address}\n\
         What readers of the change feed learn of it, newest first:\n"
    )
}

pub fn render_next(database: &str) -> String {
    format!(
        "Look around: sqlite3 {database} 'select * from active_consents limit 9'\n\
         With your own company (Understory Backoffice: Settings > Integrations):\n    \
         understory-sync init\n"
    )
}

pub fn render_serving(page: &str, database: &str) -> String {
    format!(
        "Status page: {page} (metrics: {page}metrics)\n\
         A run every minute into {database}, until Ctrl-C.\n"
    )
}

/// `1,209`; no count is negative.
fn grouped(number: i64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
    }
}

/// Lines of at most 80 columns, all but the first indented by two.
pub fn wrap(indent: &str, text: &str) -> String {
    let mut out = indent.to_owned();
    let mut column = indent.len();
    for (index, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > 80 {
            out.push_str("\n  ");
            column = 2;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_change_as_it_is_told() {
        let before = initial_people();
        let mut after = before.clone();
        change_people(&mut after);
        let kept: Vec<_> =
            before.iter().filter_map(|old| Some((old, after.iter().find(|new| new.id == old.id)?))).collect();
        assert_eq!((before.len() - kept.len(), after.len()), (3, 1_209));
        let renamed = kept.iter().filter(|(old, new)| old.full_name != new.full_name);
        let changed = kept.iter().filter(|(old, new)| old != new);
        assert_eq!((renamed.count(), changed.count()), (6, 7));
        assert!(!after.iter().any(|consent| consent.email == MARIA));
        assert!(after.iter().any(|consent| consent.email == erased_address()));
    }

    #[test]
    fn a_run_and_its_message_fit_a_terminal() {
        let run = RunRow {
            outcome: "succeeded".into(),
            pages: 13,
            items: 1_209,
            added: 12,
            updated: 7,
            unchanged: 1_190,
            missing: 3,
            error: Some("many words ".repeat(12)),
            ..RunRow::default()
        };
        let text = render_run("Second run", &run, Duration::from_millis(312));
        let first = "Second run, 0.3 s: 13 pages, 1,209 consents, 12 added, 7 updated, 1,190\n  unchanged, 3 missing\n";
        assert!(text.starts_with(first), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
