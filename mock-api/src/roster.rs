//! The list of consents that the mock API serves.
//!
//! Items are kept as JSON text: it takes a quarter of the memory of parsed values, a page is made by joining it, and a test can
//! list what no parser would take (a lone surrogate, a number of a hundred digits).

use serde_json::Value;

use super::people::person;

/// One consent as it is served.
struct Entry {
    /// Its id where it has one as text, to find it by.
    id: Option<Box<str>>,
    /// The item as it goes out.
    json: Box<str>,
    /// False: only its own page answers.
    listed: bool,
}

impl Entry {
    fn new(item: &Value) -> Self {
        Self {
            id: item.get("id").and_then(Value::as_str).map(Box::from),
            json: item.to_string().into(),
            listed: true,
        }
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

/// Who is listed, in the order of the list.
#[derive(Default)]
pub struct Roster {
    entries: Vec<Entry>,
}

impl Roster {
    /// Replaces everything. Odd items are welcome.
    pub fn set(&mut self, items: &[Value]) {
        self.entries = items.iter().map(Entry::new).collect();
    }

    /// Adds the made-up people with these numbers at the end, without a detour over a list of values.
    pub fn fill(&mut self, seed: u64, numbers: std::ops::Range<u64>) {
        self.entries.extend(numbers.map(|number| Entry::new(&person(seed, number))));
    }

    /// Adds one at the end.
    pub fn add(&mut self, item: &Value) {
        self.entries.push(Entry::new(item));
    }

    /// Adds one at the end exactly as written, JSON or not; `id` is what its own page is found by.
    pub fn add_raw(&mut self, id: Option<&str>, item: &str) {
        self.entries.push(Entry { id: id.map(Box::from), json: item.into(), listed: true });
    }

    /// Takes out the one with this id; its own page answers 404 from now on. False: there was none.
    pub fn remove(&mut self, id: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.id.as_deref() != Some(id));
        self.entries.len() < before
    }

    /// Takes out all that match; tells how many.
    pub fn remove_where(&mut self, mut matches: impl FnMut(&Value) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| !matches(&entry.value()));
        before - self.entries.len()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Changes the one with this id. False: there is none.
    pub fn update(&mut self, id: &str, change: impl FnOnce(&mut Value)) -> bool {
        let Some(entry) = self.find_mut(id) else {
            return false;
        };
        let listed = entry.listed;
        let mut item = entry.value();
        change(&mut item);
        *entry = Entry { listed, ..Entry::new(&item) };
        true
    }

    /// Lists or hides the one with this id; a hidden one's own page still answers 200. False: there is none.
    pub fn list(&mut self, id: &str, listed: bool) -> bool {
        self.find_mut(id).map(|entry| entry.listed = listed).is_some()
    }

    /// Puts the list into another order: position by position, the index of who stood there before.
    pub fn reorder(&mut self, key: impl Fn(usize) -> u64) {
        let mut numbered: Vec<_> = std::mem::take(&mut self.entries).into_iter().enumerate().collect();
        numbered.sort_by_key(|(index, _)| key(*index));
        self.entries = numbered.into_iter().map(|(_, entry)| entry).collect();
    }

    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.listed).count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of the listed, in order.
    pub fn ids(&self) -> Vec<String> {
        self.entries
            .iter()
            .filter(|entry| entry.listed)
            .filter_map(|entry| entry.id.as_deref().map(str::to_owned))
            .collect()
    }

    /// The listed items, in order.
    pub fn items(&self) -> Vec<Value> {
        self.entries.iter().filter(|entry| entry.listed).map(Entry::value).collect()
    }

    /// The item on its own page.
    pub(super) fn by_id(&self, id: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.id.as_deref() == Some(id)).map(|entry| &*entry.json)
    }

    /// At most `length` listed items from an index on, and the index where the next page begins (none: nobody is left).
    pub(super) fn slice(&self, from: usize, length: usize) -> (Vec<&str>, Option<usize>) {
        let mut items = Vec::with_capacity(length.min(10_000));
        for (index, entry) in self.entries.iter().enumerate().skip(from) {
            if !entry.listed {
                continue;
            }
            if items.len() == length {
                return (items, Some(index));
            }
            items.push(&*entry.json);
        }
        (items, None)
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id.as_deref() == Some(id))
    }
}
