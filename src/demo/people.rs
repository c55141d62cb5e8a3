//! Made-up people and their consents. Every address lies under a domain that is reserved for examples.

use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization as _;

/// The company that all of them gave their consent to.
pub(super) const COMPANY_ID: &str = "7d0c2f6e-5b1a-4c39-9e84-31f0a6d2b857";

const GIVEN: &str = "Søren Åse Bjørk Jürgen Käthe Łucja Zbigniew Małgorzata Siân Zoë Renée François Íñigo João \
    Čeněk Ștefan Győző Ólafur Þóra Ieva Jūratė Ayşe İlker Ελένη Олена Ngọc 美咲 Amara Kwame Fatima Noor Priya \
    Arjun Jean-Luc Ingrid Anders Emma";
const FAMILY: &str = "Ørsted Kjærgaard Åkesson Müller Groß Wójcik Kowalczyk Żółtowski O'Brien D’Angelo Nuñez \
    Gonçalves Dvořák Szűcs Sigurðardóttir Bērziņš Kazlauskienė Yılmaz Παπαδοπούλου Шевченко Nguyễn 佐藤 Okonkwo \
    Mensah al-Haddad Iyer Smith-Jones MacLeod Lindqvist Virtanen Rossi Lefèvre";
const SOURCES: &str = "checkout newsletter-form booking-widget event:harbour-tour gift-card";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoConsent {
    pub id: String,
    pub email: String,
    pub full_name: String,
    pub source: &'static str,
    /// A field that the program does not know.
    pub preferred_language: Option<&'static str>,
    /// Whether lists hold it; its own page answers in any case.
    pub listed: bool,
}

/// All consents that exist, in the order of the list.
pub type DemoConsents = Vec<DemoConsent>;

impl DemoConsent {
    pub fn made_up(number: u64) -> Self {
        let (given, family) = (nth(GIVEN, number), family_name(number / 3 + number));
        let ascii =
            |text: &str| text.nfd().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
        let email = format!("{}.{}{number}@example.com", ascii(given), ascii(family));
        Self {
            id: id(number),
            email: email.trim_start_matches('.').to_owned(),
            full_name: format!("{given} {family}"),
            source: nth(SOURCES, number),
            preferred_language: None,
            listed: true,
        }
    }

    pub fn to_json(&self) -> Value {
        let mut item = json!({
            "id": self.id,
            "company_id": COMPANY_ID,
            "email": self.email,
            "full_name": self.full_name,
            "source": self.source,
        });
        if let Some(language) = self.preferred_language {
            item["preferred_language"] = language.into();
        }
        item
    }
}

pub(super) fn family_name(number: u64) -> &'static str {
    nth(FAMILY, number)
}

fn nth(words: &'static str, number: u64) -> &'static str {
    words
        .split(' ')
        .cycle()
        .nth(usize::try_from(number).unwrap_or(0) % words.split(' ').count())
        .unwrap_or_default()
}

/// Text in the form of a UUID, the same for the same number (SplitMix64's multipliers).
fn id(number: u64) -> String {
    let mixed =
        (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    format!("{:08x}-{:04x}-4c39-9e84-{:012x}", mixed >> 32, mixed & 0xffff, mixed >> 16)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_and_addresses_are_unique_and_addresses_belong_to_nobody() {
        let all: Vec<_> = (0..5_000).map(DemoConsent::made_up).collect();
        let ids: HashSet<_> = all.iter().map(|consent| &consent.id).collect();
        let addresses: HashSet<_> = all.iter().map(|consent| &consent.email).collect();
        assert_eq!((ids.len(), addresses.len()), (5_000, 5_000));
        for consent in &all {
            let (local, domain) = consent.email.split_once('@').unwrap();
            assert!(!local.is_empty() && domain == "example.com", "{}", consent.email);
            assert_eq!(consent.id.len(), 36, "{}", consent.id);
        }
    }
}
