//! The index over a sorted list of hashes.

use std::ops::Range;

/// On the average, at the least.
const HASHES_PER_BUCKET: usize = 8;

/// Where in a sorted list the hashes begin whose first bits are 0, 1, 2 and so on. Hashes are spread evenly, so each bucket
/// holds a handful.
#[derive(Debug, Default)]
pub struct Buckets {
    /// And the end of the list.
    starts: Vec<u32>,
    /// By how much a hash is shifted to give its bucket.
    shift: u32,
}

impl Buckets {
    /// Sorts a list by its hashes: each element goes straight to its bucket, which takes a fraction of the comparisons.
    pub fn sort<T: Ord>(list: &mut [T], hash_of: impl Fn(&T) -> u64) -> Self {
        let buckets = (list.len() / HASHES_PER_BUCKET).next_power_of_two().max(2);
        let mut this = Self { starts: vec![0; buckets + 1], shift: u64::BITS - buckets.trailing_zeros() };
        for one in &*list {
            this.starts[bucket(hash_of(one), this.shift) + 1] += 1;
        }
        for at in 0..buckets {
            this.starts[at + 1] += this.starts[at];
        }
        // What lies before these has its place.
        let mut next = this.starts.clone();
        for at in 0..buckets {
            let end = this.starts[at + 1];
            while next[at] < end {
                let here = next[at] as usize;
                let other = bucket(hash_of(&list[here]), this.shift);
                if other != at {
                    list.swap(here, next[other] as usize);
                }
                next[other] += 1;
            }
            list[this.starts[at] as usize..end as usize].sort_unstable();
        }
        this
    }

    /// Where in the list this hash stands, if it does.
    pub fn range(&self, hash: u64) -> Range<usize> {
        match self.starts.get(bucket(hash, self.shift)..) {
            Some([start, end, ..]) => *start as usize..*end as usize,
            _ => 0..0,
        }
    }
}

/// There is one for each value of the bits that are left.
fn bucket(hash: u64, shift: u32) -> usize {
    usize::try_from(hash.checked_shr(shift).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn it_sorts_and_finds_whatever_the_hashes(
            mut hashes in prop::collection::vec(prop_oneof![any::<u64>(), 0..3_u64, u64::MAX - 2..], 0..300),
        ) {
            let mut expected = hashes.clone();
            expected.sort_unstable();
            let buckets = Buckets::sort(&mut hashes, |hash| *hash);
            prop_assert_eq!(&hashes, &expected);
            for hash in &expected {
                prop_assert!(hashes[buckets.range(*hash)].contains(hash));
            }
        }
    }
}
