//! Where a person is found: as the owner of a row, in history, in rejected items, and in what others hold.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::conn::{Conn, Pair, in_list, rows, rows_over};
use super::error::StoreError;
use crate::consent::{MAX_ADDRESSES, address, any_address};

/// Rows looked at in one query: each may hold megabytes.
const CHUNK_ROWS: i64 = 200;

/// Nobody waits for an API here: a crowded text is looked at longer than in a run.
const MAX_CANDIDATES: usize = MAX_ADDRESSES * 100;

#[derive(Debug, sqlx::FromRow)]
pub(super) struct OwnRow {
    pub(super) consent_key: String,
    pub(super) consent_id: Option<String>,
    pub(super) previous_key: Option<String>,
    pub(super) address: String,
}

#[derive(Debug, Default)]
pub(super) struct Traces {
    pub(super) own: Vec<OwnRow>,
    /// Lines of history that hold the address as their own, with the key of a row that has another one by now.
    pub(super) former: Vec<(i64, String)>,
    /// `rejected_items.id`
    pub(super) rejects: Vec<i64>,
    /// Keys of other rows that name the address, now or in their history.
    pub(super) mentions: BTreeSet<String>,
    /// Keys of other rows whose id is listed with the address too, which was rejected for that.
    pub(super) same_id: BTreeSet<String>,
    pub(super) found: HashSet<String>,
}

const OWN_ROWS: Pair = in_list!(
    "select consent_key, consent_id, previous_key, address from consents where address",
    " order by first_seen_at, consent_key"
);

/// Both forms of a query: how the engine casts JSON to text, and how it tells an unusual address.
macro_rules! each_engine {
    ($sql:ident) => {
        ($sql!("", " glob '*[^A-Za-z0-9._%+@-]*'"), $sql!("::text", " ~ '[^A-Za-z0-9._%+@-]'"))
    };
}

// What is read of other rows is everything but a usual address of their own, and only where an address may stand in it.
macro_rules! other_rows {
    ($text:literal, $unusual:literal) => {
        concat!(
            "select consent_key, other from (select consent_key, coalesce(refs", $text, ", '') || ' ' || coalesce(extra", $text,
            ", '') || ' ' || coalesce(full_name, '') || ' ' || coalesce(source, '') || case when email", $unusual,
            " then ' ' || email else '' end as other from consents where consent_key > $1) as t where other like '%@%' \
             order by consent_key limit $2"
        )
    };
}

macro_rules! history {
    ($text:literal, $unusual:literal) => {
        concat!(
            "select id, consent_key, email, case when other like '%@%' then other end from (select id, consent_key, \
             before ->> 'email' as email, coalesce(before ->> 'refs', '') || ' ' || coalesce(before ->> 'extra', '') || ' ' || \
             coalesce(before ->> 'full_name', '') || ' ' || coalesce(before ->> 'source', '') || \
             case when before ->> 'email'", $unusual, " then ' ' || (before ->> 'email') else '' end as other \
             from consent_changes where id > $1 and before is not null order by id limit $2) as t order by id"
        )
    };
}

macro_rules! clear_hashes {
    ($text:literal, $unusual:literal) => {
        concat!(
            "update consents set item_hash = null where item_hash is not null and (refs",
            $text,
            " like '%@%' or extra",
            $text,
            " like '%@%' or full_name like '%@%' or source like '%@%' or email",
            $unusual,
            ")"
        )
    };
}

const OTHER_ROWS: Pair = each_engine!(other_rows);
/// The next run reads every item again that may name somebody: known by its bytes alone, nobody would be found in it.
pub(super) const CLEAR_HASHES_OF_MENTIONS: Pair = each_engine!(clear_hashes);
const HISTORY: Pair = each_engine!(history);

impl Traces {
    /// Looks for these addresses, in normal form, in every table.
    pub(super) async fn find(conn: &mut Conn, addresses: &HashSet<String>) -> Result<Self, StoreError> {
        // PostgreSQL takes no NUL, and no row holds one.
        let list: Vec<&String> = addresses.iter().filter(|text| !text.contains('\0')).collect();
        let own: Vec<OwnRow> = rows_over!(&mut *conn, OWN_ROWS, &list)?;
        let found = own.iter().map(|row| row.address.clone()).collect();
        let mut search = Search { conn, addresses, traces: Self { own, found, ..Self::default() } };
        search.in_history().await?;
        search.in_other_rows().await?;
        search.in_rejects().await?;
        let mut traces = search.traces;
        let own: HashSet<&str> = traces.own.iter().map(|row| row.consent_key.as_str()).collect();
        traces.former.retain(|(_, key)| !own.contains(key.as_str()));
        traces.mentions.retain(|key| !own.contains(key.as_str()));
        traces.same_id.retain(|key| !own.contains(key.as_str()));
        Ok(traces)
    }
}

struct Search<'a> {
    conn: &'a mut Conn,
    addresses: &'a HashSet<String>,
    traces: Traces,
}

impl Search<'_> {
    async fn in_history(&mut self) -> Result<(), StoreError> {
        type Line = (i64, String, Option<String>, Option<String>);
        let Self { conn, addresses, traces } = self;
        let sql = conn.pick(HISTORY);
        let mut last = 0;
        loop {
            let lines: Vec<Line> = rows!(conn, sql, last, CHUNK_ROWS)?;
            let Some((id, ..)) = lines.last() else { return Ok(()) };
            last = *id;
            for (id, key, email, other) in lines {
                if let Some(owner) = email.and_then(|email| addresses.get(address(&email).as_ref())) {
                    traces.found.insert(owner.clone());
                    traces.former.push((id, key));
                } else if other.is_some_and(|other| !addresses_in(&other, addresses).is_empty()) {
                    traces.mentions.insert(key);
                }
            }
        }
    }

    async fn in_other_rows(&mut self) -> Result<(), StoreError> {
        let Self { conn, addresses, traces } = self;
        let sql = conn.pick(OTHER_ROWS);
        let mut last = String::new();
        loop {
            let found: Vec<(String, String)> = rows!(conn, sql, &last, CHUNK_ROWS)?;
            let Some((key, _)) = found.last() else { return Ok(()) };
            last.clone_from(key);
            let naming = found.into_iter().filter(|(_, text)| !addresses_in(text, addresses).is_empty());
            traces.mentions.extend(naming.map(|(key, _)| key));
        }
    }

    async fn in_rejects(&mut self) -> Result<(), StoreError> {
        const NEXT_CHUNK: &str =
            "select id, item, fingerprint from rejected_items where id > $1 order by id limit $2";
        const ROW: &str = "select consent_key from consents where consent_key = $1";
        let Self { conn, addresses, traces } = self;
        let mut last = 0;
        loop {
            let items: Vec<(i64, String, Vec<u8>)> = rows!(conn, NEXT_CHUNK, last, CHUNK_ROWS)?;
            let Some((id, ..)) = items.last() else { return Ok(()) };
            last = *id;
            for (id, item, fingerprint) in items {
                let found = texts_in(&item, addresses);
                if found.is_empty() {
                    continue;
                }
                traces.rejects.push(id);
                traces.found.extend(found);
                if let Some(key) = id_of(&item, &fingerprint) {
                    let row: Vec<(String,)> = rows!(conn, ROW, key)?;
                    traces.same_id.extend(row.into_iter().map(|(key,)| key));
                }
            }
        }
    }
}

/// The usable id of a rejected item, if the fingerprint was made of it.
fn id_of(item: &str, fingerprint: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct WithId<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let raw = serde_json::from_str::<WithId<'_>>(item).ok()?.id.get();
    let id = serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned());
    (id_fingerprint(&id)[..] == *fingerprint).then_some(id)
}

/// `rejected_items.fingerprint` of an item with a usable id, as api/wire.rs makes it.
pub(super) fn id_fingerprint(id: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"id:").chain_update(id).finalize().into()
}

/// Which of these a rejected item holds, as a whole text or as an address among other words.
fn texts_in(item: &str, wanted: &HashSet<String>) -> HashSet<String> {
    let found = RefCell::new(HashSet::new());
    any_address(item, MAX_CANDIDATES, |text| {
        if let Some(text) = wanted.get(address(text).as_ref()) {
            found.borrow_mut().insert(text.clone());
        }
        false
    });
    found.into_inner()
}

/// The same for another person's row, where a name may equal an odd address.
fn addresses_in(text: &str, wanted: &HashSet<String>) -> HashSet<String> {
    let mut found = texts_in(text, wanted);
    found.retain(|text| text.contains('@'));
    found
}
