//! What a run shows on a terminal while it goes on: pages, consents, rate, elapsed. Elsewhere nothing: there the log speaks.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::style::TemplateError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

const TEMPLATE: &str = "{spinner} {msg}, {human_pos} consents, {rate}, {elapsed}";

fn style() -> Result<ProgressStyle, TemplateError> {
    let style = ProgressStyle::with_template(TEMPLATE)?;
    Ok(style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{:.0}/s", state.per_sec());
    }))
}

/// One line at the bottom of standard error, or nothing at all. Clones are the same line.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Shown where `wanted` and standard error is a terminal that can move its cursor.
    pub fn new(wanted: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if !wanted || dumb || !io::stderr().is_terminal() {
            return Self(None);
        }
        let style = style().unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self(Some(bar.with_style(style).with_message("no page yet")))
    }

    pub fn begin(&self) {
        if let Some(bar) = &self.0 {
            bar.reset();
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(200));
        }
    }

    /// How far it has come.
    pub fn show(&self, pages: u64, items: u64) {
        if let Some(bar) = &self.0 {
            bar.set_message(match pages {
                1 => "1 page".to_owned(),
                _ => format!("{pages} pages"),
            });
            bar.set_position(items);
        }
    }

    /// The run has ended: the line disappears.
    pub fn end(&self) {
        if let Some(bar) = &self.0 {
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
        match &self.0 {
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
        assert!(style().is_ok());
    }

    #[test]
    fn unwanted_it_does_nothing() {
        let progress = Progress::new(false);
        progress.begin();
        progress.show(1, 100);
        progress.end();
        assert!(progress.0.is_none());
    }
}
