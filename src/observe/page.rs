//! The status page: one HTML file for people, complete in itself, without script. Pure.
//!
//! It is made of figures and of messages that never hold personal data; every text is escaped all the same.

use std::fmt::Write as _;

use crate::store::{Change, RunRow, Timestamp};
use crate::zone;

use super::chart::{Day, Size, draw, draw_days};
use super::report::{changes, outcome, took};
use super::text::{counted, duration, escape, moment, relative, thousands};
use super::view::{Installation, Mood, Note, View, add};

const CSS: &str = include_str!("page.css");
const RUNS_SHOWN: usize = 20;
const WIDE: Size = Size { name: "wide", width: 800.0, height: 240.0 };
const NARROW: Size = Size { name: "narrow", width: 350.0, height: 220.0 };

/// What the page is made of.
#[derive(Debug, Clone, Copy)]
pub enum PageData<'a> {
    Known(View<'a>),
    Unknown {
        installation: &'a Installation,
        /// Why, in words without secrets.
        why: &'a str,
        /// When the next run is due.
        next_run: Option<Timestamp>,
        now: Timestamp,
    },
}

pub fn render(data: &PageData<'_>) -> String {
    let (mood, sentence, now) = match data {
        PageData::Known(view) => (view.mood(), view.sentence(), view.now),
        PageData::Unknown { why, now, .. } => {
            (Mood::Bad, format!("Needs attention: the database does not answer ({why})."), *now)
        }
    };
    let (class, word, colour, sign) = look(mood);
    let (company, installation) = match data {
        PageData::Known(view) => (view.company(), view.installation),
        PageData::Unknown { installation, .. } => (installation.company_id.as_deref(), *installation),
    };
    let company = company.map_or_else(String::new, |name| format!(" · {}", escape(name)));
    let mut page = String::with_capacity(32_768);
    let _ = write!(
        page,
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
<p class="state {class}" role="status"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="{sign}" fill="currentColor" fill-rule="evenodd"/></svg><span>{sentence}</span></p>
</header>
<main>
"#,
        database = escape(&installation.database),
        sentence = unbroken(&escape(&sentence)),
    );
    match data {
        PageData::Known(view) => body(&mut page, view),
        PageData::Unknown { next_run, .. } => {
            page.push_str("<dl class=\"facts\">");
            next_fact(&mut page, *next_run, now);
            page.push_str("</dl>\n");
            let text = "Runs are still tried at their times, and the table keeps what it holds. To see what is wrong and how to fix it:";
            todo(&mut page, &[Note::new(text).command("understory-sync check")]);
        }
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
fn look(mood: Mood) -> (&'static str, &'static str, &'static str, &'static str) {
    match mood {
        Mood::Good => (
            "good",
            "Well",
            "1f9d61",
            "M12 1a11 11 0 1 0 0 22 11 11 0 0 0 0-22Zm-1.6 16-4.9-4.9 1.9-1.9 3 3 6.2-6.2 1.9 1.9Z",
        ),
        Mood::Waiting => (
            "waiting",
            "Waiting",
            "6b7280",
            "M12 1a11 11 0 1 0 0 22 11 11 0 0 0 0-22Zm-1.3 4.5h2.6v6l4 2.4-1.3 2.2-5.3-3.2Z",
        ),
        Mood::Watch => ("watch", "Look", "e0a020", "M12 1.5 23.5 22H.5ZM10.8 9v6.5h2.4V9Zm0 8v2.4h2.4V17Z"),
        Mood::Bad => (
            "bad",
            "Attention",
            "d0342c",
            "M12 1a11 11 0 1 0 0 22 11 11 0 0 0 0-22Zm-1.3 5h2.6v7.5h-2.6Zm0 9.5h2.6v2.6h-2.6Z",
        ),
    }
}

fn body(page: &mut String, view: &View<'_>) {
    todo(page, &view.notes());
    facts(page, view);
    healed(page, view);
    over_time(page, &view.snapshot.active_over_time);
    changes_by_day(page, view);
    runs(page, &view.snapshot.runs);
}

fn facts(page: &mut String, view: &View<'_>) {
    let consents = view.snapshot.consents;
    page.push_str("<dl class=\"facts\">");
    fact(
        page,
        "Active consents",
        &thousands(consents.active),
        &format!("{} missing, {} removed", thousands(consents.missing), thousands(consents.removed)),
    );
    match (view.running(), view.last_ended()) {
        (Some(run), _) => fact(
            page,
            "Run",
            "running now",
            &format!("run {}, began {}", run.id, time(run.started_at, &relative(run.started_at, view.now))),
        ),
        (None, Some(run)) => {
            let ended = run.finished_at.unwrap_or(run.started_at);
            let words = format!(
                "{}, took {}",
                time(ended, &moment(ended)),
                took(run).map(duration).unwrap_or_default()
            );
            let big = format!("{}, {}", outcome(run), relative(ended, view.now));
            fact(page, "Last run", &escape(&big), &words);
        }
        (None, None) => fact(page, "Last run", "none yet", ""),
    }
    next_fact(page, view.next_run, view.now);
    page.push_str("</dl>\n");
}

/// `big` and `more` are HTML.
fn fact(page: &mut String, name: &str, big: &str, more: &str) {
    let _ =
        write!(page, "<div><dt>{name}</dt><dd class=\"big\">{big}</dd><dd class=\"more\">{more}</dd></div>");
}

fn next_fact(page: &mut String, next: Option<Timestamp>, now: Timestamp) {
    match next {
        Some(at) if at > now => fact(page, "Next run", &relative(at, now), &time(at, &moment(at))),
        Some(at) => fact(page, "Next run", "due", &time(at, &moment(at))),
        None => fact(page, "Next run", "not known", ""),
    }
}

fn todo(page: &mut String, notes: &[Note]) {
    if notes.is_empty() {
        return;
    }
    page.push_str(
        "<section aria-labelledby=\"todo\"><h2 id=\"todo\">What to know, and to do</h2><ul class=\"todo\">",
    );
    for note in notes {
        let _ = write!(page, "<li><p>{}</p>", escape(&note.text));
        if let Some(command) = &note.command {
            let _ = write!(page, "<code>{}</code>", escape(command));
        }
        if let Some(detail) = &note.detail {
            let _ = write!(page, "<p class=\"detail\">{}</p>", escape(detail));
        }
        page.push_str("</li>");
    }
    page.push_str("</ul></section>\n");
}

/// The last error, where a later run has made it a thing of the past.
fn healed(page: &mut String, view: &View<'_>) {
    let mut ended = view.snapshot.runs.iter().filter(|run| run.finished_at.is_some());
    let Some(last) = ended.next().filter(|run| run.outcome == "succeeded") else {
        return;
    };
    let Some((run, error)) = ended
        .filter(|run| run.outcome == "failed")
        .find_map(|run| run.error.as_ref().map(|error| (run, error)))
    else {
        return;
    };
    let _ = writeln!(
        page,
        "<section aria-labelledby=\"healed\"><h2 id=\"healed\">The last error</h2><p>Run {}, {}: {}</p><p>Nothing to do: run {} succeeded.</p></section>",
        run.id,
        time(run.started_at, &moment(run.started_at)),
        escape(error),
        last.id
    );
}

fn over_time(page: &mut String, points: &[(Timestamp, i64)]) {
    let wide = draw(points, WIDE);
    if wide.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<section aria-labelledby=\"over-time\"><h2 id=\"over-time\">Active consents over time</h2>{wide}{}</section>",
        draw(points, NARROW)
    );
}

fn changes_by_day(page: &mut String, view: &View<'_>) {
    let days = view.days(90);
    if days.iter().all(|(_, change)| change.added + change.returned + change.updated + change.missing == 0) {
        return;
    }
    let drawn: Vec<Day> = days
        .iter()
        .map(|(date, change)| Day {
            date: date.clone(),
            came: change.added + change.returned,
            left: change.missing,
        })
        .collect();
    let month = &drawn[drawn.len() - 30..];
    page.push_str(
        "<section aria-labelledby=\"days\"><h2 id=\"days\">Changes day by day</h2><dl class=\"sums\">",
    );
    for (name, count) in [("30 days", 30), ("90 days", 90)] {
        let mut sum = Change::default();
        days[days.len() - count..].iter().for_each(|(_, day)| add(&mut sum, day));
        let _ = write!(
            page,
            "<div><dt>{name}</dt><dd>{} new, {} returned, {} changed, {} left</dd></div>",
            thousands(sum.added),
            thousands(sum.returned),
            thousands(sum.updated),
            thousands(sum.missing)
        );
    }
    let _ = writeln!(page, "</dl>{}{}</section>", draw_days(&drawn, WIDE), draw_days(month, NARROW));
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
fn runs(page: &mut String, runs: &[RunRow]) {
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
        counted(i64::try_from(shown).unwrap_or(0), "run", "runs")
    );
    let mut told = None;
    for group in alike(&runs[..shown]) {
        row(page, group, told);
        told = group.first().and_then(|run| run.error.as_deref()).or(told);
    }
    page.push_str("</tbody></table></div></section>\n");
}

/// `told`: the message of the row before.
fn row(page: &mut String, group: &[RunRow], told: Option<&str>) {
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
        ("none", more) => {
            format!("{} without changes", counted(i64::try_from(more + 1).unwrap_or(0), "run", "runs"))
        }
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
    match &run.error {
        Some(error) if told == Some(error) => page.push_str("<span class=\"small\">the same message</span>"),
        Some(error) => {
            let _ = write!(page, "<span class=\"small\">{}</span>", escape(error));
        }
        None => {}
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
