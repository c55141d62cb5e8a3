//! New rows, many in one statement, and the columns of many rows as PostgreSQL takes them.

use std::borrow::Cow;

use super::conn::Conn;
use super::error::StoreError;
use super::write::WriteContext;
use crate::consent::Consent;
use crate::hash::{RowHash, item_hash_to_hex};
use crate::reconcile::Upsert;

macro_rules! one {
    () => {
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    };
}
macro_rules! four {
    ($rows:ident) => {
        concat!($rows!(), ", ", $rows!(), ", ", $rows!(), ", ", $rows!())
    };
}
macro_rules! sixteen {
    () => {
        four!(four_rows)
    };
}
macro_rules! four_rows {
    () => {
        four!(one)
    };
}
macro_rules! insert_sqlite {
    ($rows:ident) => {
        concat!(
            "insert or fail into consents (consent_key, consent_id, company_id, email, full_name, source, refs, extra, row_hash, ",
            "natural_hash, address, item_hash, first_seen_at, changed_at, first_run_id, changed_run_id) ",
            "select v.*, s.at, s.at, s.run, s.run from (values ",
            $rows!(),
            ") as v cross join (select ? as at, ? as run) as s"
        )
    };
}

/// `or fail`, here and wherever SQLite inserts many rows in one statement: an error rolls the whole transaction back anyway, and SQLite
/// keeps no statement journal, which would copy every page that is touched.
const INSERT_SQLITE_1: &str = insert_sqlite!(one);
const INSERT_SQLITE_16: &str = insert_sqlite!(sixteen);

/// PostgreSQL: many consents ($1 to $12, as `Columns` binds them) as a table `v`.
macro_rules! consents_postgres {
    () => {
        "v as (select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
         $8::text[], $9::text[], $10::bigint[], $11::text[], $12::text[]) as v(consent_key, consent_id, company_id, email, \
         full_name, source, refs, extra, row_hash, natural_hash, address, item_hash))"
    };
}

/// PostgreSQL: inserts the rows of `v`, and the companies that the database has not held before, at a time and by a run.
macro_rules! insert_postgres {
    ($from:literal, $at:literal, $run:literal) => {
        concat!(
            "named as (insert into companies (company_id) select distinct v.company_id from ",
            $from,
            " where not exists (select 1 from companies c where c.company_id = v.company_id) on conflict (company_id) do nothing), ",
            "added as (insert into consents (consent_key, consent_id, company_id, email, full_name, source, refs, extra, row_hash, ",
            "natural_hash, address, item_hash, first_seen_at, changed_at, first_run_id, changed_run_id) ",
            "select v.consent_key, v.consent_id, v.company_id, v.email, v.full_name, v.source, v.refs::jsonb, v.extra::jsonb, ",
            "v.row_hash, v.natural_hash, v.address, v.item_hash, ",
            $at,
            ", ",
            $at,
            ", ",
            $run,
            ", ",
            $run,
            " from ",
            $from,
            " returning 1)"
        )
    };
}

pub(super) use {consents_postgres, insert_postgres};

const INSERT_POSTGRES: &str =
    concat!("with ", consents_postgres!(), ", ", insert_postgres!("v", "$13", "$14"), " select 1 from added");

/// Inserts new rows, one at the least, and tells how many the database took.
pub(super) async fn insert(
    conn: &mut Conn,
    context: &WriteContext,
    puts: &[&Upsert],
) -> Result<u64, StoreError> {
    match conn {
        Conn::Sqlite(c) => {
            let mut stored = 0;
            let (many, rest) = puts.as_chunks::<16>();
            let statements = many
                .iter()
                .map(|rows| (INSERT_SQLITE_16, rows.as_slice()))
                .chain(rest.chunks(1).map(|rows| (INSERT_SQLITE_1, rows)));
            for (sql, rows) in statements {
                let mut query = sqlx::query(sql);
                for put in rows {
                    query = bind_row(query, &put.key, &put.consent, put.hash, put.natural);
                }
                let done = query.bind(context.changed_at).bind(context.run_id).execute(&mut **c).await;
                stored += done?.rows_affected();
            }
            Ok(stored)
        }
        Conn::Postgres(c) => {
            let done = Columns::of_new(puts)
                .bind(sqlx::query(INSERT_POSTGRES))
                .bind(context.changed_at)
                .bind(context.run_id)
                .persistent(false)
                .execute(&mut **c)
                .await;
            Ok(done?.rows_affected())
        }
    }
}

pub(super) type SqliteQuery<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// The columns of one consent, in the order of every statement that takes them one by one.
pub(super) fn bind_row<'q>(
    query: SqliteQuery<'q>,
    key: &'q str,
    consent: &'q Consent<'_>,
    hash: RowHash,
    natural: i64,
) -> SqliteQuery<'q> {
    query
        .bind(key)
        .bind(consent.consent_id.as_deref())
        .bind(consent.company_id.as_ref())
        .bind(consent.email.as_ref())
        .bind(consent.full_name.as_deref())
        .bind(consent.source.as_deref())
        .bind(consent.refs.as_deref())
        .bind(consent.extra.as_deref())
        .bind(hash.to_hex())
        .bind(natural)
        .bind(consent.address())
        .bind(consent.item_hash.map(item_hash_to_hex))
}

/// The columns of many consents, as PostgreSQL takes them.
pub(super) struct Columns<'a> {
    key: Vec<&'a str>,
    consent_id: Vec<Option<&'a str>>,
    company_id: Vec<&'a str>,
    email: Vec<&'a str>,
    full_name: Vec<Option<&'a str>>,
    source: Vec<Option<&'a str>>,
    refs: Vec<Option<&'a str>>,
    extra: Vec<Option<&'a str>>,
    row_hash: Vec<String>,
    natural: Vec<i64>,
    address: Vec<Cow<'a, str>>,
    item_hash: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of_new(puts: &[&'a Upsert]) -> Self {
        Self::new(puts.iter().map(|put| (put.key.as_str(), &put.consent, put.hash, put.natural)))
    }

    pub(super) fn new(rows: impl Iterator<Item = (&'a str, &'a Consent<'a>, RowHash, i64)>) -> Self {
        let rows: Vec<_> = rows.collect();
        let field =
            |pick: fn(&'a Consent<'a>) -> Option<&'a str>| rows.iter().map(move |row| pick(row.1)).collect();
        Self {
            key: rows.iter().map(|row| row.0).collect(),
            consent_id: field(|consent| consent.consent_id.as_deref()),
            company_id: rows.iter().map(|row| row.1.company_id.as_ref()).collect(),
            email: rows.iter().map(|row| row.1.email.as_ref()).collect(),
            full_name: field(|consent| consent.full_name.as_deref()),
            source: field(|consent| consent.source.as_deref()),
            refs: field(|consent| consent.refs.as_deref()),
            extra: field(|consent| consent.extra.as_deref()),
            row_hash: rows.iter().map(|row| row.2.to_hex()).collect(),
            natural: rows.iter().map(|row| row.3).collect(),
            address: rows.iter().map(|row| row.1.address()).collect(),
            item_hash: rows.iter().map(|row| row.1.item_hash.map(item_hash_to_hex)).collect(),
        }
    }

    pub(super) fn bind<'q>(&self, query: PgQuery<'q>) -> PgQuery<'q> {
        query
            .bind(&self.key)
            .bind(&self.consent_id)
            .bind(&self.company_id)
            .bind(&self.email)
            .bind(&self.full_name)
            .bind(&self.source)
            .bind(&self.refs)
            .bind(&self.extra)
            .bind(&self.row_hash)
            .bind(&self.natural)
            .bind(self.address.iter().map(AsRef::as_ref).collect::<Vec<&str>>())
            .bind(&self.item_hash)
    }
}

pub(super) type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;
