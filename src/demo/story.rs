//! What the demo does and says: the made-up world, how it changes between two runs, and the words for it. No I/O but the removal
//! of the old file.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::people::{Consent, Consents, family_name};
use crate::store::RunRow;

/// Made-up people at the start.
pub const PEOPLE: u64 = 1_200;
/// What SQLite and this program may leave beside a database.
const COMPANIONS: [&str; 5] = ["", "-wal", "-shm", "-journal", ".lock"];

pub const ASK_HISTORY: &str = "\
select run_id, change, count(*) as consents
from consent_history
group by run_id, change
order by run_id, change;";

/// What the second run changed, besides who is new.
pub const ASK_CHANGES: &str = "\
select h.change, c.full_name, h.before ->> 'full_name' as name_before,
  c.extra
from consent_history h join consents c on c.consent_key = h.consent_key
where h.run_id = (select max(id) from sync_runs) and h.change <> 'added'
order by h.change, c.email;";

/// Whom may we write to, and since when is it known?
pub const ASK_ACTIVE: &str = "\
select email, full_name, first_seen_at
from active_consents
order by first_seen_at desc, email
limit 5;";

/// What happened between the two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub joined: usize,
    pub renamed: usize,
    /// People whose consent has a field that nobody knew.
    pub extended: usize,
    /// People who are not listed any more.
    pub left: usize,
}

/// The world before the first run.
pub fn fill() -> Consents {
    (0..PEOPLE).map(Consent::made_up).collect()
}

/// The world between the runs: some come, some change their name, one gets a new field, some go.
pub fn change_the_world(consents: &mut Consents) -> Change {
    // Spread over the list, so that the changes lie on several pages.
    for (number, consent) in (0..).zip(consents.iter_mut().skip(7).step_by(173).take(6)) {
        let given = consent.full_name.split(' ').next().unwrap_or("Emma").to_owned();
        consent.full_name = format!("{given} {}-{}", family_name(number), family_name(number + 9));
    }
    if let Some(consent) = consents.get_mut(500) {
        consent.preferred_language = Some("da");
    }
    for index in [860, 460, 60] {
        consents.remove(index);
    }
    consents.extend((PEOPLE..PEOPLE + 12).map(Consent::made_up));
    Change { joined: 12, renamed: 6, extended: 1, left: 3 }
}

pub fn render_start(base_url: &str, database: &str) -> String {
    format!(
        "The whole job, against a made-up Understory API on this machine.\n\n  \
         API       {base_url} ({} made-up people)\n  database  {database}\n",
        grouped(PEOPLE.cast_signed())
    )
}

/// One run in one line, and what went wrong in a second one.
pub fn render_run(name: &str, run: &RunRow, took: Duration) -> String {
    let mut line = format!(
        "{name}: {} in {:.1} s, {} pages, {} consents",
        run.outcome,
        took.as_secs_f64(),
        grouped(run.pages),
        grouped(run.items)
    );
    for (count, word) in [
        (run.added, "added"),
        (run.updated, "updated"),
        (run.returned, "returned"),
        (run.unchanged, "unchanged"),
        (run.missing, "missing"),
        (run.rejected, "rejected"),
    ] {
        if count > 0 {
            let _ = write!(line, ", {} {word}", grouped(count));
        }
    }
    let mut out = wrap(&line);
    if let Some(error) = &run.error {
        let _ = writeln!(out, "  {error}");
    }
    out
}

/// What the API does between the runs.
pub fn render_change(change: &Change) -> String {
    wrap(&format!(
        "Meanwhile: {} people agree, {} change their name, {} gets a field that nobody knew, {} withdraw",
        change.joined, change.renamed, change.extended, change.left
    ))
}

pub fn render_next(database: &str) -> String {
    format!(
        "Look around: sqlite3 {database} 'select * from active_consents limit 9'\n\
         \n\
         With your own company (Understory Backoffice: Settings > Integrations):\n\n    \
         export UNDERSTORY_SYNC__AUTH__CLIENT_ID='...'\n    \
         export UNDERSTORY_SYNC__AUTH__CLIENT_SECRET='...'\n    \
         understory-sync --run-once\n"
    )
}

/// Removes the database of an earlier demo and what lies beside it. Nothing else has its name: the caller gives the full path.
pub fn remove_old(database: &Path) -> io::Result<()> {
    for companion in COMPANIONS {
        let mut path = database.as_os_str().to_owned();
        path.push(companion);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Lines of at most 80 columns, the later ones indented.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > 80 {
            out.push_str("\n  ");
            column = 2;
        } else if column > 0 {
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
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::demo::{Table, render_query};

    #[test]
    fn the_world_changes_as_it_is_told() {
        let before = fill();
        let mut after = before.clone();
        let change = change_the_world(&mut after);
        assert_eq!(after.len(), before.len() + change.joined - change.left);
        let kept: Vec<_> =
            before.iter().filter_map(|old| Some((old, after.iter().find(|new| new.id == old.id)?))).collect();
        assert_eq!(kept.len(), before.len() - change.left);
        let renamed = kept.iter().filter(|(old, new)| old.full_name != new.full_name);
        assert_eq!(renamed.count(), change.renamed);
        let changed = kept.iter().filter(|(old, new)| old != new).count();
        assert_eq!(changed, change.renamed + change.extended);
        assert_eq!((change.renamed, change.extended, change.left), (6, 1, 3));
    }

    #[test]
    fn a_run_fits_a_terminal() {
        let run = RunRow {
            outcome: "succeeded".into(),
            pages: 13,
            items: 1_209,
            added: 12,
            updated: 7,
            unchanged: 1_190,
            missing: 3,
            ..RunRow::default()
        };
        let text = render_run("Second run", &run, Duration::from_millis(312));
        assert_eq!(
            text,
            "Second run: succeeded in 0.3 s, 13 pages, 1,209 consents, 12 added, 7 updated,\n  \
             1,190 unchanged, 3 missing\n"
        );
    }

    #[test]
    fn only_the_old_database_and_its_companions_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("understory-demo.db");
        for name in ["understory-demo.db", "understory-demo.db-wal", "understory.db"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        remove_old(&database).unwrap();
        remove_old(&database).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["understory.db"]);
    }

    #[test]
    fn every_line_fits_a_terminal() {
        let change = Change { joined: 12, renamed: 6, extended: 1, left: 3 };
        let text = [
            render_start("http://127.0.0.1:65535", "./understory-demo.db"),
            render_change(&change),
            render_next("understory-demo.db"),
            render_query(ASK_HISTORY, &Table::default()),
            render_query(ASK_CHANGES, &Table::default()),
            render_query(ASK_ACTIVE, &Table::default()),
        ]
        .join("\n");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
