//! Questions about one thing: is this consent still there, whose key is this.
//!
//! Owns what the answers mean for removals and returns: 400, 404 and 410 say that a consent is gone, only 200 with an object
//! of its id that it is there.

use tokio::time::Instant;
use url::Url;

use super::cause::{Cause, Endpoint};
use super::client::Want;
use super::error::ApiError;
use super::json::{self, BadBody, Raw};
use super::request::verdict;
use super::retry::{Attempt, Deadline, Fault};
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
    /// Its name, if the API tells.
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
        if !is_askable(id) {
            return Lookup::Unclear { not_before: None };
        }
        let path = format!("{REFERENCE_PATH}/{}", token::encoded(id));
        let Ok(url) = self.url(Endpoint::Consent, &path, "") else {
            return Lookup::Unclear { not_before: None };
        };
        let policy = self.policy.clone();
        let mut attempt = AskForConsent { api: self, url, id, deadline, renewed: false };
        match policy.run(Endpoint::Consent, deadline, &mut attempt).await {
            Ok(answer) => answer,
            Err(error) => Lookup::Unclear { not_before: error.not_before() },
        }
    }

    /// Asks whose key this is.
    pub async fn me(&mut self, deadline: Deadline) -> Result<Me, ApiError> {
        let url = self.url(Endpoint::Me, "/v1/me", "")?;
        self.get(Endpoint::Me, &url, me, deadline).await
    }
}

/// A request for the page of one consent.
struct AskForConsent<'a> {
    api: &'a mut Api,
    url: Url,
    id: &'a str,
    deadline: Deadline,
    renewed: bool,
}

impl Attempt for AskForConsent<'_> {
    type Output = Lookup;

    async fn make(&mut self, number: u32) -> Result<Lookup, Fault> {
        let endpoint = Endpoint::Consent;
        self.api.count_retry(number);
        // Read and thrown away where it says nothing, so that the connection serves the next look-up.
        let want = Want { limit: self.api.max_bytes, with: |status| matches!(status, 200 | 400 | 404 | 410) };
        let answer =
            self.api.send_renewing(endpoint, &self.url, want, &mut self.renewed, self.deadline).await?;
        if matches!(answer.status, 400 | 404 | 410) {
            return Ok(Lookup::Gone);
        }
        verdict(endpoint, &answer)?;
        match has_id(answer.body, self.id) {
            Ok(true) => Ok(Lookup::There),
            Ok(false) | Err(BadBody::Shape(_)) => Ok(Lookup::Unclear { not_before: None }),
            Err(BadBody::NotJson) => Err(Cause::NotJson.into()),
        }
    }
}

/// Whether a body is an object of this consent.
fn has_id(body: Vec<u8>, id: &str) -> Result<bool, BadBody> {
    let (text, _) = json::text(body)?;
    let text = json::checked(&text)?;
    let Some(members) = json::members(text) else {
        return Ok(false);
    };
    let found = members.iter().rev().find(|(key, _)| key == "id").map(|(_, value)| *value);
    Ok(found.is_some_and(|value| match value.string() {
        Some(text) => text == id,
        None => value.integer() == Some(id),
    }))
}

fn me(body: Vec<u8>) -> Result<Me, BadBody> {
    let (text, _) = json::text(body)?;
    let text = json::checked(&text)?;
    let members = json::members(text).ok_or(BadBody::Shape("the answer is not an object"))?;
    let text_of = |name: &str| {
        let found = members.iter().rev().find(|(key, _)| key == name);
        found.and_then(|(_, value)| Raw::string(*value)).map(std::borrow::Cow::into_owned)
    };
    Ok(Me {
        company_id: text_of("company_id")
            .filter(|text| !text.trim().is_empty())
            .ok_or(BadBody::Shape("`company_id` is missing or not text"))?,
        company_name: text_of("company_name"),
    })
}
