//! The items of the list that need not be read, because the very same bytes were stored before.

use super::{Buckets, Salt};

/// The hash of every item that an active row was stored from, 8 bytes each. An item's bytes hold its id, so they belong to
/// that row and to no other. What else an item is read for is settled for these: a database with rows of another company is
/// refused, and `forget` takes out whatever may name an erased person. It never changes: the next page is looked through while
/// the last one is still processed.
#[derive(Debug, Default)]
pub struct KnownItems {
    salt: Option<Salt>,
    sorted: Vec<u64>,
    buckets: Buckets,
}

impl KnownItems {
    pub fn new(salt: Salt, mut hashes: Vec<u64>) -> Self {
        let buckets = Buckets::sort(&mut hashes, |hash| *hash);
        Self { salt: Some(salt), sorted: hashes, buckets }
    }

    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// None where there is no database to store it in.
    pub fn hash(&self, item: &str) -> Option<u64> {
        self.salt.as_ref().map(|salt| salt.item(item))
    }

    pub fn contains(&self, item: &str) -> bool {
        let is_in = |hash: u64| self.sorted[self.buckets.range(hash)].contains(&hash);
        !self.is_empty() && self.hash(item).is_some_and(is_in)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn an_item_is_known_by_all_of_its_bytes(
            items in prop::collection::hash_set(".{0,40}", 0..80),
            others in prop::collection::hash_set(".{0,40}", 20),
        ) {
            let salt = Salt::new(vec![7; 32]);
            let known = KnownItems::new(salt.clone(), items.iter().map(|item| salt.item(item)).collect());
            prop_assert_eq!(known.is_empty(), items.is_empty());
            for item in &items {
                prop_assert!(known.contains(item));
            }
            for other in others.difference(&items) {
                prop_assert!(!known.contains(other));
            }
        }
    }

    #[test]
    fn without_a_database_nothing_is_known() {
        let known = KnownItems::default();
        assert!(known.is_empty() && known.hash("{}").is_none() && !known.contains("{}"));
    }
}
