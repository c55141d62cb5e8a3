//! The matrix in the documents: its sum in `docs/evidence.md`, a line a scenario in `docs/fault-matrix.csv`.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::support::Engine;
use super::scenario::Scenario;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/evidence.md");
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fault-matrix.csv");
const BEGIN: &str = "<!-- the matrix begins -->";
const END: &str = "<!-- the matrix ends -->";

/// One scenario as it was played.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) engine: Engine,
    pub(super) exit: i32,
    pub(super) requests: usize,
    pub(super) peak_kib: u64,
    pub(super) took: Duration,
    pub(super) complaints: Vec<String>,
}

impl Row {
    /// The test itself broke.
    pub(super) fn broken(scenario: &Scenario, engine: Engine) -> Self {
        Self {
            name: scenario.name.clone(),
            engine,
            exit: -1,
            requests: 0,
            peak_kib: 0,
            took: Duration::ZERO,
            complaints: vec!["the scenario broke, see above".to_owned()],
        }
    }

    /// What is wrong with it, if anything is.
    pub(super) fn complaint(&self) -> Option<String> {
        (!self.complaints.is_empty()).then(|| {
            let what = self.complaints.join("\n    ");
            format!("- {} ({:?}):\n    {what}", self.name, self.engine)
        })
    }
}

/// Holds the counts of the document to what is played.
pub(super) fn must_tell(scenarios: usize, on_postgres: usize) {
    let counts = counts(scenarios, on_postgres);
    assert!(
        std::fs::read_to_string(FILE).unwrap().contains(&counts),
        "docs/evidence.md does not say: {counts} Write it anew: UPDATE_EVIDENCE=1 tests/run.sh fault_matrix"
    );
}

fn counts(scenarios: usize, on_postgres: usize) -> String {
    format!("{scenarios} scenarios, {on_postgres} of them on PostgreSQL.")
}

/// Writes the table where it is asked for.
pub(super) fn update(rows: &[Row]) {
    if std::env::var_os("UPDATE_EVIDENCE").is_none() {
        return;
    }
    let text = std::fs::read_to_string(FILE).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (_, foot) = rest.split_once(END).unwrap();
    let sum = sum(rows);
    std::fs::write(FILE, format!("{head}{BEGIN}\n{sum}\n{END}{foot}")).unwrap();
    std::fs::write(TABLE, table(rows)).unwrap();
}

fn sum(rows: &[Row]) -> String {
    let most = rows.iter().map(|row| row.peak_kib).max().unwrap_or(0);
    let slowest = rows.iter().map(|row| row.took).max().unwrap_or_default();
    let postgres = rows.iter().filter(|row| row.engine == Engine::Postgres);
    format!(
        "{}\nThe most memory that any run held: {:.1} MiB. The slowest run: {:.1} s.",
        counts(rows.len(), postgres.count()),
        mib(most),
        slowest.as_secs_f64(),
    )
}

fn table(rows: &[Row]) -> String {
    let mut out = String::from("scenario,database,exit_code,requests,peak_memory_mib,seconds,verdict\n");
    for row in rows {
        let verdict = match row.exit {
            0 => "read to the end; the next run is clean",
            _ => "refused, everybody kept; the next run heals",
        };
        let _ = writeln!(
            out,
            "\"{}\",{:?},{},{},{:.1},{:.2},\"{verdict}\"",
            row.name.replace('"', "\"\""),
            row.engine,
            row.exit,
            row.requests,
            mib(row.peak_kib),
            row.took.as_secs_f64(),
        );
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
