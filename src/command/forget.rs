//! `forget`: erase a person everywhere in the database, or lift that again.

use std::io::{BufRead, Write};
use std::time::Duration;

use super::error::CommandError;
use crate::config::Config;
use crate::exit::Exit;
use crate::store::{Bounds, Store, Timestamp};

/// How long a run may take to end before the command gives up.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// The addresses: the argument, or one a line from standard input.
pub fn addresses(who: &str, input: &mut dyn BufRead) -> Result<Vec<String>, CommandError> {
    let mut emails = Vec::new();
    if who == "-" {
        for line in input.lines() {
            let line =
                line.map_err(|cause| CommandError::Io { what: "cannot read standard input", cause })?;
            emails.push(line.trim().to_owned());
        }
        emails.retain(|email| !email.is_empty());
    } else {
        emails.push(who.trim().to_owned());
    }
    if emails.is_empty() {
        return Err(CommandError::Usage("no address was given: forget reads one a line"));
    }
    if emails.iter().any(|email| !email.contains('@') || email.contains(char::is_whitespace)) {
        return Err(CommandError::Usage("this is no e-mail address (nothing was erased)"));
    }
    Ok(emails)
}

/// Erases and says what, in numbers.
///
/// # Errors
/// What the database says; where a reader keeps old pages, everything is erased, but bytes remain until it ends.
pub async fn erase(config: &Config, emails: &[String], out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (mut store, lease) = Store::open_between_runs(&config.database, PATIENCE, Bounds::COMMAND).await?;
    let done = store.forget(&lease, emails, Timestamp::now()).await;
    let wiped = match &done {
        Ok(_) => store.wipe().await,
        Err(_) => Ok(()),
    };
    finish(store, &lease).await;
    let done = done?;
    writeln!(
        out,
        "erased: {} in consents, {} in consent_changes, {} in rejected_items",
        done.consents, done.changes, done.rejects
    )?;
    writeln!(
        out,
        "suppressed: {} ({} before): no later run brings them back; only a salted hash is kept",
        done.suppressed, done.suppressed_before
    )?;
    wiped?;
    Ok(Exit::Done)
}

pub async fn undo(config: &Config, emails: &[String], out: &mut dyn Write) -> Result<Exit, CommandError> {
    let (mut store, lease) = Store::open_between_runs(&config.database, PATIENCE, Bounds::COMMAND).await?;
    let lifted = store.unforget(&lease, emails, Timestamp::now()).await;
    finish(store, &lease).await;
    let lifted = lifted?;
    writeln!(
        out,
        "no longer suppressed: {lifted} of {}; who is still listed comes back with the next run",
        emails.len()
    )?;
    Ok(Exit::Done)
}

/// Gives the lease back; what goes wrong now ends by itself.
pub(super) async fn finish(mut store: Store, lease: &crate::store::Lease) {
    let _ = store.release(lease, Timestamp::now()).await;
    let _ = store.checkpoint().await;
    store.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_argument_or_one_a_line() {
        let from = |who: &str, input: &str| addresses(who, &mut input.as_bytes()).ok();
        assert_eq!(from(" a@example.com ", ""), Some(vec!["a@example.com".to_owned()]));
        assert_eq!(
            from("-", "a@example.com\r\n\n  b@example.com\n"),
            Some(vec!["a@example.com".to_owned(), "b@example.com".to_owned()])
        );
        assert_eq!(from("-", "\n\n"), None);
        assert_eq!(from("bob", ""), None);
        assert_eq!(from("-", "a@example.com b@example.com\n"), None);
    }
}
