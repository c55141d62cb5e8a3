//! The Prometheus families of the contract, in a registry of our own.
//!
//! Every family and every label value that is known beforehand stands at 0 from the start, so that a rate over the first failure is
//! not lost. Labels never name a person.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::store::{RunRow, Snapshot, Timestamp};

use super::health;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const OUTCOMES: [&str; 3] = ["succeeded", "failed", "interrupted"];
const STATES: [&str; 3] = ["active", "missing", "removed"];
const CHANGES: [&str; 5] = ["added", "updated", "missing", "removed", "returned"];
/// Seconds: a healthy hourly run takes some, `run_timeout` is 3,000 by default.
const BUCKETS: [f64; 12] = [0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3000.0];

const READER_LAG: &str = "# HELP understory_sync_feed_reader_lag_seconds Age of the oldest change that a reader of the change feed \
     has not taken, 0 where it has them all.\n# TYPE understory_sync_feed_reader_lag_seconds gauge\n";

type Labels<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges = Family<Labels<1>, Gauge>;
type Seconds = Gauge<f64, AtomicU64>;

/// For each family: its field, its name behind the prefix, and its HELP, in the order of the page.
macro_rules! families {
    ($($field:ident: $Type:ty $(= $value:expr)?, $name:literal, $help:literal;)+) => {
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($field: $Type,)+
        }

        impl Metrics {
            fn register() -> Self {
                let mut registry = Registry::with_prefix("understory_sync");
                $(
                    let $field: $Type = families!(@new $($value)?);
                    registry.register($name, $help, $field.clone());
                )+
                Self { registry, $($field,)+ }
            }
        }
    };
    (@new) => { Default::default() };
    (@new $value:expr) => { $value };
}

families! {
    build: Gauges, "build_info", "The program's version; always 1";
    runs: Counters<1>, "runs", "Runs that have ended, by outcome";
    run_duration: Histogram = Histogram::new(BUCKETS), "run_duration_seconds", "How long runs took";
    last_success: Seconds, "last_success_timestamp_seconds", "When the last complete run ended";
    last_evaluated: Seconds, "last_absence_judged_timestamp_seconds", "When a run last evaluated removals";
    next_run: Seconds, "next_run_timestamp_seconds", "When the next run is due";
    consents: Gauges, "consents", "Rows of consents, by state";
    changes: Counters<1>, "changes", "Changes recorded, by kind";
    rejected: Counter, "rejected_items", "Items of the API that could not be used, counted in every run";
    withheld: Gauge, "removals_withheld",
        "Rows that are no longer listed and that the removal guard keeps active";
    returns_pending: Gauge, "returns_pending", "Listed consents whose return waits for confirmation";
    reader_lag: Gauges, "feed_reader_lag_seconds",
        "Age of the oldest change that a reader of the change feed has not taken, 0 where it has them all";
    http_requests: Counters<2>, "http_requests", "Requests sent, by endpoint and status (error: no answer)";
    http_retries: Counter, "http_retries", "Requests that repeated a failed one";
    token_requests: Counter, "token_requests", "Requests for an access token";
    lookups: Counters<1>, "lookups", "Pages of single consents asked for, by answer";
    notifications: Counters<1>, "notifications",
        "Messages to the receiver of notify.url, by whether it accepted them";
}

fn counter<const N: usize>(family: &Counters<N>, labels: [(&'static str, &str); N]) -> Counter {
    family.get_or_create(&labels.map(|(name, value)| (name, value.to_owned()))).clone()
}

fn set_gauge(family: &Gauges, label: &'static str, value: &str, number: i64) {
    family.get_or_create(&[(label, value.to_owned())]).set(number);
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Every family at 0.
    pub fn new() -> Self {
        let metrics = Self::register();
        set_gauge(&metrics.build, "version", env!("CARGO_PKG_VERSION"), 1);
        for outcome in OUTCOMES {
            counter(&metrics.runs, [("outcome", outcome)]);
        }
        for change in CHANGES {
            counter(&metrics.changes, [("change", change)]);
        }
        for state in STATES {
            set_gauge(&metrics.consents, "state", state, 0);
        }
        for answer in ["there", "gone", "unclear"] {
            metrics.set_lookups(answer, 0);
        }
        for endpoint in ["token", "consents", "consent"] {
            metrics.set_requests(endpoint, "200", 0);
            metrics.set_requests(endpoint, "error", 0);
        }
        metrics.observe_notifications(0, 0);
        metrics
    }

    pub fn record_run(&self, run: &RunRow, took: Duration) {
        if OUTCOMES.contains(&run.outcome.as_str()) {
            counter(&self.runs, [("outcome", &run.outcome)]).inc();
        }
        self.run_duration.observe(took.as_secs_f64());
        let counts = [run.added, run.updated, run.missing, run.removed, run.returned];
        for (change, count) in CHANGES.into_iter().zip(counts) {
            counter(&self.changes, [("change", change)]).inc_by(u64::try_from(count).unwrap_or(0));
        }
        self.rejected.inc_by(u64::try_from(run.rejected).unwrap_or(0));
    }

    /// Requests to an endpoint with this status, or `error` where none came, since the process began.
    pub fn set_requests(&self, endpoint: &'static str, status: &str, total: u64) {
        counter(&self.http_requests, [("endpoint", endpoint), ("status", status)])
            .inner()
            .store(total, Ordering::Relaxed);
    }

    /// As [`Metrics::set_requests`], for look-ups with this answer.
    pub fn set_lookups(&self, answer: &'static str, total: u64) {
        counter(&self.lookups, [("answer", answer)]).inner().store(total, Ordering::Relaxed);
    }

    pub fn set_retries(&self, total: u64) {
        self.http_retries.inner().store(total, Ordering::Relaxed);
    }

    pub fn set_token_requests(&self, total: u64) {
        self.token_requests.inner().store(total, Ordering::Relaxed);
    }

    pub fn observe_notifications(&self, sent: u64, failed: u64) {
        counter(&self.notifications, [("outcome", "sent")]).inc_by(sent);
        counter(&self.notifications, [("outcome", "failed")]).inc_by(failed);
    }

    pub fn set_snapshot(&self, snapshot: &Snapshot) {
        let consents = snapshot.consents;
        let counts = [consents.active, consents.missing, consents.removed];
        for (state, count) in STATES.into_iter().zip(counts) {
            set_gauge(&self.consents, "state", state, count);
        }
        self.withheld.set(snapshot.withheld);
        self.returns_pending.set(snapshot.returns_pending);
        self.reader_lag.clear();
        for reader in &snapshot.readers {
            set_gauge(&self.reader_lag, "reader", &reader.name, reader.lag_seconds);
        }
        self.last_success.set(seconds(health::finished(snapshot)));
        self.last_evaluated.set(seconds(snapshot.last_judged_at));
    }

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
        metrics.set_requests("consents", "429", 2);
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
