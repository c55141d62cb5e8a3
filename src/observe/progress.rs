//! What a run shows on a terminal while it goes on: pages, consents, rate, elapsed. Elsewhere nothing: there the log speaks.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::{counted, duration, thousands};

/// A line that is wider than the terminal would leave a part of it behind.
const TEMPLATE: &str = "{spinner} {elapsed}, {wide_msg}";

/// So many pages tell how fast it goes.
const PAGES_TO_TELL_BY: u64 = 3;

/// For how many consents a first run is told to take how long.
const SAMPLE: u64 = 100_000;

#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// Items of the last complete run; none before it.
    pub items: Option<u64>,
    /// `api.requests_per_second`; none without a limit.
    pub pages_per_second: Option<f64>,
}

impl Expected {
    fn words(self, pages: u64, items: u64, elapsed: Duration) -> String {
        let of = self.items.map(|items| format!(" of about {}", thousands(items))).unwrap_or_default();
        let line = format!("{}, {}{of} consents", counted(pages, "page", "pages"), thousands(items));
        if pages < PAGES_TO_TELL_BY || items == 0 {
            return line;
        }
        let a_second = share(items, elapsed.as_secs_f64().max(0.001));
        let line = format!("{line}, {a_second:.0}/s");
        match self.items {
            Some(all) if all > items => {
                format!("{line}, about {} left", rounded(share(all - items, a_second)))
            }
            Some(_) => line,
            None => {
                let limit = self.pages_per_second.map(|rate| rate * share(items, share(pages, 1.0)));
                let sample = rounded(share(SAMPLE, limit.unwrap_or(a_second)));
                format!("{line}, first run: {} take about {sample}", thousands(SAMPLE))
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate for the eye")]
fn share(count: u64, of: f64) -> f64 {
    count as f64 / of.max(f64::MIN_POSITIVE)
}

/// Whole seconds, so that the words do not tremble.
fn rounded(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds.ceil().max(1.0)).unwrap_or(Duration::MAX))
}

/// Whether standard error is a terminal that knows more than lines of text.
pub(super) fn is_capable_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// One line at the bottom of standard error, or nothing at all. Clones are the same line.
#[derive(Debug, Clone, Default)]
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    began: Arc<OnceLock<(Instant, Expected)>>,
}

impl ProgressLine {
    /// Shown where `wanted` and standard error is a terminal that can move its cursor.
    pub fn new(wanted: bool) -> Self {
        let bar = (wanted && is_capable_terminal()).then(|| {
            let style =
                ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            bar.with_style(style).with_message("no page yet")
        });
        Self { bar, began: Arc::default() }
    }

    pub fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    pub fn begin(&self, expected: Expected) {
        if let Some(bar) = &self.bar {
            let _ = self.began.set((Instant::now(), expected));
            bar.reset();
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(200));
        }
    }

    pub fn show(&self, pages: u64, items: u64) {
        if let (Some(bar), Some((began, expected))) = (&self.bar, self.began.get()) {
            bar.set_message(expected.words(pages, items, began.elapsed()));
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.disable_steady_tick();
            bar.finish_and_clear();
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// Writes whole lines to standard error without tearing the progress line. A reader that has gone away is no reason to stop.
    pub fn write(&self, lines: &[u8]) {
        let write = || {
            let _ = io::stderr().lock().write_all(lines);
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn unwanted_it_does_nothing() {
        let progress = ProgressLine::new(false);
        progress.begin(Expected::default());
        progress.show(1, 100);
        progress.end();
        assert!(!progress.is_shown());
    }

    #[test]
    fn it_says_how_much_is_left_and_what_a_first_run_takes() {
        let known = Expected { items: Some(10_345), pages_per_second: Some(5.0) };
        let words = |expected: Expected, pages, items, seconds| {
            expected.words(pages, items, Duration::from_secs(seconds))
        };
        assert_eq!(words(known, 1, 100, 1), "1 page, 100 of about 10,345 consents");
        assert_eq!(
            words(known, 50, 5_000, 10),
            "50 pages, 5,000 of about 10,345 consents, 500/s, about 11 s left"
        );
        assert_eq!(words(known, 104, 10_400, 21), "104 pages, 10,400 of about 10,345 consents, 495/s");
        let first = Expected { items: None, ..known };
        assert_eq!(words(first, 2, 200, 1), "2 pages, 200 consents");
        let told = "3 pages, 300 consents, 300/s, first run: 100,000 take about 3 min 20 s";
        assert_eq!(words(first, 3, 300, 1), told);
        let unlimited = Expected { pages_per_second: None, ..first };
        assert!(words(unlimited, 3, 300, 1).ends_with("take about 5 min 34 s"));
        assert_eq!(words(unlimited, 3, 0, 0), "3 pages, 0 consents");
    }
}
