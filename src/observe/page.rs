//! The status page: one HTML file for people, complete in itself, without script. Pure.
//!
//! It is made of figures and of messages that never hold personal data; every text is escaped all the same.

use std::fmt::Write as _;

use crate::store::{Change, RunRow, Snapshot, Timestamp};
use crate::zone;

use super::chart::{Size, draw, draw_days};
use super::report::{changes, outcome, took};
use super::text::{counted, duration, escape, moment, relative, thousands};
use super::view::{Condition, Installation, Note, View, add_changes};

const CSS: &str = include_str!("page.css");
const RUNS_SHOWN: usize = 20;
const WIDE: Size = Size { name: "wide", width: 800.0, height: 240.0 };
const NARROW: Size = Size { name: "narrow", width: 350.0, height: 220.0 };

/// `seen`: the database, or in words without secrets why it cannot be looked at.
pub fn render(
    seen: Result<&Snapshot, &str>,
    installation: &Installation,
    next_run: Option<Timestamp>,
    now: Timestamp,
) -> String {
    let view = seen.map(|snapshot| View { snapshot, installation, next_run, now });
    let (condition, sentence, company) = match &view {
        Ok(view) => (view.condition(), view.sentence(), view.company()),
        Err(why) => {
            let sentence = format!("Needs attention: the database does not answer ({why}).");
            (Condition::Bad, sentence, installation.company_id.as_deref())
        }
    };
    let (class, word, colour, shape, mark) = appearance(condition);
    let company = company.map_or_else(String::new, |name| format!(" · {}", escape(name)));
    let mut page = format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="60">
<meta name="robots" content="noindex">
<title>{word}{company} · {database} · understory-sync</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E%3Ccircle cx='4' cy='4' r='4' fill='%23{colour}'/%3E%3C/svg%3E">
<style>
{CSS}</style>
</head>
<body>
<header>
<h1>understory-sync{company} · {database}</h1>
<p class="state {class}" role="status"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="{shape}{mark}" fill="currentColor" fill-rule="evenodd"/></svg><span>{sentence}</span></p>
</header>
<main>
"#,
        database = escape(&installation.database),
        sentence = unbroken(&escape(&sentence)),
    );
    if let Ok(view) = view {
        push_body(&mut page, &view);
    } else {
        let _ = writeln!(page, "<dl class=\"facts\">{}</dl>", next_fact(next_run, now));
        let text = "Runs are still tried at their times, and the table keeps what it holds. To see what is wrong and how to fix it:";
        push_notes(&mut page, &[Note::new(text, "understory-sync check", "")]);
    }
    let _ = write!(
        page,
        "</main>\n<footer><p>As of {}; times are those of {}. This page reloads every minute. understory-sync {}</p></footer>\n</body>\n</html>\n",
        time(now, &moment(now)),
        escape(&zone::name()),
        env!("CARGO_PKG_VERSION")
    );
    page
}

/// A date must not be broken over two lines: its hyphens become ones that do not break.
fn unbroken(text: &str) -> String {
    let digit = |place: Option<usize>| {
        place.and_then(|place| text.as_bytes().get(place)).is_some_and(u8::is_ascii_digit)
    };
    text.char_indices()
        .map(|(place, letter)| {
            let inside = digit(place.checked_sub(1)) && digit(Some(place + 1));
            if letter == '-' && inside { '\u{2011}' } else { letter }
        })
        .collect()
}

/// Class, word, colour of the icon, and the path of the sign; the sign is for the eye, the sentence says the same.
fn appearance(
    condition: Condition,
) -> (&'static str, &'static str, &'static str, &'static str, &'static str) {
    const DISC: &str = "M12 1a11 11 0 1 0 0 22 11 11 0 0 0 0-22Z";
    const TRIANGLE: &str = "M12 1.5 23.5 22H.5Z";
    match condition {
        Condition::Good => ("good", "Well", "1f9d61", DISC, "m-1.6 16-4.9-4.9 1.9-1.9 3 3 6.2-6.2 1.9 1.9Z"),
        Condition::Waiting => {
            ("waiting", "Waiting", "6b7280", DISC, "m-1.3 4.5h2.6v6l4 2.4-1.3 2.2-5.3-3.2Z")
        }
        Condition::Watch => ("watch", "Look", "e0a020", TRIANGLE, "M10.8 9v6.5h2.4V9Zm0 8v2.4h2.4V17Z"),
        Condition::Bad => ("bad", "Attention", "d0342c", DISC, "m-1.3 5h2.6v7.5h-2.6Zm0 9.5h2.6v2.6h-2.6Z"),
    }
}

fn push_body(page: &mut String, view: &View<'_>) {
    push_notes(page, &view.notes());
    push_facts(page, view);
    push_healed(page, view);
    let over_time = &view.snapshot.active_over_time;
    let charts = [WIDE, NARROW].map(|size| draw(over_time, size)).concat();
    if !charts.is_empty() {
        push_section(page, "over-time", "Active consents over time", &charts);
    }
    push_changes(page, view);
    push_runs(page, &view.snapshot.runs);
}

/// `body` is HTML.
fn push_section(page: &mut String, id: &str, title: &str, body: &str) {
    let _ = writeln!(page, "<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2>{body}</section>");
}

fn push_facts(page: &mut String, view: &View<'_>) {
    let [active, missing, removed] = view.counts();
    let consents = fact("Active consents", &active, &format!("{missing} missing, {removed} removed"));
    let run = match (view.running(), view.last_ended()) {
        (Some(run), _) => {
            let began = time(run.started_at, &relative(run.started_at, view.now));
            fact("Run", "running now", &format!("run {}, began {began}", run.id))
        }
        (None, Some(run)) => {
            let ended = run.finished_at.unwrap_or(run.started_at);
            let took = took(run).map(duration).unwrap_or_default();
            let big = format!("{}, {}", outcome(run), relative(ended, view.now));
            fact("Last run", &escape(&big), &format!("{}, took {took}", time(ended, &moment(ended))))
        }
        (None, None) => fact("Last run", "none yet", ""),
    };
    let next = next_fact(view.next_run, view.now);
    let _ = writeln!(page, "<dl class=\"facts\">{consents}{run}{next}</dl>");
}

/// `big` and `more` are HTML.
fn fact(name: &str, big: &str, more: &str) -> String {
    format!("<div><dt>{name}</dt><dd class=\"big\">{big}</dd><dd class=\"more\">{more}</dd></div>")
}

fn next_fact(next: Option<Timestamp>, now: Timestamp) -> String {
    match next {
        Some(at) if at > now => fact("Next run", &relative(at, now), &time(at, &moment(at))),
        Some(at) => fact("Next run", "due", &time(at, &moment(at))),
        None => fact("Next run", "not known", ""),
    }
}

fn push_notes(page: &mut String, notes: &[Note]) {
    if notes.is_empty() {
        return;
    }
    let mut list = String::from("<ul class=\"todo\">");
    for note in notes {
        let _ = write!(list, "<li><p>{}</p>", escape(&note.text));
        if let Some(command) = &note.command {
            let _ = write!(list, "<code>{}</code>", escape(command));
        }
        if let Some(detail) = &note.detail {
            let _ = write!(list, "<p class=\"detail\">{}</p>", escape(detail));
        }
        list.push_str("</li>");
    }
    push_section(page, "todo", "What to know, and to do", &(list + "</ul>"));
}

/// The last error, where a later run has made it a thing of the past.
fn push_healed(page: &mut String, view: &View<'_>) {
    let mut ended = view.ended();
    let Some(last) = ended.next().filter(|run| run.outcome == "succeeded") else { return };
    let mut failed = ended.filter(|run| run.outcome == "failed");
    let Some((run, error)) = failed.find_map(|run| Some((run, run.error.as_ref()?))) else { return };
    let (started, error) = (time(run.started_at, &moment(run.started_at)), escape(error));
    let words =
        format!("<p>Run {}, {started}: {error}</p><p>Nothing to do: run {} succeeded.</p>", run.id, last.id);
    push_section(page, "healed", "The last error", &words);
}

fn push_changes(page: &mut String, view: &View<'_>) {
    let days = view.days(90);
    if days.iter().all(|(_, change)| change.added + change.returned + change.updated + change.missing == 0) {
        return;
    }
    let month = &days[days.len() - 30..];
    let mut body = String::from("<dl class=\"sums\">");
    for (name, days) in [("30 days", month), ("90 days", &days)] {
        let mut sum = Change::default();
        for (_, day) in days {
            add_changes(&mut sum, day);
        }
        let [new, returned, changed, left] =
            [sum.added, sum.returned, sum.updated, sum.missing].map(thousands);
        let _ = write!(
            body,
            "<div><dt>{name}</dt><dd>{new} new, {returned} returned, {changed} changed, {left} left</dd></div>"
        );
    }
    let _ = write!(body, "</dl>{}{}", draw_days(&days, WIDE), draw_days(month, NARROW));
    push_section(page, "days", "Changes day by day", &body);
}

/// Runs one after another that ended alike and changed nothing, the newest first.
fn alike(runs: &[RunRow]) -> Vec<&[RunRow]> {
    let is_alike = |one: &RunRow, other: &RunRow| {
        outcome(one) == outcome(other)
            && one.error == other.error
            && one.finished_at.is_some()
            && changes(one) == "none"
            && changes(other) == "none"
    };
    runs.chunk_by(is_alike).collect()
}

/// The roles repeat what the elements say, because on a telephone the rows are laid out as cards, and a table that is no longer laid
/// out as one loses its meaning to screen readers.
fn push_runs(page: &mut String, runs: &[RunRow]) {
    if runs.is_empty() {
        return;
    }
    let shown = runs.len().min(RUNS_SHOWN);
    let _ = write!(
        page,
        r#"<section aria-labelledby="runs"><div class="scroll" role="region" aria-labelledby="runs" tabindex="0"><table role="table">
<caption><strong id="runs">The last {}</strong><span>Newest first</span></caption>
<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">Started</th><th scope="col" role="columnheader">Outcome</th><th scope="col" role="columnheader" class="number">Took</th><th scope="col" role="columnheader" class="number">Active</th><th scope="col" role="columnheader">Changes</th></tr></thead>
<tbody role="rowgroup">
"#,
        counted(shown, "run", "runs")
    );
    let mut told = None;
    for group in alike(&runs[..shown]) {
        push_row(page, group, told);
        told = group.first().and_then(|run| run.error.as_deref()).or(told);
    }
    page.push_str("</tbody></table></div></section>\n");
}

/// `told`: the message of the row before.
fn push_row(page: &mut String, group: &[RunRow], told: Option<&str>) {
    let [run, others @ ..] = group else { return };
    let label = outcome(run);
    let class = match label {
        "ok" => "good",
        "failed" => "bad",
        "withheld" | "deferred" => "watch",
        _ => "plain",
    };
    let started = zone::format_bare_time(run.started_at.to_utc(), "%b %-d, %H:%M");
    let ids = match others.last() {
        Some(oldest) => format!("runs {} to {}", oldest.id, run.id),
        None => format!("run {}, {}", run.id, escape(&run.trigger)),
    };
    let what = match (changes(run).as_str(), others.len()) {
        ("none", 0) => "no changes".to_owned(),
        ("none", more) => format!("{} without changes", counted(more + 1, "run", "runs")),
        (changes, _) => changes.to_owned(),
    };
    let _ = write!(
        page,
        r#"<tr role="row"><th scope="row" role="rowheader" class="when">{}<span class="small">{ids}</span></th><td role="cell" class="how"><span class="tag {class}">{}</span></td><td role="cell" class="number took">{}</td><td role="cell" class="number active{}">{}</td><td role="cell" class="what">{what}"#,
        time(run.started_at, &started),
        escape(label),
        took(run).map(duration).unwrap_or_default(),
        if run.active.is_none() { " empty" } else { "" },
        run.active.map_or_else(|| "–".to_owned(), thousands),
    );
    if let Some(error) = &run.error {
        let message = if told == Some(error) { "the same message".to_owned() } else { escape(error) };
        let _ = write!(page, "<span class=\"small\">{message}</span>");
    }
    page.push_str("</td></tr>\n");
}

/// `shown` is plain text.
fn time(at: Timestamp, shown: &str) -> String {
    format!("<time datetime=\"{at}\">{}</time>", escape(shown))
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
