//! Erasing a person everywhere, and keeping no more than a salted hash so that no later run brings them back.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::conn::{Conn, Pair, execute, execute_over, in_list, row, rows};
use super::error::StoreError;
use super::lease::Lease;
use super::trace::{CLEAR_HASHES_OF_MENTIONS, Traces, id_fingerprint};
use super::write::next_changed_at;
use super::{Store, Timestamp};
use crate::consent::address;
use crate::hash::Salt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForgetOutcome {
    Done(Forgotten),
    /// Nothing was done: the text with this index matches nothing and does not look like an address.
    NotAnAddress {
        index: usize,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub addresses: usize,
    pub found: usize,
    pub consents: u64,
    pub changes: u64,
    pub rejects: u64,
    pub suppressed: u64,
    pub suppressed_before: u64,
    /// Erased keys that are an unsalted hash of the address.
    pub natural_keys: usize,
    /// Rows that had the address once and have another one by now: only their history was erased.
    pub renamed: BTreeSet<String>,
    /// Other rows that name the address in something else; they were left.
    pub mentions: BTreeSet<String>,
    /// Other rows whose id was listed with the address too; they were left.
    pub same_id: BTreeSet<String>,
}

impl Store {
    /// Erases everything that belongs to these addresses, however they are spelt, and suppresses them.
    pub async fn forget(
        &mut self,
        lease: &Lease,
        texts: &[String],
        now: Timestamp,
    ) -> Result<ForgetOutcome, StoreError> {
        let addresses: HashSet<String> = texts.iter().map(|text| address(text).into_owned()).collect();
        self.write(async |conn| {
            lease.renew(conn, now).await?;
            let salt = salt(conn).await?;
            let traces = Traces::find(conn, &addresses).await?;
            if let Some(index) = not_an_address(conn, texts, &traces, &salt).await? {
                return Ok(ForgetOutcome::NotAnAddress { index });
            }
            let mut forgotten = forgotten(&addresses, &traces);
            suppress(conn, &addresses, &traces, &salt, now, &mut forgotten).await?;
            erase(conn, &traces, &mut forgotten).await?;
            leave_erased_lines(conn, &traces, now).await?;
            Ok(ForgetOutcome::Done(forgotten))
        })
        .await
    }

    /// Lifts the suppression of these addresses and consent ids. Returns how many were suppressed.
    pub async fn unforget(
        &mut self,
        lease: &Lease,
        texts: &[String],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(async |conn| {
            lease.renew(conn, now).await?;
            let salt = salt(conn).await?;
            let mut lifted = 0;
            for text in texts {
                lifted += lift(conn, &salt, text).await?;
            }
            execute!(conn, BUMP)?;
            Ok(lifted)
        })
        .await
    }
}

/// Tells a run in progress that the rows it holds in memory may include an erased person.
const BUMP: &str = "update sync_state set suppression_no = suppression_no + 1 where id = 1";

pub(super) async fn salt(conn: &mut Conn) -> Result<Salt, StoreError> {
    let (salt,): (Vec<u8>,) = row!(conn, "select salt from sync_state where id = 1")?;
    Ok(Salt::new(salt))
}

/// The first text that matches nothing and looks like a spreadsheet cell or a broken file: silently erasing nobody would be the
/// worst answer.
pub(super) async fn not_an_address(
    conn: &mut Conn,
    texts: &[String],
    traces: &Traces,
    salt: &Salt,
) -> Result<Option<usize>, StoreError> {
    let is_odd =
        |text: &str| text.contains(|letter: char| letter == '"' || letter == ',' || letter.is_control());
    for (index, text) in texts.iter().enumerate() {
        let is_unknown = is_odd(text) && !traces.found.contains(address(text).as_ref());
        if is_unknown && suppressions_of(conn, salt, text).await?.is_empty() {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn forgotten(addresses: &HashSet<String>, traces: &Traces) -> Forgotten {
    let keys = traces.own.iter().flat_map(|row| [Some(&row.consent_key), row.previous_key.as_ref()]);
    Forgotten {
        addresses: addresses.len(),
        found: traces.found.len(),
        natural_keys: keys.flatten().filter(|key| key.starts_with("nk:")).count(),
        renamed: traces.former.iter().map(|(_, key)| key.clone()).collect(),
        mentions: traces.mentions.clone(),
        same_id: traces.same_id.clone(),
        ..Forgotten::default()
    }
}

/// Keeps the hashes of the addresses and of the consent ids that are erased with them. Rejected items of these ids go at once.
async fn suppress(
    conn: &mut Conn,
    addresses: &HashSet<String>,
    traces: &Traces,
    salt: &Salt,
    now: Timestamp,
    forgotten: &mut Forgotten,
) -> Result<(), sqlx::Error> {
    const ADDRESS: &str = "insert into suppressions (email_hash, created_at) values ($1, $2) on conflict (email_hash) do nothing";
    const RENEWED: &str = "select consent_id from renewed_consents where email_hash = $1";
    let mut ids: HashMap<&str, Vec<String>> = HashMap::new();
    for row in &traces.own {
        ids.entry(&row.address).or_default().extend(row.consent_id.clone());
    }
    for address in addresses {
        let hash = salt.address(address);
        let mut ids = ids.remove(address.as_str()).unwrap_or_default();
        for older in salt.addresses(address) {
            let renewed: Vec<(String,)> = rows!(conn, RENEWED, &older)?;
            ids.extend(renewed.into_iter().map(|(id,)| id));
            execute!(conn, "delete from renewed_consents where email_hash = $1", older)?;
        }
        let new = execute!(conn, ADDRESS, &hash, now)?;
        forgotten.suppressed += new;
        forgotten.suppressed_before += 1 - new.min(1);
        for id in ids {
            forgotten.rejects += suppress_id(conn, salt, &id, &hash, now).await?;
        }
    }
    let sql = conn.pick(CLEAR_HASHES_OF_MENTIONS);
    execute!(conn, sql)?;
    execute!(conn, BUMP).map(drop)
}

async fn suppress_id(
    conn: &mut Conn,
    salt: &Salt,
    id: &str,
    email_hash: &str,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    const ID: &str = "insert into suppressed_ids (id_hash, email_hash, created_at) values ($1, $2, $3) \
         on conflict (id_hash, email_hash) do nothing";
    execute!(conn, ID, salt.id(id), email_hash, now)?;
    execute!(conn, "update consents set item_hash = null where consent_key = $1", id)?;
    // A rejected item of the same id, whatever else it holds.
    let fingerprint = id_fingerprint(id);
    execute!(conn, "delete from rejected_items where fingerprint = $1", &fingerprint[..])
}

/// What is kept by the key of a row, apart from its history.
const ERASE_BY_KEY: [Pair; 4] = [
    in_list!("delete from consents where consent_key"),
    in_list!("delete from consent_checks where consent_key"),
    in_list!("delete from pending_returns where consent_key"),
    in_list!("delete from rejected_listings where consent_key"),
];

const ERASE_HISTORY: Pair = in_list!("delete from consent_changes where consent_key");

async fn erase(conn: &mut Conn, traces: &Traces, forgotten: &mut Forgotten) -> Result<(), sqlx::Error> {
    let keys: Vec<&str> = traces.own.iter().map(|row| row.consent_key.as_str()).collect();
    let [consents, others @ ..] = ERASE_BY_KEY;
    forgotten.consents = execute_over!(conn, consents, &keys)?;
    for sql in others {
        execute_over!(conn, sql, &keys)?;
    }
    forgotten.changes = execute_over!(conn, ERASE_HISTORY, &keys)?;
    for (id, _) in &traces.former {
        forgotten.changes += execute!(conn, "delete from consent_changes where id = $1", *id)?;
    }
    for id in &traces.rejects {
        forgotten.rejects += execute!(conn, "delete from rejected_items where id = $1", *id)?;
    }
    Ok(())
}

/// One line in the change feed for each row, which holds its key and nothing else.
async fn leave_erased_lines(conn: &mut Conn, traces: &Traces, now: Timestamp) -> Result<(), StoreError> {
    const LINE: &str = "insert into consent_changes (consent_key, previous_key, run_id, changed_at, change) \
         values ($1, $2, null, $3, 'erased')";
    if traces.own.is_empty() {
        return Ok(());
    }
    let changed_at = next_changed_at(conn, now).await?;
    for row in &traces.own {
        execute!(conn, LINE, &row.consent_key, &row.previous_key, changed_at)?;
    }
    Ok(())
}

/// The hashes in `suppressions` for this address or for the person who had this consent id.
async fn suppressions_of(conn: &mut Conn, salt: &Salt, text: &str) -> Result<BTreeSet<String>, sqlx::Error> {
    const ADDRESS: &str = "select email_hash from suppressions where email_hash = $1";
    const ID: &str = "select email_hash from suppressed_ids where id_hash = $1";
    const RENEWED: &str = "select email_hash from renewed_consents where consent_id = $1";
    let mut found: Vec<(String,)> = Vec::new();
    for hash in salt.addresses(text) {
        found.extend::<Vec<_>>(rows!(conn, ADDRESS, hash)?);
    }
    found.extend::<Vec<_>>(rows!(conn, ID, salt.id(text))?);
    // PostgreSQL takes no NUL, and no id holds one.
    if !text.contains('\0') {
        found.extend::<Vec<_>>(rows!(conn, RENEWED, text)?);
    }
    Ok(found.into_iter().map(|(hash,)| hash).collect())
}

async fn lift(conn: &mut Conn, salt: &Salt, text: &str) -> Result<u64, sqlx::Error> {
    let hashes = suppressions_of(conn, salt, text).await?;
    for hash in &hashes {
        execute!(conn, "delete from suppressions where email_hash = $1", hash)?;
        execute!(conn, "delete from suppressed_ids where email_hash = $1", hash)?;
        execute!(conn, "delete from renewed_consents where email_hash = $1", hash)?;
    }
    Ok(u64::from(!hashes.is_empty()))
}
