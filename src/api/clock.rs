//! The other side's clock, as the `Date` headers of its answers give it.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{AGE, DATE, HeaderMap};
use tokio::time::Instant;

use super::error::Endpoint;
use super::retry::http_date;

/// The time that one answer named, and when it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    time: DateTime<Utc>,
    at: Instant,
}

impl Reading {
    /// `Date` plus `Age`: an answer out of a cache names the time at which it was made.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let age = headers.get(AGE).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let age = TimeDelta::try_seconds(age.unwrap_or(0)).unwrap_or_default();
        let time = date(headers)?.checked_add_signed(age)?;
        Some(Self { time, at: Instant::now() })
    }

    fn now(self) -> Option<DateTime<Utc>> {
        self.time.checked_add_signed(TimeDelta::from_std(self.at.elapsed()).ok()?)
    }
}

pub(super) fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    http_date(headers.get(DATE)?.to_str().ok()?.trim())
}

/// The last readings of the token endpoint and of the API.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerClock {
    token: Option<Reading>,
    api: Option<Reading>,
}

impl ServerClock {
    pub(super) fn record(&mut self, endpoint: Endpoint, reading: Option<Reading>) {
        match endpoint {
            Endpoint::Token => self.token = reading,
            _ => self.api = reading,
        }
    }

    pub(super) fn now(&self) -> ServerTimes {
        ServerTimes { token: self.token.and_then(Reading::now), api: self.api.and_then(Reading::now) }
    }
}

/// What time it is now, according to the last answer of each; none where it named no time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerTimes {
    pub token: Option<DateTime<Utc>>,
    pub api: Option<DateTime<Utc>>,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reading(pairs: &[(reqwest::header::HeaderName, &str)]) -> Option<Reading> {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        Reading::of(&headers.collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_goes_on_with_the_monotonic_clock_and_counts_the_age() {
        const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        let mut clock = ServerClock::default();
        clock.record(Endpoint::Token, reading(&[(DATE, AT)]));
        clock.record(Endpoint::Consents, reading(&[(DATE, AT), (AGE, "120")]));
        tokio::time::advance(Duration::from_secs(3)).await;
        let times = clock.now();
        assert_eq!(times.token.unwrap().to_string(), "1994-11-06 08:49:40 UTC");
        assert_eq!(times.api.unwrap().to_string(), "1994-11-06 08:51:40 UTC");
    }

    #[test]
    fn what_is_not_a_date_is_no_reading_and_what_is_not_an_age_is_none() {
        for text in ["", "today", "Sun, 06 Nov 1994 25:49:37 GMT", "784111777"] {
            assert!(reading(&[(DATE, text)]).is_none(), "{text}");
        }
        assert!(reading(&[(AGE, "5")]).is_none());
        for age in ["-", "99999999999999999999", "1.5"] {
            let now = reading(&[(DATE, "Sun, 06 Nov 1994 08:49:37 GMT"), (AGE, age)]).unwrap();
            assert_eq!(now.time.to_string(), "1994-11-06 08:49:37 UTC", "{age}");
        }
    }
}
