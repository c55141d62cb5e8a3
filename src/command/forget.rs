//! `forget`: erase a person everywhere in the database, or lift that again.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};

use super::between_runs;
use super::error::CommandError;
use crate::config::Config;
use crate::exit::Exit;
use crate::store::{
    ForgetOutcome, Forgotten, Lease, Leftover, LeftoverReason, REWRITE_LIMIT_BYTES, Store, Timestamp,
};

const KEYS_NAMED: usize = 20;

/// An address as it was given, and its line.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    pub line: usize,
    pub text: String,
}

/// The addresses: the argument, or one a line from standard input. Whatever a row may hold as its address is one.
pub fn addresses(who: &str, input: &mut dyn BufRead) -> Result<Vec<Given>, CommandError> {
    let mut given = Vec::new();
    if who == "-" {
        for (index, bytes) in input.split(b'\n').enumerate() {
            let bytes =
                bytes.map_err(|cause| CommandError::Io { what: "cannot read standard input", cause })?;
            let line = index + 1;
            let text = String::from_utf8(bytes)
                .map_err(|_| CommandError::at_line("this is not text in UTF-8", line))?;
            let text = text.strip_prefix('\u{feff}').filter(|_| index == 0).unwrap_or(&text);
            given.push(Given { line, text: text.trim().to_owned() });
        }
        given.retain(|given| !given.text.is_empty());
    } else {
        given.push(Given { line: 1, text: who.trim().to_owned() });
    }
    if given.iter().all(|given| given.text.is_empty()) {
        return Err(CommandError::usage("no address was given"));
    }
    Ok(given)
}

fn texts(given: &[Given]) -> Vec<String> {
    given.iter().map(|given| given.text.clone()).collect()
}

pub async fn erase(config: &Config, given: &[Given], out: &mut dyn Write) -> Result<Exit, CommandError> {
    let erased = async |store: &mut Store, lease: &Lease| {
        let done = store.forget(lease, &texts(given), Timestamp::now()).await?;
        let wiped = match done {
            ForgetOutcome::Done(_) => store.wipe(lease).await,
            ForgetOutcome::NotAnAddress { .. } => Ok(Vec::new()),
        };
        Ok((done, wiped))
    };
    let (place, (done, wiped)) = between_runs(config, true, erased).await?;
    let forgotten = match done {
        ForgetOutcome::Done(forgotten) => forgotten,
        ForgetOutcome::NotAnAddress { index } => {
            return Err(not_an_address(given.get(index).map_or(0, |given| given.line)));
        }
    };
    print_summary(&place, &forgotten, out)?;
    print_leftovers(&wiped?, out)?;
    let beyond =
        "backups, exports, and what a PostgreSQL server keeps in its log, write-ahead log and standbys";
    writeln!(out, "not reached: {beyond}")?;
    Ok(Exit::Done)
}

/// A text that looks like a spreadsheet cell is an error: silently erasing nobody would be the worst answer.
pub(super) fn not_an_address(line: usize) -> CommandError {
    let what = "this matches no row, and a quotation mark, a comma or a control character is in it";
    CommandError::at_line(what, line)
}

fn print_summary(place: &str, done: &Forgotten, out: &mut dyn Write) -> Result<(), CommandError> {
    writeln!(out, "database: {place}")?;
    writeln!(out, "found: {} of {}", done.found, counted(done.addresses, "address", "addresses"))?;
    writeln!(
        out,
        "erased: {} in consents, {} in consent_changes, {} in rejected_items",
        done.consents, done.changes, done.rejects
    )?;
    writeln!(
        out,
        "suppressed: {} ({} before): no later run brings them back; only salted hashes are kept",
        done.suppressed, done.suppressed_before
    )?;
    if done.natural_keys > 0 {
        writeln!(
            out,
            "{} made from an address (nk:) without a salt; the change feed keeps it for retention.erasures, then it is gone",
            counted(done.natural_keys, "erased key is", "erased keys are")
        )?;
    }
    print_other_rows(done, out)
}

fn print_other_rows(done: &Forgotten, out: &mut dyn Write) -> Result<(), CommandError> {
    let kinds = [
        (&done.renamed, "the address was erased from their history, they have another one now"),
        (
            &done.mentions,
            "they name the address in other data, and are not updated while Understory lists it there",
        ),
        (&done.same_id, "Understory lists the address under their id too, behind another one"),
    ];
    let others: BTreeSet<&str> = kinds.iter().flat_map(|(keys, _)| keys.iter()).map(String::as_str).collect();
    if others.is_empty() {
        return Ok(());
    }
    let rows = counted(others.len(), "other row", "other rows");
    writeln!(out, "also found in {rows}, which were left: {}", named(&others))?;
    for (keys, why) in kinds.iter().filter(|(keys, _)| !keys.is_empty()) {
        let keys: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        writeln!(out, "  {why}: {}", named(&keys))?;
    }
    Ok(())
}

/// Tables that may still hold bytes of what was erased, and what to type against it.
fn print_leftovers(leftovers: &[Leftover], out: &mut dyn Write) -> Result<(), CommandError> {
    for leftover in leftovers {
        let table = &leftover.table;
        let (reason, who) = match leftover.reason {
            LeftoverReason::TooLarge { bytes } => {
                let (size, limit) = (bytes >> 20, REWRITE_LIMIT_BYTES >> 20);
                let why = format!(
                    "it takes {size} MiB, and more than {limit} MiB are not rewritten while readers wait"
                );
                (why, "its owner, when readers can wait")
            }
            LeftoverReason::Rights => ("another role owns it".to_owned(), "its owner"),
            LeftoverReason::TooSlow => {
                ("rewriting it took too long".to_owned(), "its owner, when readers can wait")
            }
            LeftoverReason::Unsupported => {
                ("this server does not know CLUSTER".to_owned(), "its owner, as far as the server can")
            }
            LeftoverReason::Statistics => (
                "an older version may have left addresses in it; another role owns it, or it was in use"
                    .to_owned(),
                "the database's owner",
            ),
        };
        writeln!(out, "left: deleted rows of {table} can be read in its file: {reason}")?;
        writeln!(out, "  as {who}: vacuum (full, analyze) {table};")?;
    }
    Ok(())
}

fn named(keys: &BTreeSet<&str>) -> String {
    let named: Vec<&str> = keys.iter().take(KEYS_NAMED).copied().collect();
    let more = if keys.len() > KEYS_NAMED { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

pub async fn undo(config: &Config, given: &[Given], out: &mut dyn Write) -> Result<Exit, CommandError> {
    let undone =
        async |store: &mut Store, lease: &Lease| store.unforget(lease, &texts(given), Timestamp::now()).await;
    let (place, lifted) = between_runs(config, true, undone).await?;
    writeln!(out, "database: {place}")?;
    writeln!(
        out,
        "no longer suppressed: {lifted} of {}; who is still listed comes back with the next run",
        given.len()
    )?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_argument_or_one_a_line() {
        let from = |who: &str, input: &[u8]| {
            let given = addresses(who, &mut &*input).ok()?;
            Some(given.into_iter().map(|given| (given.line, given.text)).collect::<Vec<_>>())
        };
        let given =
            |lines: &[(usize, &str)]| Some(lines.iter().map(|(n, t)| (*n, (*t).to_owned())).collect());
        assert_eq!(from(" a@example.com ", b""), given(&[(1, "a@example.com")]));
        let file = "\u{feff}a@example.com\r\n\n  no address \nb@example.com".as_bytes();
        assert_eq!(from("-", file), given(&[(1, "a@example.com"), (3, "no address"), (4, "b@example.com")]));
        assert_eq!(from("bob", b""), given(&[(1, "bob")]));
        assert_eq!(from("-", b"\n\n"), None);
        assert_eq!(from(" ", b""), None);
        assert_eq!(from("-", b"a@example.com\n\xff\xfe"), None);
    }
}
