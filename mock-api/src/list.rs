//! One page of the list.

use serde_json::Value;

use super::answer::Reply;
use super::fault::{Fault, PageHook};
use super::settings::{End, Ids};
use super::state::{Seen, State};

/// The longest page that any setting can make.
const LONGEST_PAGE: usize = 10_000;

/// A page before hooks rewrite it.
pub(super) struct PageDraft {
    page: u64,
    items: Vec<String>,
    next: Option<String>,
    end: End,
}

/// Whether this list carries ids.
pub(super) fn with_ids(state: &State, newer_path: bool) -> bool {
    match state.settings.ids {
        Ids::Everywhere => true,
        Ids::NewerPath => newer_path,
        Ids::Nowhere => false,
    }
}

/// The page that is asked for, or why there is none.
pub(super) fn draft(state: &mut State, call: &Seen, faults: &[Fault]) -> Result<PageDraft, Reply> {
    let limit = limit(call)?;
    let cursor = call.query("cursor").filter(|cursor| !cursor.is_empty());
    let (position, page) = match cursor {
        None => (0, 1),
        Some(cursor) => state
            .place(cursor)
            .filter(|place| state.is_fresh(*place))
            .map(|place| (place.position, place.page))
            .ok_or_else(refused_cursor)?,
    };
    let empty = faults.iter().any(|fault| matches!(fault, Fault::EmptyPage));
    let length = state.settings.page_length.unwrap_or(limit).clamp(1, LONGEST_PAGE);
    let (items, rest) = if empty {
        (Vec::new(), Some(position))
    } else {
        let (items, rest) = state.roster.slice(position, length);
        let items: Vec<String> = items.into_iter().map(str::to_owned).collect();
        let padded = state.settings.empty_last_page && !items.is_empty();
        (items, rest.or(padded.then_some(usize::MAX)))
    };
    let next = faults
        .iter()
        .find_map(|fault| match fault {
            Fault::RepeatCursor => cursor.map(str::to_owned),
            Fault::BackToPage(page) => state.cursor_to(*page),
            _ => None,
        })
        .or_else(|| rest.map(|rest| state.mint_cursor(rest, page + 1)));
    Ok(PageDraft { page, items, next, end: state.settings.end })
}

/// What an expired cursor, or one never given, is answered.
pub(super) fn refused_cursor() -> Reply {
    Reply::error(400, "The cursor is not valid.")
}

fn limit(call: &Seen) -> Result<usize, Reply> {
    match call.query("limit").map(str::parse::<usize>) {
        None => Ok(100),
        Some(Ok(limit @ 1..=100)) => Ok(limit),
        Some(_) => Err(Reply::error(400, "limit must be between 1 and 100.")),
    }
}

impl PageDraft {
    /// The page as it goes out.
    pub(super) fn into_reply(self, hooks: &[PageHook], with_ids: bool) -> Reply {
        let items = if hooks.is_empty() && with_ids {
            self.items
        } else {
            rewritten(self.page, &self.items, hooks, with_ids)
        };
        let mut body = String::with_capacity(64 + items.iter().map(|i| i.len() + 1).sum::<usize>());
        body.push('{');
        match (&self.next, self.end) {
            (Some(next), _) => {
                body.push_str("\"next\":");
                body.push_str(&Value::from(next.as_str()).to_string());
                body.push(',');
            }
            (None, End::Empty) => body.push_str("\"next\":\"\","),
            (None, End::Null) => body.push_str("\"next\":null,"),
            (None, End::Absent) => {}
        }
        body.push_str("\"items\":[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            body.push_str(item);
        }
        body.push_str("]}");
        Reply::new(200, "application/json", body.into_bytes())
    }
}

fn rewritten(page: u64, items: &[String], hooks: &[PageHook], with_ids: bool) -> Vec<String> {
    let mut values: Vec<Value> =
        items.iter().map(|item| serde_json::from_str(item).unwrap_or_default()).collect();
    if !with_ids {
        for item in values.iter_mut().filter_map(Value::as_object_mut) {
            item.remove("id");
        }
    }
    for hook in hooks {
        hook(page, &mut values);
    }
    values.iter().map(Value::to_string).collect()
}
