//! The keyed hashes by which rows are known again without asking the database.
//!
//! Every database has a salt of its own, so nobody outside can make two keys collide on purpose, and a hash that leaks says
//! nothing about a person without that salt.

use std::hash::Hasher as _;

use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher13;

use crate::consent::{Consent, address, hex, normalized_email};

mod buckets;
mod known_items;

pub use buckets::Buckets;
pub use known_items::KnownItems;

/// 64 bits of the key, 56 of the content: what is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowHash {
    pub key: u64,
    pub content: u64,
}

pub const ROW_HASH_DIGITS: usize = 30;

impl RowHash {
    /// As stored in `consents.row_hash`: text, so that every tool can copy the table.
    pub fn to_hex(self) -> String {
        let content = self.content.to_be_bytes();
        let mut digits = hex(&self.key.to_be_bytes());
        digits.push_str(&hex(&content[1..]));
        digits
    }

    /// From the database; None where it is not what this program writes.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        if digits.len() != ROW_HASH_DIGITS {
            return None;
        }
        Some(Self { key: number(&digits[..16])?, content: number(&digits[16..])? })
    }
}

pub const ITEM_HASH_DIGITS: usize = 16;

/// As stored in `consents.item_hash`.
pub fn item_hash_to_hex(hash: u64) -> String {
    hex(&hash.to_be_bytes())
}

/// From the database; None where it is not what this program writes.
pub fn item_hash_from_hex(digits: &[u8]) -> Option<u64> {
    (digits.len() == ITEM_HASH_DIGITS).then(|| number(digits))?
}

/// Of at most 16 hexadecimal digits. A table and one look at the end: there are 46 digits a row.
fn number(digits: &[u8]) -> Option<u64> {
    const VALUES: [u8; 256] = {
        let mut values = [INVALID; 256];
        let mut value = 0;
        while value < 16 {
            values[b"0123456789abcdef"[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    const INVALID: u8 = 0x80;
    let (mut number, mut all) = (0, 0);
    for digit in digits {
        let value = VALUES[usize::from(*digit)];
        all |= value;
        number = number << 4 | u64::from(value);
    }
    (all < INVALID).then_some(number)
}

/// Raise it whenever `api` makes another consent of the same bytes: every item is read again then.
const READER_VERSION: u8 = 1;

/// The salt of one database and what is hashed with it.
#[derive(Clone)]
pub struct Salt {
    bytes: Vec<u8>,
    sip: SipHasher13,
    item_sip: SipHasher13,
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt([redacted])")
    }
}

impl Salt {
    pub fn new(bytes: Vec<u8>) -> Self {
        let sip = |kind: &[u8]| {
            let mut key = [0; 16];
            key.copy_from_slice(&Sha256::new().chain_update(&bytes).chain_update(kind).finalize()[..16]);
            SipHasher13::new_with_key(&key)
        };
        Self { sip: sip(&[]), item_sip: sip(&[b'i', READER_VERSION]), bytes }
    }

    pub fn key(&self, key: &str) -> u64 {
        let mut hasher = self.sip;
        hasher.write(key.as_bytes());
        hasher.finish()
    }

    /// Of an item of the list, byte for byte.
    pub fn item(&self, item: &str) -> u64 {
        self.item_sip.hash(item.as_bytes())
    }

    /// Of everything except the id, which the key holds: 56 bits.
    pub fn content(&self, consent: &Consent<'_>) -> u64 {
        let mut hasher = self.sip;
        let fields = [
            Some(consent.company_id.as_ref()),
            Some(consent.email.as_ref()),
            consent.full_name.as_deref(),
            consent.source.as_deref(),
            consent.refs.as_deref(),
            consent.extra.as_deref(),
        ];
        for field in fields {
            match field {
                None => hasher.write_u8(0),
                Some(text) => {
                    hasher.write_u8(1);
                    hasher.write_u64(text.len() as u64);
                    hasher.write(text.as_bytes());
                }
            }
        }
        // Zero is kept for rows whose content is no longer known.
        (hasher.finish() >> 8).max(1)
    }

    /// `suppressions.email_hash`: of the salt and the normal form of the address.
    pub fn address(&self, email: &str) -> String {
        self.hash(&[], &address(email))
    }

    /// Every `email_hash` that this address may stand under: the one of its normal form, and where that differs the one that
    /// versions before schema 2 made.
    pub fn addresses(&self, email: &str) -> impl Iterator<Item = String> {
        let before = (!email.is_ascii()).then(|| self.hash(&[], &normalized_email(email)));
        std::iter::once(self.address(email)).chain(before)
    }

    /// `suppressed_ids.id_hash`.
    pub fn id(&self, consent_id: &str) -> String {
        self.hash(&[1], consent_id)
    }

    /// What is left of a natural key when retention erased its row: `nk:` and a salted hash.
    pub fn erased_key(&self, natural_key: &str) -> String {
        format!("nk:{}", self.hash(&[0], natural_key))
    }

    /// `kind` keeps hashes of different things apart.
    fn hash(&self, kind: &[u8], text: &str) -> String {
        hex(&Sha256::new().chain_update(&self.bytes).chain_update(kind).chain_update(text).finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_one_hash_and_the_hash_of_an_older_version_is_still_found() {
        let salt = Salt::new(vec![7; 32]);
        let spellings =
            ["José@bücher.example", "jose\u{301}@BU\u{308}CHER.example", " JOSÉ@xn--bcher-kva.example"];
        for spelling in spellings {
            assert_eq!(salt.address(spelling), salt.address("josé@bücher.example"), "{spelling}");
            let older = salt.hash(&[], &normalized_email(spelling));
            assert!(salt.addresses(spelling).any(|hash| hash == older), "{spelling}");
        }
        assert_eq!(salt.addresses("Maria@example.com").count(), 1);
        assert_eq!(salt.addresses("maria@example.com").next(), Some(salt.hash(&[], "maria@example.com")));
        assert_ne!(salt.id("a"), salt.address("a"));
    }
}
