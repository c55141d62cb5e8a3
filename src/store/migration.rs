//! Bringing the schema up to date, and knowing whether it is.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Acquire as _, Connection as _};

use super::conn::{Conn, Intent, decode, ensure_schema, row};
use super::error::StoreError;
use crate::consent::address;
use crate::exit::{Exit, Problem};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Marks a SQLite file as ours (`pragma application_id`, "USYN").
pub(super) const APPLICATION_ID: i64 = 0x5553_594E;

const RESTORE: &str =
    "restore the last backup, or let database.url name a new database; this one was left as it is";

/// How the schema stands to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// Nothing of ours is there.
    Absent,
    Older,
    /// As this program needs it.
    Current,
}

const STATE: &str = "select version, checksum from _sqlx_migrations order by version; \
     select exists (select 1 from sync_state where id = 1)";

const LOOK_POSTGRES: &str = "select to_regclass('_sqlx_migrations') is not null, to_regclass('consents') is not null, \
     coalesce(current_setting('server_encoding', true), 'UTF8')";

/// Looks at the schema. Changes nothing.
pub(super) async fn inspect(conn: &mut Conn, schema: Option<&str>) -> Result<Schema, StoreError> {
    let (migrator, is_there) = match conn {
        Conn::Sqlite(_) => (&SQLITE, !sqlite_is_empty(conn).await?),
        Conn::Postgres(_) => {
            let looked = conn.look(Intent::Read, schema, LOOK_POSTGRES, 1).await?;
            (&POSTGRES, is_ours(decode!(looked, (bool, bool, String))?.0)?)
        }
    };
    if !is_there {
        return Ok(Schema::Absent);
    }
    let looked = conn.look(Intent::Read, schema, STATE, 2).await?;
    let (applied, state) = decode!(looked, (i64, Vec<u8>), (bool,))?;
    for (version, checksum) in &applied {
        match migrator.iter().find(|known| known.version == *version) {
            None => {
                return Err(StoreError::Newer { place: String::new(), version: *version });
            }
            Some(known) if *known.checksum != **checksum => {
                return Err(StoreError::Altered { place: String::new(), version: *version });
            }
            Some(_) => {}
        }
    }
    // One that is missing between others, or all of them, was not left out by us.
    let known = migrator.iter().map(|known| known.version);
    if applied.is_empty() || !known.take(applied.len()).eq(applied.iter().map(|(version, _)| *version)) {
        let problem = Problem::new(
            Exit::Config,
            "{place} holds our tables, but its table _sqlx_migrations is empty or incomplete",
        )
        .next_step(RESTORE);
        return Err(problem.into());
    }
    if state != [(true,)] {
        let problem =
            Problem::new(Exit::Config, "the table sync_state in {place} is empty").next_step(RESTORE);
        return Err(problem.into());
    }
    Ok(if applied.len() < migrator.iter().count() { Schema::Older } else { Schema::Current })
}

/// False: none of our tables is there.
fn is_ours(look: Vec<(bool, bool, String)>) -> Result<bool, StoreError> {
    let (migrated, consents, encoding) = look.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
    if encoding != "UTF8" {
        let message = "{place} stores text as {encoding}, not as UTF8";
        let next_step = "create the database anew: `createdb --encoding=UTF8 --template=template0 NAME`";
        let problem = Problem::new(Exit::Config, message).next_step(next_step);
        return Err(problem.with("encoding", encoding).into());
    }
    match (migrated, consents) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        // Somebody else's table of that name, or another program's migrations.
        _ => Err(StoreError::NotOurs { place: String::new() }),
    }
}

/// PostgreSQL, before the first tables are made: refuses a schema in which only others have theirs. What extensions brought is
/// nobody's.
pub(super) async fn refuse_tables_of_others(conn: &mut Conn) -> Result<(), StoreError> {
    const COUNT: &str = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = current_schema() and c.relkind in ('r', 'p', 'f') \
           and not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')";
    let (tables,): (i64,) = row!(conn, COUNT)?;
    if tables == 0 {
        return Ok(());
    }
    let problem = Problem::new(
        Exit::Config,
        "{place} holds tables of other applications ({tables}), and its URL is that of DATABASE_URL",
    )
    .next_step(
        "if it is meant, set database.url to it; else database.url or database.schema to one of its own",
    );
    Err(problem.with("tables", tables).into())
}

/// PostgreSQL: whether the user may make the tables, and the schema where it is missing. Makes nothing.
pub(super) async fn may_create(conn: &mut Conn, schema: Option<&str>) -> Result<bool, StoreError> {
    const LOOK: &str = "select case \
           when $1::text is null then coalesce(has_schema_privilege(current_schema(), 'create'), false) \
           when exists (select 1 from pg_namespace where nspname = $1) \
             then has_schema_privilege($1, 'create') and has_schema_privilege($1, 'usage') \
           else has_database_privilege(current_database(), 'create') end";
    let (allowed,): (bool,) = row!(conn, LOOK, schema)?;
    Ok(allowed)
}

async fn sqlite_is_empty(conn: &mut Conn) -> Result<bool, StoreError> {
    const LOOK: &str =
        "select application_id, (select count(*) from sqlite_master) from pragma_application_id";
    let (id, objects): (i64, i64) = row!(conn, LOOK)?;
    match (id, objects) {
        (APPLICATION_ID, n) if n > 0 => Ok(false),
        (0 | APPLICATION_ID, 0) => Ok(true),
        _ => Err(StoreError::NotOurs { place: String::new() }),
    }
}

/// Applies what is missing, all of it in one transaction.
pub(super) async fn migrate(conn: &mut Conn, schema: Option<&str>) -> Result<(), StoreError> {
    // Two programs that start on an empty server at once collide in the catalogue: the loser finds the work done.
    for attempt in 0.. {
        match try_migrate(conn, schema).await {
            Err(StoreError::Contended { .. }) if attempt < 5 => {
                tokio::time::sleep(std::time::Duration::from_millis(200 << attempt)).await;
            }
            other => return other,
        }
    }
    Ok(())
}

const WITHOUT_ADDRESS: &str = "select consent_key, email from consents \
     where address is null and email is not null and consent_key > $1 order by consent_key limit 5000";
const FILL_SQLITE: &str = "update consents set address = v.value ->> 1 from json_each($1) as v \
     where consents.consent_key = v.value ->> 0";
const FILL_POSTGRES: &str = "update consents set address = v.row ->> 1 from jsonb_array_elements($1) as v(row) \
     where consents.consent_key = v.row ->> 0";

/// Fills `consents.address` in the rows of an older schema: SQL does not know the normal form of an address.
macro_rules! fill_addresses {
    ($conn:expr, $fill:expr, $list:expr) => {
        async {
            let mut last = String::new();
            loop {
                let rows: Vec<(String, String)> =
                    sqlx::query_as(WITHOUT_ADDRESS).bind(&last).fetch_all($conn).await?;
                let Some((key, _)) = rows.last() else { return Ok::<(), sqlx::Error>(()) };
                last.clone_from(key);
                let rows: Vec<_> = rows.iter().map(|(key, email)| (key, address(email))).collect();
                sqlx::query($fill).bind($list(rows)).execute($conn).await?;
            }
        }
        .await
    };
}

async fn try_migrate(conn: &mut Conn, schema: Option<&str>) -> Result<(), StoreError> {
    if inspect(conn, schema).await? == Schema::Current {
        return Ok(());
    }
    match conn {
        Conn::Sqlite(conn) => {
            let mut tx = conn.begin_with("begin immediate").await?;
            SQLITE.run_direct(None, &mut *tx, false).await.map_err(migrate_error)?;
            fill_addresses!(&mut *tx, FILL_SQLITE, |rows| serde_json::json!(rows).to_string())?;
            Ok(tx.commit().await?)
        }
        Conn::Postgres(conn) => {
            let mut tx = sqlx::Connection::begin(&mut **conn).await?;
            // The migrator keeps named statements; in a pooler's server connection they would outlive us.
            sqlx::raw_sql(
                "deallocate all; set local lock_timeout = '10s'; set local idle_in_transaction_session_timeout = '10s'",
            )
                .execute(&mut *tx)
                .await?;
            if let Some(schema) = schema {
                ensure_schema(&mut tx, schema).await.map_err(conflict)?;
                super::conn::use_schema(&mut tx, schema).await?;
            }
            let mut migrator = Migrator { locking: false, ..Migrator::DEFAULT };
            migrator.migrations.clone_from(&POSTGRES.migrations);
            // The migrator nests: every migration becomes a savepoint of this transaction.
            let inner = tx.acquire().await?;
            migrator.run_direct(None, inner, false).await.map_err(migrate_error)?;
            fill_addresses!(&mut *tx, FILL_POSTGRES, sqlx::types::Json)?;
            sqlx::raw_sql("deallocate all").execute(&mut *tx).await?;
            tx.commit().await.map_err(conflict)
        }
    }
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => conflict(error),
        MigrateError::VersionMissing(version) => StoreError::Newer { place: String::new(), version },
        MigrateError::VersionMismatch(version) => StoreError::Altered { place: String::new(), version },
        _ => StoreError::Statement { place: String::new(), code: "migration".to_owned() },
    }
}

/// "Exists already" in a schema change: somebody else was faster.
fn conflict(error: sqlx::Error) -> StoreError {
    if let sqlx::Error::Database(db) = &error
        && let Some(code) = db.code()
        && ["23505", "42P07", "42P06", "42710", "55P03"].contains(&code.as_ref())
    {
        return StoreError::Contended { place: String::new(), code: code.into_owned() };
    }
    error.into()
}
