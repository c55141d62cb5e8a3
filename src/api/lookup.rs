//! Questions about one thing: is this consent still there, whose key is this.
//!
//! Owns what the answers mean for removals and returns: 400, 404 and 410 say that a consent is gone, only 200 with an object
//! of its id that it is there.

use std::sync::atomic::AtomicBool;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::client::Want;
use super::error::{ApiError, Endpoint};
use super::json::{self, BadBody, Raw};
use super::request::verdict;
use super::retry::Deadline;
use super::{Api, REFERENCE_PATH, token};
use crate::consent::is_askable;

/// What the page of a single consent said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// 200 and an object with its id: it is there.
    There,
    /// 400, 404 or 410: it is not.
    Gone,
    /// Anything else.
    Unclear {
        /// Before when the API wants no further request.
        not_before: Option<Instant>,
    },
}

impl Lookup {
    /// As in `consent_checks.answer` and the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Gone => "gone",
            Self::Unclear { .. } => "unclear",
        }
    }
}

/// Whose key it is (`/v1/me`).
#[derive(Clone, PartialEq, Eq)]
pub struct Me {
    pub company_id: String,
    pub company_name: Option<String>,
}

impl std::fmt::Debug for Me {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Me").finish_non_exhaustive()
    }
}

impl Api {
    /// Asks for one consent, retried as any request. Nothing that goes wrong ends more than this look-up, a token that cannot
    /// be had included.
    pub async fn lookup(&mut self, id: &str, deadline: Deadline) -> Lookup {
        let path = format!("{REFERENCE_PATH}/{}", token::encoded(id));
        let Some(url) = self.url(Endpoint::Consent, &path, "").ok().filter(|_| is_askable(id)) else {
            return Lookup::Unclear { not_before: None };
        };
        // Read and thrown away where it says nothing, so that the connection serves the next look-up.
        let want = Want { limit: self.max_bytes, with: |status| matches!(status, 200 | 400 | 404 | 410) };
        let renewed = AtomicBool::new(false);
        let attempt = || async {
            let answer = self.send_with_token(Endpoint::Consent, &url, want, &renewed, deadline).await?;
            if matches!(answer.status, 400 | 404 | 410) {
                return Ok(Lookup::Gone);
            }
            verdict(Endpoint::Consent, &answer)?;
            match has_id(answer.body, id) {
                Ok(true) => Ok(Lookup::There),
                Ok(false) | Err(BadBody::Shape(_)) => Ok(Lookup::Unclear { not_before: None }),
                Err(bad) => Err(bad.fault(Endpoint::Consent)),
            }
        };
        let answer: Result<Lookup, ApiError> = self.retry(Endpoint::Consent, deadline, attempt).await;
        answer.unwrap_or_else(|error| Lookup::Unclear { not_before: error.not_before() })
    }

    pub async fn me(&mut self, deadline: Deadline) -> Result<Me, ApiError> {
        let url = self.url(Endpoint::Me, "/v1/me", "")?;
        self.get(Endpoint::Me, &url, me, deadline).await
    }
}

/// Whether a body is an object of this consent.
fn has_id(body: Vec<u8>, id: &str) -> Result<bool, BadBody> {
    #[derive(Deserialize)]
    struct ConsentAnswer<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    let text = json::text(body)?;
    let found = json::object::<ConsentAnswer<'_>>(&text)?.id.map(Raw::from);
    Ok(found.is_some_and(|value| match value.string() {
        Some(text) => text == id,
        None => value.integer() == Some(id),
    }))
}

fn me(body: Vec<u8>) -> Result<Me, BadBody> {
    #[derive(Deserialize)]
    struct MeAnswer<'a> {
        #[serde(borrow)]
        company_id: Option<&'a RawValue>,
        #[serde(borrow)]
        company_name: Option<&'a RawValue>,
    }
    let text = json::text(body)?;
    let answer: MeAnswer<'_> = json::object(&text)?;
    let string = |value: Option<&RawValue>| Raw::from(value?).string().map(std::borrow::Cow::into_owned);
    Ok(Me {
        company_id: string(answer.company_id)
            .filter(|text| !text.trim().is_empty())
            .ok_or(BadBody::Shape("`company_id` is missing or not text"))?,
        company_name: string(answer.company_name),
    })
}
