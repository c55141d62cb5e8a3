//! Everything that is held about one person, read only.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use super::conn::{Conn, Pair, in_list, rows, rows_over};
use super::error::StoreError;
use super::export::{Cell, Record};
use super::forget::{not_an_address, salt};
use super::trace::Traces;
use super::{Store, Timestamp};
use crate::consent::address;
use crate::hash::Salt;

/// What the database holds about the person with an address.
#[derive(Debug, Serialize)]
pub struct Person {
    pub database: String,
    pub read_at: Timestamp,
    /// In normal form.
    pub address: String,
    /// Whether anything of what follows is there.
    pub found: bool,
    pub suppressed_since: Option<Timestamp>,
    /// Consents of an erased person that Understory lists under a new id.
    pub renewed_consents: Vec<Record>,
    /// Their rows, and what is noted about these elsewhere.
    pub consents: Vec<Record>,
    pub history: Vec<Record>,
    pub rejected_items: Vec<Record>,
    /// Keys of rows of others, which name the address.
    pub also_named_in: BTreeSet<String>,
}

/// A query over a list ($1) for both engines; `$json` makes a column of JSON one of text.
macro_rules! over_list {
    ($sql:ident, $column:literal, $order:literal) => {
        (
            concat!($sql!(""), $column, " in (select value from json_each($1))", $order),
            concat!($sql!("::text"), $column, " = any($1)", $order),
        )
    };
}

macro_rules! consents {
    ($json:literal) => {
        concat!(
            "select c.consent_key, c.previous_key, c.consent_id, c.company_id, s.state, c.email, c.full_name, c.source, c.refs",
            $json,
            " as refs, c.extra",
            $json,
            " as extra, c.first_seen_at, c.changed_at, c.missing_since, c.withheld_since, c.removed_at, c.first_run_id, \
             c.changed_run_id, p.listed_since as return_pending_since, p.listed_runs as return_listed_runs, \
             k.answer as page_answer, k.checked_at as page_asked_at, r.runs as rejected_runs \
             from consents c join consent_states s on s.consent_key = c.consent_key \
             left join pending_returns p on p.consent_key = c.consent_key \
             left join consent_checks k on k.consent_key = c.consent_key \
             left join rejected_listings r on r.consent_key = c.consent_key where "
        )
    };
}

macro_rules! history {
    ($json:literal) => {
        concat!(
            "select id, consent_key, previous_key, run_id, changed_at, change, before",
            $json,
            " as before from consent_history where "
        )
    };
}

const CONSENTS: Pair = over_list!(consents, "c.consent_key", " order by c.first_seen_at, c.consent_key");
const HISTORY_OF_ROWS: Pair = over_list!(history, "consent_key", "");
/// Id 0 is every `added`.
const HISTORY_LINES: Pair = over_list!(history, "id > 0 and id", "");
const REJECTED: Pair = in_list!(
    "select id, first_run_id, last_run_id, resolved_at, reason, item from rejected_items where id",
    " order by id"
);

impl Store {
    /// Reads all that belongs to an address in any spelling. None: the text matches nothing and does not look like an address.
    pub async fn person(&mut self, text: &str, now: Timestamp) -> Result<Option<Person>, StoreError> {
        let place = self.place();
        let texts = [text.to_owned()];
        let wanted = HashSet::from([address(text).into_owned()]);
        self.read(async |conn| {
            let salt = salt(conn).await?;
            let traces = Traces::find(conn, &wanted).await?;
            if not_an_address(conn, &texts, &traces, &salt).await?.is_some() {
                return Ok(None);
            }
            let mut person = read(conn, text, &salt, traces).await?;
            person.database.clone_from(&place);
            person.read_at = now;
            Ok(Some(person))
        })
        .await
    }
}

async fn read(conn: &mut Conn, text: &str, salt: &Salt, traces: Traces) -> Result<Person, sqlx::Error> {
    const SUPPRESSED: &str = "select created_at from suppressions where email_hash = $1";
    const RENEWED: &str =
        "select consent_id, first_seen_at from renewed_consents where email_hash = $1 order by consent_id";
    let (mut suppressed, mut renewed): (Vec<(Timestamp,)>, Vec<Record>) = (Vec::new(), Vec::new());
    for hash in salt.addresses(text) {
        suppressed.extend::<Vec<(Timestamp,)>>(rows!(conn, SUPPRESSED, &hash)?);
        renewed.extend::<Vec<Record>>(rows!(conn, RENEWED, &hash)?);
    }
    let keys: Vec<String> = traces.own.into_iter().map(|row| row.consent_key).collect();
    let former: Vec<i64> = traces.former.into_iter().map(|(id, _)| id).collect();
    let mut history: Vec<Record> = rows_over!(conn, HISTORY_OF_ROWS, &keys)?;
    history.extend::<Vec<Record>>(rows_over!(conn, HISTORY_LINES, &former)?);
    history.sort_by_key(Record::age);
    let mut person = Person {
        database: String::new(),
        read_at: Timestamp::default(),
        address: address(text).into_owned(),
        found: false,
        suppressed_since: suppressed.into_iter().map(|(at,)| at).min(),
        renewed_consents: renewed,
        consents: rows_over!(conn, CONSENTS, &keys)?,
        history,
        rejected_items: rows_over!(conn, REJECTED, &traces.rejects)?,
        also_named_in: traces.mentions.into_iter().chain(traces.same_id).collect(),
    };
    person.found = person.suppressed_since.is_some()
        || !(person.renewed_consents.is_empty()
            && person.consents.is_empty()
            && person.history.is_empty()
            && person.rejected_items.is_empty()
            && person.also_named_in.is_empty());
    Ok(person)
}

impl Record {
    /// When a line of history was written, and its number.
    fn age(&self) -> (Option<Timestamp>, Option<i64>) {
        let (mut at, mut id) = (None, None);
        for (name, cell) in &self.0 {
            match (name.as_str(), cell) {
                ("changed_at", Cell::Time(time)) => at = *time,
                ("id", Cell::Number(number)) => id = *number,
                _ => {}
            }
        }
        (at, id)
    }
}
