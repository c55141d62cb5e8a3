//! The change feed (contract, section 7): what has changed behind a cursor, and how far each reader is.
//!
//! `changed_at` is given out under a lock, once for each transaction and always growing, so a reader that asks for what lies
//! behind its position misses nothing. Whether the position is still of this database, the nonce of its transaction tells.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;

use super::conn::{Conn, Pair, execute, row, rows};
use super::error::StoreError;
use super::{Store, Timestamp};
use crate::exit::{Exit, Problem};

const PAGE_LINES: i64 = 1_000;

/// How long a hold lasts after the process that took it was killed.
const HOLD_MILLIS: i64 = 10_000;

/// The nonce of a transaction from before the feed was kept.
const NO_NONCE: &str = "0";

/// One line of `consent_feed`.
#[derive(Serialize, sqlx::FromRow)]
pub struct FeedLine {
    pub changed_at: Timestamp,
    pub consent_key: String,
    pub previous_key: Option<String>,
    /// `active`, `inactive` or `erased`
    pub state: String,
    pub email: Option<String>,
    pub full_name: Option<String>,
    pub source: Option<String>,
    pub withheld: bool,
    pub mailable: bool,
    #[serde(skip)]
    nonce: String,
    /// The last line of its transaction.
    #[serde(skip)]
    #[sqlx(skip)]
    is_last: bool,
}

/// The line after which a reader resumes. Opaque to readers: `1.FEED.MILLISECONDS.NONCE.KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedCursor {
    feed_id: String,
    changed_at: Timestamp,
    nonce: String,
    consent_key: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedCursor {
    #[error("it is not a cursor of this program")]
    Unreadable,
    #[error("it belongs to another database, or to this one before it was restored or copied")]
    OtherFeed,
    #[error("the database does not hold what the reader has seen already; a backup was restored")]
    Restored,
    #[error("erasures that the reader has not seen were dropped since (retention.erasures)")]
    TooOld,
}

impl FeedCursor {
    /// Before the first line.
    fn is_start(&self) -> bool {
        self.changed_at == Timestamp::default()
    }
}

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = utf8_percent_encode(&self.consent_key, NON_ALPHANUMERIC);
        write!(f, "1.{}.{}.{}.{key}", self.feed_id, self.changed_at.millis(), self.nonce)
    }
}

impl FromStr for FeedCursor {
    type Err = RefusedCursor;

    fn from_str(text: &str) -> Result<Self, RefusedCursor> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let ["1", feed_id, millis, nonce, key] = parts[..] else {
            return Err(RefusedCursor::Unreadable);
        };
        let millis: i64 = millis.parse().map_err(|_| RefusedCursor::Unreadable)?;
        let key = percent_decode_str(key).decode_utf8().map_err(|_| RefusedCursor::Unreadable)?;
        Ok(Self {
            feed_id: feed_id.to_owned(),
            changed_at: Timestamp::default().plus_millis(millis),
            nonce: nonce.to_owned(),
            consent_key: key.into_owned(),
        })
    }
}

/// The feed as of the start of a reading; later changes come with the next one.
#[derive(Debug, Clone)]
pub struct Feed {
    id: String,
    until: Timestamp,
    /// The reader drops what the feed does not name, so it does not miss erasures that are dropped meanwhile.
    begins_anew: bool,
}

impl Feed {
    /// Before the first line.
    pub fn start(&self) -> FeedCursor {
        FeedCursor {
            feed_id: self.id.clone(),
            changed_at: Timestamp::default(),
            nonce: NO_NONCE.to_owned(),
            consent_key: String::new(),
        }
    }

    /// At the end of a transaction the cursor names no key: a stored cursor must not outlive the erasure of a key.
    pub fn after(&self, line: &FeedLine) -> FeedCursor {
        let key = if line.is_last { LAST_KEY } else { line.consent_key.as_str() };
        FeedCursor {
            feed_id: self.id.clone(),
            changed_at: line.changed_at,
            nonce: line.nonce.clone(),
            consent_key: key.to_owned(),
        }
    }
}

/// A named reader, as `changes --list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reader {
    pub name: String,
    /// When it last read everything.
    pub read_at: Option<Timestamp>,
    /// Age of the oldest line that it has not read, or 0.
    pub lag_seconds: i64,
    /// The feed cannot resume from its cursor.
    pub refused: bool,
}

/// Exclusive use of a reader's name.
#[derive(Debug, Clone)]
pub struct Hold {
    name: String,
    holder: String,
    pub cursor: Option<String>,
}

impl Hold {
    /// A holder that was paused for too long must not move the cursor of its successor.
    fn must_be_ours(&self, rows: u64) -> Result<(), StoreError> {
        if rows == 1 { Ok(()) } else { Err(reader_busy(&self.name)) }
    }
}

fn reader_busy(name: &str) -> StoreError {
    let hint = "let it finish; the name of a process that was killed is free after 10 seconds";
    let problem =
        Problem::new(Exit::Retry, "another process reads the change feed as {name}").next_step(hint);
    problem.with("name", name).into()
}

#[derive(sqlx::FromRow)]
struct FeedState {
    feed_id: String,
    last_changed_at: Timestamp,
    erasures_dropped_at: Option<Timestamp>,
    erasures_dropped_key: Option<String>,
}

impl FeedState {
    /// Whether lines were dropped that a reader at this cursor has not seen.
    fn has_dropped_behind(&self, cursor: &FeedCursor) -> bool {
        let key = self.erasures_dropped_key.as_deref().unwrap_or_default();
        self.erasures_dropped_at
            .is_some_and(|at| (cursor.changed_at, cursor.consent_key.as_str()) < (at, key))
    }
}

const STATE: &str = "select coalesce(feed_id, '') as feed_id, last_changed_at, erasures_dropped_at, \
     erasures_dropped_key from sync_state where id = 1";

/// `mailable` is the view's, in a form that PostgreSQL looks up for each line: for the view's it reads the whole table, once a
/// page. A natural key that a row of its own has again is not named as one that was taken over: whoever drops it then would
/// drop a consent that exists.
const LINES: &str = "select f.changed_at, f.consent_key, case when (select count(*) from consents p \
     where p.consent_key = f.previous_key) = 0 then f.previous_key end as previous_key, f.state, f.email, f.full_name, f.source, \
     f.withheld, (select count(*) > 0 and count(a.withheld_since) = 0 from consents a \
     where a.address = (select c.address from consents c where c.consent_key = f.consent_key) \
     and a.missing_since is null and a.removed_at is null) as mailable, \
     coalesce((select l.nonce from feed_log l where l.changed_at = f.changed_at), '0') as nonce \
     from consent_feed f where (f.changed_at, f.consent_key) > ($1, $2) and (f.changed_at, f.consent_key) <= ($3, $4) \
     order by f.changed_at, f.consent_key limit $5";

/// PostgreSQL overestimates the rows of a page and would JIT-compile the query for each one. Other servers may lack the setting.
const NO_JIT: &str = "select set_config(name, 'off', true) from pg_settings where name = 'jit'";

/// Where the next page ends, read from the index alone: the view over two tables would be sorted as a whole.
const PAGE_END: &str = "select changed_at, consent_key from consents where (changed_at, consent_key) > ($1, $2) \
     and changed_at <= $3 order by changed_at, consent_key limit 1 offset $4";

/// Records that the feed has dropped lines of this transaction: readers who have not passed it are refused.
pub(super) async fn note_dropped(conn: &mut Conn, at: Timestamp) -> Result<(), sqlx::Error> {
    const NOTE: &str = "update sync_state set erasures_dropped_at = $1, erasures_dropped_key = $2 where id = 1 \
         and (erasures_dropped_at is null or erasures_dropped_at <= $1)";
    execute!(conn, NOTE, at, LAST_KEY).map(drop)
}

/// Behind every key.
const LAST_KEY: &str = "\u{10ffff}";

const LOG: Pair = (
    "insert into feed_log (changed_at, nonce) values ($1, lower(hex(randomblob(8))))",
    "insert into feed_log (changed_at, nonce) values ($1, substr(replace(gen_random_uuid()::text, '-', ''), 1, 16))",
);

/// Records a transaction that assigned a `changed_at`.
pub(super) async fn log_transaction(conn: &mut Conn, changed_at: Timestamp) -> Result<(), sqlx::Error> {
    let sql = conn.pick(LOG);
    execute!(conn, sql, changed_at).map(drop)
}

/// A hold that would last longer than a fresh one was taken before the clock was set back.
const HOLD: Pair = (
    "insert into feed_readers (name, updated_at, holder, held_until) values ($1, $3, $2, $4) \
     on conflict (name) do update set holder = excluded.holder, held_until = excluded.held_until \
     where feed_readers.holder is null or feed_readers.held_until <= $3 or feed_readers.held_until > $4 returning cursor",
    "insert into feed_readers (name, updated_at, holder, held_until) \
     values ($1, clock_timestamp(), $2, clock_timestamp() + ($4::timestamptz - $3::timestamptz)) \
     on conflict (name) do update set holder = excluded.holder, held_until = excluded.held_until \
     where feed_readers.holder is null or feed_readers.held_until <= clock_timestamp() \
     or feed_readers.held_until > clock_timestamp() + ($4::timestamptz - $3::timestamptz) returning cursor",
);

const RENEW_HOLD: Pair = (
    "update feed_readers set held_until = $4 where name = $1 and holder = $2 and $3 is not null",
    "update feed_readers set held_until = clock_timestamp() + ($4::timestamptz - $3::timestamptz) \
     where name = $1 and holder = $2",
);

impl Store {
    /// The feed up to now, and the cursor to resume from. None: the reader begins anew, even with a cursor before the first line,
    /// since what it has read may have been erased and dropped without a line.
    pub async fn open_feed(
        &mut self,
        cursor: Option<&str>,
    ) -> Result<(Feed, Option<FeedCursor>), StoreError> {
        let opened = self
            .read(async |conn| {
                let state: FeedState = row!(conn, STATE)?;
                let cursor = match cursor {
                    Some(text) => {
                        Some(check_cursor(conn, &state, text).await?).filter(|cursor| !cursor.is_start())
                    }
                    None => None,
                };
                let begins_anew = cursor.is_none();
                Ok((Feed { id: state.feed_id, until: state.last_changed_at, begins_anew }, cursor))
            })
            .await?;
        self.note_what_readers_see().await?;
        Ok(opened)
    }

    /// The next page of lines after the cursor; empty at the end.
    pub async fn next_lines(
        &mut self,
        feed: &Feed,
        cursor: &FeedCursor,
    ) -> Result<Vec<FeedLine>, StoreError> {
        self.read(async |conn| {
            let state: FeedState = row!(conn, STATE)?;
            if !feed.begins_anew && state.has_dropped_behind(cursor) {
                return Err(StoreError::Cursor(RefusedCursor::TooOld));
            }
            if let Conn::Postgres(_) = conn {
                let _: Vec<(String,)> = rows!(conn, NO_JIT)?;
            }
            let (at, key) = (cursor.changed_at, &cursor.consent_key);
            let end: Vec<(Timestamp, String)> = rows!(conn, PAGE_END, at, key, feed.until, PAGE_LINES - 1)?;
            let (end_at, end_key) =
                end.into_iter().next().unwrap_or_else(|| (feed.until, LAST_KEY.to_owned()));
            let mut lines: Vec<FeedLine> = rows!(conn, LINES, at, key, end_at, end_key, PAGE_LINES)?;
            mark_last(conn, &mut lines).await?;
            Ok(lines)
        })
        .await
    }

    pub async fn hold_reader(&mut self, name: &str, now: Timestamp) -> Result<Hold, StoreError> {
        let holder = super::new_holder();
        let until = now.plus_millis(HOLD_MILLIS);
        let taken: Vec<(Option<String>,)> = self
            .write(async |conn| {
                let sql = conn.pick(HOLD);
                Ok(rows!(conn, sql, name, &holder, now, until)?)
            })
            .await?;
        let (cursor,) = taken.into_iter().next().ok_or_else(|| reader_busy(name))?;
        Ok(Hold { name: name.to_owned(), holder, cursor })
    }

    /// Call this every few seconds; an error means that another process has taken the name.
    pub async fn renew_hold(&mut self, hold: &Hold, now: Timestamp) -> Result<(), StoreError> {
        let until = now.plus_millis(HOLD_MILLIS);
        let renewed = self
            .write(async |conn| {
                let sql = conn.pick(RENEW_HOLD);
                Ok(execute!(conn, sql, &hold.name, &hold.holder, now, until)?)
            })
            .await?;
        hold.must_be_ours(renewed)
    }

    /// Releases the name and, where the reader has read everything, advances its cursor.
    pub async fn release_reader(
        &mut self,
        hold: &Hold,
        cursor: Option<&FeedCursor>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const RELEASE: &str = "update feed_readers set cursor = coalesce($3, cursor), \
             updated_at = case when $3 is null then updated_at else $4 end, holder = null, held_until = null \
             where name = $1 and holder = $2";
        let cursor = cursor.map(ToString::to_string);
        let released = self
            .write(async |conn| Ok(execute!(conn, RELEASE, &hold.name, &hold.holder, &cursor, now)?))
            .await?;
        hold.must_be_ours(released)
    }

    pub async fn readers(&mut self, now: Timestamp) -> Result<Vec<Reader>, StoreError> {
        self.read(async |conn| readers(conn, now).await).await
    }

    /// False where there is no reader of this name.
    pub async fn forget_reader(&mut self, name: &str) -> Result<bool, StoreError> {
        const FORGET: &str = "delete from feed_readers where name = $1";
        Ok(self.write(async |conn| Ok(execute!(conn, FORGET, name)?)).await? > 0)
    }
}

async fn mark_last(conn: &mut Conn, lines: &mut [FeedLine]) -> Result<(), sqlx::Error> {
    const MORE: &str =
        "select consent_key from consent_feed where changed_at = $1 and consent_key > $2 limit 1";
    let times: Vec<Timestamp> = lines.iter().skip(1).map(|line| line.changed_at).collect();
    for (line, next) in lines.iter_mut().zip(times) {
        line.is_last = line.changed_at != next;
    }
    if let Some(last) = lines.last_mut() {
        let more: Vec<(String,)> = rows!(conn, MORE, last.changed_at, &last.consent_key)?;
        last.is_last = more.is_empty();
    }
    Ok(())
}

/// Every named reader and its lag, within a read transaction.
pub(super) async fn readers(conn: &mut Conn, now: Timestamp) -> Result<Vec<Reader>, StoreError> {
    const READERS: &str = "select name, cursor, updated_at from feed_readers order by name";
    const OLDEST: &str = "select changed_at from consent_feed where (changed_at, consent_key) > ($1, $2) \
         order by changed_at, consent_key limit 1";
    let state: FeedState = row!(conn, STATE)?;
    let found: Vec<(String, Option<String>, Timestamp)> = rows!(conn, READERS)?;
    let start = Feed { id: state.feed_id.clone(), until: state.last_changed_at, begins_anew: true }.start();
    let mut readers = Vec::with_capacity(found.len());
    for (name, text, updated_at) in found {
        let cursor = match &text {
            Some(text) => check_cursor(conn, &state, text).await,
            None => Ok(start.clone()),
        };
        let (cursor, refused) = match cursor {
            Ok(cursor) => (cursor, false),
            Err(StoreError::Cursor(_)) => (start.clone(), true),
            Err(error) => return Err(error),
        };
        let oldest: Vec<(Timestamp,)> = rows!(conn, OLDEST, cursor.changed_at, &cursor.consent_key)?;
        let lag = oldest.first().map_or(0, |(at,)| (now.millis() - at.millis()).max(0) / 1_000);
        readers.push(Reader { name, read_at: text.map(|_| updated_at), lag_seconds: lag, refused });
    }
    Ok(readers)
}

/// A cursor that the feed cannot resume from is an error that says why.
async fn check_cursor(conn: &mut Conn, state: &FeedState, text: &str) -> Result<FeedCursor, StoreError> {
    const NONCE: &str = "select nonce from feed_log where changed_at = $1";
    const FIRST: &str = "select min(changed_at) from feed_log";
    let cursor: FeedCursor = text.parse().map_err(StoreError::Cursor)?;
    if cursor.feed_id != state.feed_id {
        return Err(StoreError::Cursor(RefusedCursor::OtherFeed));
    }
    // The start of the feed is in every database.
    if cursor.is_start() {
        return Ok(cursor);
    }
    let nonce: Vec<(String,)> = rows!(conn, NONCE, cursor.changed_at)?;
    let (first,): (Option<Timestamp>,) = row!(conn, FIRST)?;
    let known = match nonce.first() {
        Some((nonce,)) => *nonce == cursor.nonce,
        None => cursor.nonce == NO_NONCE && first.is_none_or(|first| cursor.changed_at < first),
    };
    if !known {
        return Err(StoreError::Cursor(RefusedCursor::Restored));
    }
    if state.has_dropped_behind(&cursor) {
        return Err(StoreError::Cursor(RefusedCursor::TooOld));
    }
    Ok(cursor)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_whatever_the_key() {
        for key in ["", "c_1", "a.b/c d", "nk:00ff", "Ærø.é%25"] {
            let cursor = FeedCursor {
                feed_id: "f00".to_owned(),
                changed_at: Timestamp::default().plus_millis(1_764_000_000_123),
                nonce: "ab12".to_owned(),
                consent_key: key.to_owned(),
            };
            let text = cursor.to_string();
            assert!(text.is_ascii() && !text.contains(' '), "{text}");
            assert_eq!(text.parse::<FeedCursor>().unwrap(), cursor);
        }
        for text in ["", "1", "2.f.1.n.k", "1.f.x.n.k", "1.f.1.n.k.more", "1.f.1.n.%ff"] {
            assert_eq!(text.parse::<FeedCursor>(), Err(RefusedCursor::Unreadable), "{text}");
        }
    }
}
