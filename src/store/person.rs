//! Everything that is held about one person, read only.

use std::collections::{BTreeSet, HashSet};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::bulk::as_it_stands;
use super::conn::{Conn, Pair, rows, rows_over};
use super::error::{StoreError, from_sqlx};
use super::forget::{not_an_address, salt};
use super::trace::Traces;
use super::{Store, Timestamp};
use crate::consent::address;
use crate::hash::Salt;

/// What the database holds about whoever has an address.
#[derive(Debug, Serialize)]
pub struct Person {
    pub database: String,
    pub read_at: Timestamp,
    /// In normal form.
    pub address: String,
    /// Whether anything of what follows is there.
    pub found: bool,
    pub suppressed_since: Option<Timestamp>,
    pub renewed_consents: Vec<RenewedConsent>,
    pub consents: Vec<HeldConsent>,
    pub history: Vec<HistoryEntry>,
    pub rejected_items: Vec<RejectedItem>,
    /// Keys of rows of others, which name the address.
    pub also_named_in: BTreeSet<String>,
}

/// A consent of an erased person that Understory lists under a new id.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct RenewedConsent {
    pub consent_id: String,
    pub first_seen_at: Timestamp,
}

/// A row of theirs, and what is noted about it elsewhere.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct HeldConsent {
    pub consent_key: String,
    pub previous_key: Option<String>,
    pub consent_id: Option<String>,
    pub company_id: String,
    pub state: String,
    pub email: Option<String>,
    pub full_name: Option<String>,
    pub source: Option<String>,
    #[serde(serialize_with = "as_json")]
    pub refs: Option<String>,
    #[serde(serialize_with = "as_json")]
    pub extra: Option<String>,
    pub first_seen_at: Timestamp,
    pub changed_at: Timestamp,
    pub missing_since: Option<Timestamp>,
    pub withheld_since: Option<Timestamp>,
    pub removed_at: Option<Timestamp>,
    pub first_run_id: i64,
    pub changed_run_id: i64,
    /// Listed again although it was removed, and not confirmed yet.
    pub return_pending_since: Option<Timestamp>,
    pub return_listed_runs: Option<i64>,
    /// What the consent's own page said last, and when.
    pub page_answer: Option<String>,
    pub page_asked_at: Option<Timestamp>,
    /// For how many complete runs in a row only a rejected item has listed it.
    pub rejected_runs: Option<i64>,
}

#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct HistoryEntry {
    pub id: i64,
    pub consent_key: String,
    pub previous_key: Option<String>,
    pub run_id: Option<i64>,
    pub changed_at: Timestamp,
    pub change: String,
    #[serde(serialize_with = "as_json")]
    pub before: Option<String>,
}

#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct RejectedItem {
    pub id: i64,
    pub first_run_id: i64,
    pub last_run_id: i64,
    pub resolved_at: Option<Timestamp>,
    pub reason: String,
    /// As received.
    pub item: String,
}

/// JSON in the database is JSON in the document, not text, and as it stands: a reader of values would take some keys of it
/// for its own.
#[expect(clippy::ref_option, reason = "what serde calls it with")]
fn as_json<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let raw: Option<Box<RawValue>> = text.as_deref().map(|text| as_it_stands(text).into_owned());
    raw.serialize(serializer)
}

macro_rules! consents_sql {
    ($json:literal, $condition:literal) => {
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
             left join rejected_listings r on r.consent_key = c.consent_key \
             where c.consent_key ",
            $condition,
            " order by c.first_seen_at, c.consent_key"
        )
    };
}

macro_rules! history_sql {
    ($json:literal, $column:literal, $condition:literal) => {
        concat!(
            "select id, consent_key, previous_key, run_id, changed_at, change, before",
            $json,
            " as before from consent_history where ",
            $column,
            " ",
            $condition
        )
    };
}

const CONSENTS: Pair =
    (consents_sql!("", "in (select value from json_each($1))"), consents_sql!("::text", "= any($1)"));

const HISTORY_OF_ROWS: Pair = (
    history_sql!("", "consent_key", "in (select value from json_each($1))"),
    history_sql!("::text", "consent_key", "= any($1)"),
);

/// Id 0 is every `added`.
const HISTORY_LINES: Pair = (
    history_sql!("", "id > 0 and id", "in (select value from json_each($1))"),
    history_sql!("::text", "id > 0 and id", "= any($1)"),
);

const REJECTED: Pair = (
    "select id, first_run_id, last_run_id, resolved_at, reason, item from rejected_items \
     where id in (select value from json_each($1)) order by id",
    "select id, first_run_id, last_run_id, resolved_at, reason, item from rejected_items where id = any($1) order by id",
);

impl Store {
    /// Reads all that belongs to an address, however it is spelt. None: the text matches nothing and does not look like an
    /// address.
    pub async fn person(&mut self, text: &str, now: Timestamp) -> Result<Option<Person>, StoreError> {
        let place = self.place();
        let texts = [text.to_owned()];
        let wanted = HashSet::from([address(text).into_owned()]);
        self.read(async |conn| {
            let salt = salt(conn, &place).await?;
            let traces = Traces::find(conn, &wanted, &place).await?;
            if not_an_address(conn, &texts, &traces, &salt, &place).await?.is_some() {
                return Ok(None);
            }
            let person = read(conn, text, &salt, traces).await;
            let mut person = person.map_err(|error| from_sqlx(&error, &place))?;
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
    let (mut suppressed, mut renewed): (Vec<(Timestamp,)>, Vec<RenewedConsent>) = (Vec::new(), Vec::new());
    for hash in salt.addresses(text) {
        suppressed.extend::<Vec<(Timestamp,)>>(rows!(conn, SUPPRESSED, &hash)?);
        renewed.extend::<Vec<RenewedConsent>>(rows!(conn, RENEWED, &hash)?);
    }
    let keys: Vec<String> = traces.own.into_iter().map(|row| row.consent_key).collect();
    let former: Vec<i64> = traces.former.into_iter().map(|(id, _)| id).collect();
    let mut history: Vec<HistoryEntry> = rows_over(conn, HISTORY_OF_ROWS, &keys).await?;
    history.extend(rows_over::<HistoryEntry, _>(conn, HISTORY_LINES, &former).await?);
    history.sort_by_key(|entry| (entry.changed_at, entry.id));
    let mut person = Person {
        database: String::new(),
        read_at: Timestamp::default(),
        address: address(text).into_owned(),
        found: false,
        suppressed_since: suppressed.into_iter().map(|(at,)| at).min(),
        renewed_consents: renewed,
        consents: rows_over(conn, CONSENTS, &keys).await?,
        history,
        rejected_items: rows_over(conn, REJECTED, &traces.rejects).await?,
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
