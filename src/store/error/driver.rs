//! Reading what the two drivers say: their errors become ours, and their text stays behind.

use std::io;

use super::{StoreError, WriteCause};
use crate::file::in_words;

/// What PgBouncer says of a transaction in statement mode; its SQLSTATE is that of any broken connection.
const STATEMENT_POOLING: &str = "statement pooling mode";

/// Turns a driver's error into ours, dropping its text.
pub(in crate::store) fn from_sqlx(error: &sqlx::Error, place: &str) -> StoreError {
    let place = place.to_owned();
    match error {
        sqlx::Error::Database(db) => {
            let code = db.code().unwrap_or_default().into_owned();
            if db.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
                sqlite(&code, place)
            } else if db.message().contains(STATEMENT_POOLING) {
                StoreError::StatementPooling { place }
            } else {
                postgres(code, place)
            }
        }
        // A certificate that is refused comes as an I/O error of the handshake.
        sqlx::Error::Io(cause)
            if cause.get_ref().is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some()) =>
        {
            StoreError::Tls { place, cause: tls_words(cause) }
        }
        sqlx::Error::Io(cause) => StoreError::Unreachable { place, cause: io_words(cause) },
        sqlx::Error::Tls(cause) => StoreError::Tls { place, cause: tls_words(cause.as_ref()) },
        sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
            StoreError::Unreachable { place, cause: "the connection broke".to_owned() }
        }
        sqlx::Error::Configuration(_) => StoreError::Url("the driver does not understand it"),
        sqlx::Error::ColumnDecode { index, .. } => {
            StoreError::Statement { place, code: format!("column {index}") }
        }
        sqlx::Error::Migrate(_) => StoreError::Statement { place, code: "migration".to_owned() },
        _ => StoreError::Statement { place, code: "driver".to_owned() },
    }
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
fn sqlite(code: &str, place: String) -> StoreError {
    let extended = code.parse::<u32>().unwrap_or(1);
    let write = |cause| StoreError::Write { place: place.clone(), cause };
    match extended & 0xff {
        5 | 6 => StoreError::Locked { place },
        8 => write(WriteCause::ReadOnly),
        3 | 23 => write(WriteCause::Permission),
        13 => write(WriteCause::Full),
        10 | 14 => write(WriteCause::Io),
        11 => StoreError::Corrupt { place, code: format!("SQLite code {extended}") },
        26 => StoreError::NotOurs { place },
        _ => StoreError::Statement { place, code: format!("SQLite code {extended}") },
    }
}

/// PostgreSQL's SQLSTATE (PostgreSQL documentation, Appendix A).
fn postgres(code: String, place: String) -> StoreError {
    match code.as_str() {
        "3D000" => StoreError::NoSuchDatabase { place },
        "28000" | "28P01" => StoreError::Login { place, code },
        // 3F000: no schema of the search path may be used.
        "42501" | "3F000" => StoreError::Rights { place, code },
        "53100" => StoreError::Write { place, cause: WriteCause::Full },
        "25006" => StoreError::Write { place, cause: WriteCause::Standby },
        "58030" => StoreError::Write { place, cause: WriteCause::Io },
        "40001" | "40P01" | "40003" => StoreError::Contended { place, code },
        "55P03" => StoreError::Locked { place },
        "23505" => StoreError::IdInUse { place, code },
        "XX001" | "XX002" => StoreError::Corrupt { place, code },
        _ if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) || code == "25P03" => {
            StoreError::Unreachable { place, cause: format!("SQLSTATE {code}") }
        }
        _ => StoreError::Statement { place, code: format!("SQLSTATE {code}") },
    }
}
