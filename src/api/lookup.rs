//! Questions about one thing: is this consent still there, whose key is this.
//!
//! Owns what the answers mean for a removal: only 404 and 410 say that a consent is gone, and only 200 that it is there.

use super::cause::Endpoint;
use super::client::Want;
use super::error::ApiError;
use super::json::{self, BadBody, Raw};
use super::retry::{Deadline, Fault};
use super::{Api, QUICKSTART_PATH, REFERENCE_PATH, token};

/// What the page of a single consent said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// 200: it is there.
    Listed,
    /// 404 or 410: it is not.
    Gone,
    /// Anything else; the caller asks no further.
    Unclear {
        /// The status, where there was one.
        status: Option<u16>,
    },
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
    /// Asks for one consent, once (a 401 apart): removals can wait for the next run.
    ///
    /// # Errors
    /// Only where the URL cannot be put together. All else, a token that cannot be had included, is
    /// [`Lookup::Unclear`]: it ends the look-ups, not the run.
    pub async fn lookup(
        &mut self,
        list_path: &str,
        id: &str,
        deadline: Deadline,
    ) -> Result<Lookup, ApiError> {
        // URLs have no way to name such a segment: every client resolves it, encoded or not, and would ask for the list.
        // Nothing is asked, and the row stays missing.
        if matches!(id, "" | "." | "..") {
            return Ok(Lookup::Listed);
        }
        let path = match list_path {
            QUICKSTART_PATH | REFERENCE_PATH => REFERENCE_PATH,
            fixed => fixed.trim_end_matches('/'),
        };
        let url = self.url(Endpoint::Consent, &format!("{path}/{}", token::encoded(id)), "")?;
        // Read and thrown away, so that the connection serves the next look-up.
        let want = Want { limit: self.max_bytes, with: |status| matches!(status, 200 | 404 | 410) };
        let answer = self.send_renewing(Endpoint::Consent, &url, want, &mut false, deadline).await;
        Ok(match answer.map(|answer| answer.status) {
            Ok(200) => Lookup::Listed,
            Ok(404 | 410) => Lookup::Gone,
            Ok(status) => Lookup::Unclear { status: Some(status) },
            Err(Fault::Final(_) | Fault::Passing { .. }) => Lookup::Unclear { status: None },
        })
    }

    /// Asks whose key this is.
    pub async fn me(&mut self, deadline: Deadline) -> Result<Me, ApiError> {
        let url = self.url(Endpoint::Me, "/v1/me", "")?;
        self.get(Endpoint::Me, &url, me, deadline).await
    }
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
