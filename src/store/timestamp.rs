//! One fixed-width instant: text order is time order in SQLite, `timestamptz` in PostgreSQL.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use serde::{Serialize, Serializer};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgValueFormat;
use sqlx::{Decode, Encode, Postgres, Sqlite, Type};

/// 2000-01-01, from where PostgreSQL counts microseconds; `infinity` is the last number of them, which the driver's own reading
/// of it does not survive.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The last instant that has a text of fixed width.
const LAST: DateTime<Utc> = match DateTime::from_timestamp_millis(253_402_300_799_999) {
    Some(at) => at,
    None => DateTime::<Utc>::MAX_UTC,
};

/// A UTC instant in whole milliseconds, `YYYY-MM-DDTHH:MM:SS.sssZ` as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    pub fn new(at: DateTime<Utc>) -> Self {
        Self(at.trunc_subsecs(3))
    }

    /// The wall clock. Only the edges of the program ask it; rules take instants as arguments.
    #[expect(clippy::disallowed_methods, reason = "the one door to the wall clock")]
    pub fn now() -> Self {
        Self::new(Utc::now())
    }

    pub fn to_utc(self) -> DateTime<Utc> {
        self.0
    }

    pub fn millis(self) -> i64 {
        self.0.timestamp_millis()
    }

    pub fn plus_millis(self, millis: i64) -> Self {
        self.0.checked_add_signed(chrono::TimeDelta::milliseconds(millis)).map_or(self, Self)
    }

    pub fn minus(self, age: Duration) -> Self {
        self.plus_millis(-i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self(DateTime::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

impl FromStr for Timestamp {
    type Err = chrono::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(DateTime::parse_from_rfc3339(text)?.with_timezone(&Utc)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Type<Sqlite> for Timestamp {
    fn type_info() -> <Sqlite as sqlx::Database>::TypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for Timestamp {
    fn encode_by_ref(
        &self,
        buf: &mut <Sqlite as sqlx::Database>::ArgumentBuffer,
    ) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(self.to_string(), buf)
    }
}

impl<'r> Decode<'r, Sqlite> for Timestamp {
    fn decode(value: <Sqlite as sqlx::Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(<&str as Decode<Sqlite>>::decode(value)?.parse()?)
    }
}

impl Type<Postgres> for Timestamp {
    fn type_info() -> <Postgres as sqlx::Database>::TypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(
        &self,
        buf: &mut <Postgres as sqlx::Database>::ArgumentBuffer,
    ) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode_by_ref(&self.0, buf)
    }
}

impl<'r> Decode<'r, Postgres> for Timestamp {
    fn decode(value: <Postgres as sqlx::Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Ok(Self::new(<DateTime<Utc> as Decode<Postgres>>::decode(value)?));
        }
        let micros = <i64 as Decode<Postgres>>::decode(value)?;
        let since_1970 = micros.saturating_add(POSTGRES_EPOCH_MICROS);
        let last = if micros < 0 { DateTime::<Utc>::MIN_UTC } else { LAST };
        Ok(Self::new(DateTime::from_timestamp_micros(since_1970).filter(|at| *at <= LAST).unwrap_or(last)))
    }
}
