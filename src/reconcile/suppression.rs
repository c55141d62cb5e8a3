//! Who was erased, known by salted hashes alone, and how an item of theirs is recognized.

use std::collections::HashSet;

use crate::consent::{Consent, MAX_ADDRESSES, Rejected, any_address};
use crate::hash::Salt;

/// `suppressions` and `suppressed_ids`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suppressions {
    addresses: HashSet<String>,
    ids: HashSet<String>,
    /// Addresses erased by a version that kept no ids: which of their ids are new is not known.
    ids_unknown: HashSet<String>,
}

/// Why an item is suppressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Suppressed {
    /// It belongs to an erased person.
    Person {
        /// The hash of the address where its id was not erased: the person may have consented again.
        renewed: Option<String>,
    },
    /// It belongs to somebody else and names an erased person.
    Mention,
}

/// A text of such letters alone is an address or none; it holds none among other words.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"@._%+-".contains(&byte)
}

impl Suppressions {
    /// `ids`: (`id_hash`, `email_hash`).
    pub fn new(addresses: HashSet<String>, ids: Vec<(String, String)>) -> Self {
        let (unknown, ids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|(id, _)| id.is_empty());
        Self {
            addresses,
            ids: ids.into_iter().map(|(id, _)| id).collect(),
            ids_unknown: unknown.into_iter().map(|(_, email)| email).collect(),
        }
    }

    pub(super) fn find(&self, salt: &Salt, consent: &Consent<'_>) -> Option<Suppressed> {
        if self.addresses.is_empty() && self.ids.is_empty() {
            return None;
        }
        let erased_id = consent.consent_id.as_deref().is_some_and(|id| self.has_id(salt, id));
        if erased_id {
            return Some(Suppressed::Person { renewed: None });
        }
        if let Some(hash) = self.hash_of(salt, &consent.email) {
            let known = consent.consent_id.is_none() || self.ids_unknown.contains(&hash);
            return Some(Suppressed::Person { renewed: (!known).then_some(hash) });
        }
        let others = [&consent.full_name, &consent.source, &consent.refs, &consent.extra];
        let others = others.into_iter().filter_map(|text| text.as_deref());
        let email = Some(consent.email.as_ref()).filter(|email| !email.bytes().all(is_plain));
        let others = others.chain(email);
        // A name may equal what somebody else has as an odd address: only real addresses count here.
        let wanted = |text: &str| text.contains('@') && self.hash_of(salt, text).is_some();
        let mut naming = others.filter(|text| text.contains('@'));
        naming.any(|text| any_address(text, MAX_ADDRESSES, wanted)).then_some(Suppressed::Mention)
    }

    pub(super) fn has_rejected(&self, salt: &Salt, rejected: &Rejected) -> bool {
        if self.addresses.is_empty() && self.ids.is_empty() {
            return false;
        }
        rejected.id.as_deref().is_some_and(|id| self.has_id(salt, id))
            || any_address(&rejected.item, MAX_ADDRESSES, |text| self.hash_of(salt, text).is_some())
    }

    fn has_id(&self, salt: &Salt, id: &str) -> bool {
        !self.ids.is_empty() && self.ids.contains(&salt.id(id))
    }

    /// `suppressions.email_hash` of this address.
    fn hash_of(&self, salt: &Salt, email: &str) -> Option<String> {
        salt.addresses(email).find(|hash| self.addresses.contains(hash))
    }
}
