//! What a key opens: the first page of the list, and whose it is. For `check` and `init`; stores nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::terminal::visible;
use crate::api::{Api, ApiError, Deadline, Paths, QUICKSTART_PATH, RawPage};
use crate::config::{Config, ConsentsPath};
use crate::sync::companies;

/// The owner's name is worth one question and no long wait.
const OWNER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct FirstLook {
    pub path: String,
    pub count: usize,
    pub more: bool,
    pub companies: Vec<String>,
    /// The company that the key belongs to, in words and as far as it is known.
    pub company: Option<String>,
}

impl FirstLook {
    pub(super) async fn fetch(api: &mut Api, config: &Config, deadline: Deadline) -> Result<Self, ApiError> {
        let paths = match &config.api.consents_path {
            ConsentsPath::Auto => Paths::Auto { first: QUICKSTART_PATH.to_owned() },
            ConsentsPath::Fixed(path) => Paths::Fixed(path.clone()),
        };
        let mut pager = api.pages(paths, deadline);
        let page = pager.next_page().await?;
        let path = pager.endpoint().to_owned();
        let companies = page.as_ref().map(|page| companies(&page.read())).unwrap_or_default();
        let company = owner(api).await.or_else(|| match companies.as_slice() {
            [] => None,
            [company] => Some(visible(company)),
            companies => Some(format!("{} companies", companies.len())),
        });
        let count = page.as_ref().map_or(0, RawPage::len);
        Ok(Self { path, count, more: page.is_some_and(|page| page.next().is_some()), companies, company })
    }

    /// "100 consents on the first page, and more follow"
    pub(super) fn counted(&self) -> String {
        let noun = if self.count == 1 { "consent" } else { "consents" };
        let more = if self.more { ", and more follow" } else { "" };
        format!("{} {noun} on the first page{more}", self.count)
    }
}

/// A key that may read the list and nothing else has no answer here, and needs none.
async fn owner(api: &mut Api) -> Option<String> {
    let me = api.me(Deadline::at(Instant::now() + OWNER_TIMEOUT)).await.ok()?;
    let id = visible(&me.company_id);
    match me.company_name.filter(|name| !name.trim().is_empty()) {
        Some(name) => Some(format!("{} ({id})", visible(&name).chars().take(80).collect::<String>())),
        None => Some(id),
    }
}
