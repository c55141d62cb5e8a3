//! Reading what the two drivers say: their errors become ours, and their text stays behind.

use std::io;

use super::{StoreError, WriteCause};
use crate::exit::{Exit, Problem};
use crate::file::in_words;

/// What PgBouncer says of a transaction in statement mode; its SQLSTATE is that of any broken connection.
const STATEMENT_POOLING: &str = "statement pooling mode";

/// Drops the driver's text. Which database it was is added where the connection is used: `Store::use_session`.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let unreachable = |cause: String| StoreError::Unreachable { place: String::new(), cause };
        match &error {
            sqlx::Error::Database(db) => {
                let code = db.code().unwrap_or_default().into_owned();
                if db.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
                    sqlite(&code)
                } else if db.message().contains(STATEMENT_POOLING) {
                    statement_pooling()
                } else {
                    postgres(code)
                }
            }
            // A certificate that is refused comes as an I/O error of the handshake.
            sqlx::Error::Io(cause)
                if cause.get_ref().is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some()) =>
            {
                tls(cause)
            }
            sqlx::Error::Io(cause) => unreachable(io_words(cause)),
            sqlx::Error::Tls(cause) => tls(cause.as_ref()),
            sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
                unreachable("the connection broke".to_owned())
            }
            sqlx::Error::Configuration(_) => StoreError::url("the driver does not understand it"),
            sqlx::Error::ColumnDecode { index, .. } => statement(format!("column {index}")),
            sqlx::Error::Migrate(_) => statement("migration".to_owned()),
            _ => statement("driver".to_owned()),
        }
    }
}

fn statement(code: String) -> StoreError {
    StoreError::Statement { place: String::new(), code }
}

fn write(cause: WriteCause) -> StoreError {
    StoreError::Write { place: String::new(), cause }
}

/// A pooler that allows no transactions.
fn statement_pooling() -> StoreError {
    let message = "{place} is a pooler in statement mode, which allows no transactions";
    let hint = "set pool_mode to transaction or session, or connect to the server itself";
    Problem::new(Exit::Config, message).next_step(hint).into()
}

fn tls(cause: &(dyn std::error::Error + 'static)) -> StoreError {
    let problem = Problem::new(Exit::Unavailable, "no trusted TLS connection to {place}: {cause}").next_step("check the host name and the certificate (sslrootcert=FILE for an authority of your own); sslmode=disable only on a network that you trust");
    problem.with("cause", tls_words(cause)).into()
}

/// A name that does not resolve has no kind of its own, but fixed words at the beginning.
fn io_words(cause: &io::Error) -> String {
    if cause.to_string().starts_with("failed to lookup address information") {
        "its host name could not be resolved".to_owned()
    } else {
        in_words(cause)
    }
}

fn tls_words(cause: &(dyn std::error::Error + 'static)) -> String {
    let mut source = Some(cause);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(inner) = io.get_ref()
            && let Some(tls) = inner.downcast_ref::<rustls::Error>()
        {
            return tls.to_string();
        }
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return tls.to_string();
        }
        source = error.source();
    }
    cause.to_string()
}

/// SQLite's extended result codes (sqlite.org/rescode.html); the low byte is the primary code.
fn sqlite(code: &str) -> StoreError {
    let extended = code.parse::<u32>().unwrap_or(1);
    let named = format!("SQLite code {extended}");
    match extended & 0xff {
        5 | 6 => StoreError::Locked { place: String::new() },
        8 => write(WriteCause::ReadOnly),
        3 | 23 => write(WriteCause::Permission),
        13 => write(WriteCause::Full),
        10 | 14 => write(WriteCause::Io),
        11 => StoreError::corrupt(&named),
        26 => StoreError::NotOurs { place: String::new() },
        _ => statement(named),
    }
}

/// PostgreSQL's SQLSTATE (PostgreSQL documentation, Appendix A).
fn postgres(code: String) -> StoreError {
    let place = String::new();
    match code.as_str() {
        "3D000" => {
            let hint = "create it (`createdb NAME`), or correct database.url";
            Problem::new(Exit::Config, "{place} has no such database").next_step(hint).into()
        }
        "28000" | "28P01" => StoreError::Login { place, code },
        // 3F000: no schema of the search path may be used.
        "42501" | "3F000" => StoreError::Rights { place, code },
        "53100" => write(WriteCause::Full),
        "25006" => write(WriteCause::Standby),
        "58030" => write(WriteCause::Io),
        "40001" | "40P01" | "40003" => StoreError::Contended { place, code },
        "55P03" => StoreError::Locked { place },
        "23505" => StoreError::IdInUse { place, code },
        "XX001" | "XX002" => StoreError::corrupt(&code),
        _ if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) || code == "25P03" => {
            StoreError::Unreachable { place, cause: format!("SQLSTATE {code}") }
        }
        _ => statement(format!("SQLSTATE {code}")),
    }
}
