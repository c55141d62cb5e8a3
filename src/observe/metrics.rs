//! The Prometheus families of the contract, in a registry of our own.
//!
//! Every family and every label value that is known beforehand stands at 0 from the start, so that a rate over the first failure is
//! not lost. Labels never name a person.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::store::{RunRow, Snapshot, Timestamp};

use super::health;

/// What a scraper is told that it gets.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const OUTCOMES: [&str; 3] = ["succeeded", "failed", "interrupted"];
const STATES: [&str; 3] = ["active", "missing", "removed"];
const CHANGES: [&str; 5] = ["added", "updated", "missing", "removed", "returned"];
const NOTIFICATIONS: [&str; 2] = ["sent", "failed"];
const ENDPOINTS: [&str; 3] = ["token", "consents", "consent"];
/// Seconds: a healthy hourly run takes some, `run_timeout` is 3,000 by default.
const BUCKETS: [f64; 12] = [0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3000.0];

const READER_LAG: &str = "# HELP understory_sync_feed_reader_lag_seconds Age of the oldest change that a reader of the change feed \
     has not taken, 0 where it has them all.\n# TYPE understory_sync_feed_reader_lag_seconds gauge\n";
const LOOKUPS: [&str; 3] = ["there", "gone", "unclear"];

type Labels<const N: usize> = [(&'static str, String); N];
type Seconds = Gauge<f64, AtomicU64>;

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    runs: Family<Labels<1>, Counter>,
    run_duration: Histogram,
    last_success: Seconds,
    last_evaluated: Seconds,
    next_run: Seconds,
    consents: Family<Labels<1>, Gauge>,
    changes: Family<Labels<1>, Counter>,
    rejected: Counter,
    withheld: Gauge,
    http_requests: Family<Labels<2>, Counter>,
    http_retries: Counter,
    token_requests: Counter,
    lookups: Family<Labels<1>, Counter>,
    returns_pending: Gauge,
    notifications: Family<Labels<1>, Counter>,
    reader_lag: Family<Labels<1>, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Registers a metric and hands it back.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Every family at 0.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("understory_sync");
        let r = &mut registry;
        let build: Family<Labels<1>, Gauge> = Family::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        r.register("build_info", "The program's version; always 1", build);
        let family = Family::<Labels<1>, Counter>::default;
        let metrics = Self {
            runs: add(r, "runs", "Runs that have ended, by outcome", family()),
            run_duration: add(r, "run_duration_seconds", "How long runs took", Histogram::new(BUCKETS)),
            last_success: add(
                r,
                "last_success_timestamp_seconds",
                "When the last complete run ended",
                Gauge::default(),
            ),
            last_evaluated: add(
                r,
                "last_absence_judged_timestamp_seconds",
                "When a run last evaluated removals",
                Gauge::default(),
            ),
            next_run: add(r, "next_run_timestamp_seconds", "When the next run is due", Gauge::default()),
            consents: add(r, "consents", "Rows of consents, by state", Family::default()),
            changes: add(r, "changes", "Changes recorded, by kind", family()),
            rejected: add(
                r,
                "rejected_items",
                "Items of the API that could not be used, counted in every run",
                Counter::default(),
            ),
            withheld: add(
                r,
                "removals_withheld",
                "Rows that are no longer listed and that the removal guard keeps active",
                Gauge::default(),
            ),
            returns_pending: add(
                r,
                "returns_pending",
                "Listed consents whose return waits for confirmation",
                Gauge::default(),
            ),
            reader_lag: add(
                r,
                "feed_reader_lag_seconds",
                "Age of the oldest change that a reader of the change feed has not taken, 0 where it has them all",
                Family::default(),
            ),
            http_requests: add(
                r,
                "http_requests",
                "Requests sent, by endpoint and status (error: no answer)",
                Family::default(),
            ),
            http_retries: add(r, "http_retries", "Requests that repeated a failed one", Counter::default()),
            token_requests: add(r, "token_requests", "Requests for an access token", Counter::default()),
            lookups: add(r, "lookups", "Pages of single consents asked for, by answer", family()),
            notifications: add(
                r,
                "notifications",
                "Messages to the receiver of notify.url, by whether it accepted them",
                family(),
            ),
            registry,
        };
        metrics.begin_at_zero();
        metrics
    }

    fn begin_at_zero(&self) {
        for outcome in OUTCOMES {
            drop(self.runs.get_or_create(&[("outcome", outcome.to_owned())]));
        }
        for state in STATES {
            drop(self.consents.get_or_create(&[("state", state.to_owned())]));
        }
        for change in CHANGES {
            drop(self.changes.get_or_create(&[("change", change.to_owned())]));
        }
        for answer in LOOKUPS {
            self.observe_lookups(answer, 0);
        }
        self.observe_notifications(0, 0);
        for endpoint in ENDPOINTS {
            for status in ["200", "error"] {
                self.observe_http(endpoint, status, 0);
            }
        }
    }

    /// A run has ended, however it ended.
    pub fn record_run(&self, run: &RunRow, took: Duration) {
        if OUTCOMES.contains(&run.outcome.as_str()) {
            self.runs.get_or_create(&[("outcome", run.outcome.clone())]).inc();
        }
        self.run_duration.observe(took.as_secs_f64());
        let counts = [run.added, run.updated, run.missing, run.removed, run.returned];
        for (change, count) in CHANGES.into_iter().zip(counts) {
            self.changes
                .get_or_create(&[("change", change.to_owned())])
                .inc_by(u64::try_from(count).unwrap_or(0));
        }
        self.rejected.inc_by(u64::try_from(run.rejected).unwrap_or(0));
    }

    /// So many more requests to an endpoint (`token`, `consents`, `consent`) with this status, or `error` where none came.
    pub fn observe_http(&self, endpoint: &'static str, status: &str, more: u64) {
        self.http_requests
            .get_or_create(&[("endpoint", endpoint.to_owned()), ("status", status.to_owned())])
            .inc_by(more);
    }

    /// So many more look-ups with this answer.
    pub fn observe_lookups(&self, answer: &'static str, more: u64) {
        self.lookups.get_or_create(&[("answer", answer.to_owned())]).inc_by(more);
    }

    pub fn observe_retries(&self, more: u64) {
        self.http_retries.inc_by(more);
    }

    /// So many more requests for a token.
    pub fn observe_token_requests(&self, more: u64) {
        self.token_requests.inc_by(more);
    }

    pub fn observe_notifications(&self, sent: u64, failed: u64) {
        for (outcome, more) in NOTIFICATIONS.into_iter().zip([sent, failed]) {
            self.notifications.get_or_create(&[("outcome", outcome.to_owned())]).inc_by(more);
        }
    }

    /// What the database says now.
    pub fn set_snapshot(&self, snapshot: &Snapshot) {
        let consents = snapshot.consents;
        let counts = [consents.active, consents.missing, consents.removed];
        for (state, count) in STATES.into_iter().zip(counts) {
            self.consents.get_or_create(&[("state", state.to_owned())]).set(count);
        }
        self.withheld.set(snapshot.withheld);
        self.returns_pending.set(snapshot.returns_pending);
        self.reader_lag.clear();
        for reader in &snapshot.readers {
            self.reader_lag.get_or_create(&[("reader", reader.name.clone())]).set(reader.lag_seconds);
        }
        self.last_success.set(seconds(health::finished(snapshot)));
        self.last_evaluated.set(seconds(snapshot.last_judged_at));
    }

    /// When the next run is due.
    pub fn set_next_run(&self, next: Option<Timestamp>) {
        self.next_run.set(seconds(next));
    }

    /// The page for a scraper, in Prometheus' text format 0.0.4.
    ///
    /// The crate writes OpenMetrics, where a counter's name lacks the `_total` of its samples and a HELP ends in a full stop; here both
    /// are brought back to what every scraper and promtool's rules of style expect.
    pub fn render(&self) -> String {
        let mut open = String::new();
        if encode(&mut open, &self.registry).is_err() {
            return String::new();
        }
        // The crate leaves a family without samples out; this one has none before the first reader.
        if !open.contains(READER_LAG) {
            open.insert_str(0, READER_LAG);
        }
        let counters: Vec<&str> =
            open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
        let mut page = String::with_capacity(open.len() + 16 * counters.len());
        // A family's samples come out of a hash map: sorted, the page reads the same at each look. A histogram has its own order.
        let lines: Vec<&str> = open.lines().filter(|line| *line != "# EOF").collect();
        for chunk in lines.chunk_by(|one, next| one.starts_with('#') == next.starts_with('#')) {
            let mut chunk = chunk.to_vec();
            if !chunk.iter().any(|line| line.starts_with('#') || line.contains("_bucket{")) {
                chunk.sort_unstable();
            }
            for line in chunk {
                let _ = writeln!(page, "{}", classic(line, &counters));
            }
        }
        page
    }
}

fn classic(line: &str, counters: &[&str]) -> String {
    let mut parts = line.splitn(4, ' ');
    let (Some("#"), Some(kind), Some(name), Some(rest)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return line.to_owned();
    };
    let total = if counters.contains(&name) { "_total" } else { "" };
    let rest = rest.strip_suffix('.').unwrap_or(rest);
    format!("# {kind} {name}{total} {rest}")
}

fn seconds(at: Option<Timestamp>) -> f64 {
    at.map_or(0.0, |at| Duration::from_millis(u64::try_from(at.millis()).unwrap_or(0)).as_secs_f64())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::store::Counts;

    #[test]
    fn every_family_is_there_from_the_start_at_zero() {
        insta::assert_snapshot!(Metrics::new().render().replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }

    #[test]
    fn a_run_and_a_snapshot_show() {
        let metrics = Metrics::new();
        let run = RunRow {
            outcome: "succeeded".to_owned(),
            added: 12,
            updated: 3,
            missing: 2,
            rejected: 1,
            ..RunRow::default()
        };
        metrics.record_run(&run, Duration::from_millis(3_200));
        metrics.observe_http("consents", "429", 2);
        metrics.set_next_run(Some("2026-11-21T13:02:00.500Z".parse().unwrap()));
        metrics.set_snapshot(&Snapshot {
            consents: Counts { active: 10_345, missing: 2, removed: 7 },
            withheld: 40,
            last_judged_at: Some("2026-11-21T12:00:04Z".parse().unwrap()),
            ..Snapshot::default()
        });
        let page = metrics.render();
        for line in [
            "understory_sync_runs_total{outcome=\"succeeded\"} 1",
            "understory_sync_runs_total{outcome=\"failed\"} 0",
            "understory_sync_run_duration_seconds_count 1",
            "understory_sync_run_duration_seconds_bucket{le=\"5.0\"} 1",
            "understory_sync_changes_total{change=\"added\"} 12",
            "understory_sync_changes_total{change=\"missing\"} 2",
            "understory_sync_rejected_items_total 1",
            "understory_sync_http_requests_total{endpoint=\"consents\",status=\"429\"} 2",
            "understory_sync_next_run_timestamp_seconds 1795266120.5",
            "understory_sync_last_absence_judged_timestamp_seconds 1795262404.0",
            "understory_sync_consents{state=\"active\"} 10345",
            "understory_sync_consents{state=\"removed\"} 7",
            "understory_sync_removals_withheld 40",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }

    #[test]
    fn the_text_obeys_promtools_rules() {
        let page = Metrics::new().render();
        let mut families = Vec::new();
        for line in page.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(page.contains(&format!("# HELP {name} ")), "{line}");
                families.push(name.to_owned());
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert!(families.iter().any(|family| name.starts_with(family.as_str())), "{line}");
            }
        }
        assert_eq!(families.len(), 17);
        assert!(page.ends_with('\n') && !page.contains("# EOF"));
    }
}
