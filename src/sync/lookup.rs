//! Look-ups: what the pages of single consents say about those who left and those who came back (contract, section 5.6.1).

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{ActiveRun, RunError};
use crate::api::{Deadline, Lookup};
use crate::consent::is_askable;

/// They end this long before the run's deadline: what was found out must still be recorded.
const MARGIN: Duration = Duration::from_mins(1);

/// This many answers in a row that say nothing end them.
const MAX_UNCLEAR: u32 = 3;

/// How many look-ups were made since the process began, by their answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookupCounts {
    pub there: u64,
    pub gone: u64,
    pub unclear: u64,
}

impl LookupCounts {
    fn count(&mut self, answer: Lookup) {
        *match answer {
            Lookup::There => &mut self.there,
            Lookup::Gone => &mut self.gone,
            Lookup::Unclear { .. } => &mut self.unclear,
        } += 1;
    }
}

#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// Ids of listed consents, by which it is found out whether pages can be used at all.
    controls: Vec<String>,
    /// By `consent_key`, without the controls.
    pub(super) answers: HashMap<String, Lookup>,
    /// Whether a control was there; None where none was asked for yet.
    pub(super) usable: Option<bool>,
    unclear_in_a_row: u32,
    ended: bool,
    pub(super) not_before: Option<Instant>,
}

impl Lookups {
    pub(super) fn with_controls(controls: Vec<String>) -> Self {
        Self { controls, ..Self::default() }
    }

    pub(super) fn is_there(&self, key: &str) -> bool {
        self.answers.get(key) == Some(&Lookup::There)
    }

    pub(super) fn is_gone(&self, key: &str) -> bool {
        self.answers.get(key) == Some(&Lookup::Gone)
    }

    /// How many more may be asked for.
    fn left(&self, most: usize) -> usize {
        if self.ended || self.usable == Some(false) { 0 } else { most.saturating_sub(self.answers.len()) }
    }
}

impl ActiveRun<'_> {
    pub(super) fn max_lookups(&self) -> usize {
        usize::try_from(self.syncer.config.removal.max_checks).unwrap_or(usize::MAX)
    }

    /// Asks for these pages, as far as the run may. The first time a control comes before them.
    pub(super) async fn look_up(
        &mut self,
        lookups: &mut Lookups,
        keys: impl Iterator<Item = String>,
    ) -> Result<(), RunError> {
        for key in keys {
            if lookups.answers.contains_key(&key) || !is_askable(&key) {
                continue;
            }
            if lookups.left(self.max_lookups()) == 0 || !self.are_pages_usable(lookups).await? {
                return Ok(());
            }
            let Some(answer) = self.ask(lookups, &key).await? else {
                return Ok(());
            };
            lookups.answers.insert(key, answer);
        }
        Ok(())
    }

    async fn are_pages_usable(&mut self, lookups: &mut Lookups) -> Result<bool, RunError> {
        if let Some(usable) = lookups.usable {
            return Ok(usable);
        }
        let controls = std::mem::take(&mut lookups.controls);
        for control in &controls {
            match self.ask(lookups, control).await? {
                Some(Lookup::There) => {
                    lookups.usable = Some(true);
                    return Ok(true);
                }
                Some(_) => {}
                None => break,
            }
        }
        lookups.usable = Some(false);
        if !controls.is_empty() && !lookups.ended {
            tracing::warn!(
                "the pages of listed consents were not found, so that no page decides in this run"
            );
        }
        Ok(false)
    }

    /// One page. None: the look-ups of this run are over.
    async fn ask(&mut self, lookups: &mut Lookups, id: &str) -> Result<Option<Lookup>, RunError> {
        let Self { syncer, sink, wait, .. } = self;
        let end = wait.deadline.map(|deadline| deadline.checked_sub(MARGIN).unwrap_or_else(Instant::now));
        if lookups.ended || end.is_some_and(|end| end <= Instant::now()) {
            lookups.ended = true;
            return Ok(None);
        }
        let deadline = end.map_or_else(Deadline::none, Deadline::at);
        let asking = async {
            let asking = syncer.api.lookup(id, deadline);
            match end {
                Some(end) => tokio::time::timeout_at(end, asking).await.ok(),
                None => Some(asking.await),
            }
        };
        let answer = wait.await_with_lease(asking, sink).await?;
        if wait.cancel.is_cancelled() {
            return Err(RunError::Interrupted);
        }
        let Some(answer) = answer.flatten() else {
            lookups.ended = true;
            return Ok(None);
        };
        syncer.lookups.count(answer);
        match answer {
            Lookup::Unclear { not_before } => {
                lookups.not_before = lookups.not_before.max(not_before);
                lookups.unclear_in_a_row += 1;
                if lookups.unclear_in_a_row >= MAX_UNCLEAR || not_before.is_some() {
                    tracing::warn!(
                        "pages of single consents gave no clear answer; the other look-ups wait for the next run"
                    );
                    lookups.ended = true;
                }
            }
            Lookup::There | Lookup::Gone => lookups.unclear_in_a_row = 0,
        }
        Ok(Some(answer))
    }
}
