//! Made-up people: the same ones for the same seed. Every address lies under a domain that is reserved for examples.

use serde_json::{Map, Value, json};

use super::dice::Dice;

/// The company that all made-up people gave their consent to.
pub const COMPANY_ID: &str = "7d0c2f6e-5b1a-4c39-9e84-31f0a6d2b857";

/// Given names as written, and as they stand in an address.
const GIVEN: &[(&str, &str)] = &[
    ("Søren", "soren"),
    ("Åse", "aase"),
    ("Bjørk", "bjork"),
    ("Jürgen", "juergen"),
    ("Käthe", "kaethe"),
    ("Łucja", "lucja"),
    ("Zbigniew", "zbigniew"),
    ("Małgorzata", "malgorzata"),
    ("Siân", "sian"),
    ("Zoë", "zoe"),
    ("Renée", "renee"),
    ("François", "francois"),
    ("Íñigo", "inigo"),
    ("Nuño", "nuno"),
    ("João", "joao"),
    ("Čeněk", "cenek"),
    ("Ștefan", "stefan"),
    ("Győző", "gyozo"),
    ("Ólafur", "olafur"),
    ("Þóra", "thora"),
    ("Ieva", "ieva"),
    ("Jūratė", "jurate"),
    ("Ayşe", "ayse"),
    ("İlker", "ilker"),
    ("Ελένη", "eleni"),
    ("Олена", "olena"),
    ("Ngọc", "ngoc"),
    ("美咲", "misaki"),
    ("Mei-Ling", "mei-ling"),
    ("Amara", "amara"),
    ("Kwame", "kwame"),
    ("Fatima", "fatima"),
    ("Noor", "noor"),
    ("Priya", "priya"),
    ("Arjun", "arjun"),
    ("Mary Ann", "mary.ann"),
    ("Jean-Luc", "jean-luc"),
    ("Ingrid", "ingrid"),
    ("Anders", "anders"),
    ("Emma", "emma"),
];

/// Family names as written, and as they stand in an address.
const FAMILY: &[(&str, &str)] = &[
    ("Ørsted", "orsted"),
    ("Kjærgaard", "kjaergaard"),
    ("Åkesson", "aakesson"),
    ("Müller", "mueller"),
    ("Groß", "gross"),
    ("Wójcik", "wojcik"),
    ("Kowalczyk", "kowalczyk"),
    ("Żółtowski", "zoltowski"),
    ("O'Brien", "o'brien"),
    ("D’Angelo", "dangelo"),
    ("van 't Hoff", "vanthoff"),
    ("de la Cruz", "delacruz"),
    ("Nuñez", "nunez"),
    ("Gonçalves", "goncalves"),
    ("Dvořák", "dvorak"),
    ("Ionescu-Țurcanu", "ionescu"),
    ("Szűcs", "szucs"),
    ("Sigurðardóttir", "sigurdardottir"),
    ("Bērziņš", "berzins"),
    ("Kazlauskienė", "kazlauskiene"),
    ("Yılmaz", "yilmaz"),
    ("Παπαδοπούλου", "papadopoulou"),
    ("Шевченко", "shevchenko"),
    ("Nguyễn", "nguyen"),
    ("佐藤", "sato"),
    ("Okonkwo", "okonkwo"),
    ("Mensah", "mensah"),
    ("al-Haddad", "alhaddad"),
    ("Iyer", "iyer"),
    ("Smith-Jones", "smith-jones"),
    ("MacLeod", "macleod"),
    ("Lindqvist", "lindqvist"),
    ("Virtanen", "virtanen"),
    ("Rossi", "rossi"),
    ("Lefèvre", "lefevre"),
];

/// Domains that nobody can own.
const DOMAINS: &[&str] = &["example.com", "example.org", "example.net", "mail.example.com", "post.example"];

/// Where a consent may have been given: an open set.
const SOURCES: &[&str] = &[
    "checkout",
    "newsletter-form",
    "booking-widget",
    "gift-card",
    "import",
    "event:harbour-tour",
    "event:wine-tasting",
    "event:nøkken-night",
];

/// What a reference may point to.
const REFERENCES: &[&str] = &["booking", "order", "ticket", "gift_card"];

/// The made-up person with this number. The same seed and number make the same person; numbers make addresses unique.
pub fn person(seed: u64, number: u64) -> Value {
    let mut dice = Dice::new(seed, number);
    let mut item = Map::new();
    let (given, given_slug) = dice.pick(GIVEN).unwrap_or(("Emma", "emma"));
    let (family, family_slug) = dice.pick(FAMILY).unwrap_or(("Rossi", "rossi"));
    let domain = dice.pick(DOMAINS).unwrap_or("example.com");
    item.insert("id".into(), dice.uuid().into());
    item.insert("company_id".into(), COMPANY_ID.into());
    item.insert("email".into(), address(&mut dice, given_slug, family_slug, number, domain).into());
    if !dice.chance(3) {
        item.insert("full_name".into(), format!("{given} {family}").into());
    }
    item.insert("source".into(), dice.pick(SOURCES).unwrap_or("checkout").into());
    if dice.chance(30) {
        item.insert("references".into(), references(&mut dice));
    }
    Value::Object(item)
}

/// Some people write their address in capitals; the list keeps it as it came.
fn address(dice: &mut Dice, given: &str, family: &str, number: u64, domain: &str) -> String {
    let text = format!("{given}.{family}{number}@{domain}");
    if dice.chance(4) { text.to_uppercase() } else { text }
}

/// One to three typed pointers.
fn references(dice: &mut Dice) -> Value {
    let count = 1 + dice.below(3);
    (0..count)
        .map(|_| json!({"type": dice.pick(REFERENCES).unwrap_or("booking"), "id": dice.uuid()}))
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_people() {
        assert_eq!(person(1, 77), person(1, 77));
        assert_ne!(person(1, 77), person(2, 77));
    }

    #[test]
    fn ids_and_addresses_are_unique_and_addresses_belong_to_nobody() {
        let (mut ids, mut addresses) = (HashSet::new(), HashSet::new());
        for number in 0..5_000 {
            let item = person(1, number);
            let address = item["email"].as_str().unwrap().to_lowercase();
            let domain = address.rsplit_once('@').unwrap().1.to_owned();
            assert!(
                domain.ends_with(".example")
                    || ["example.com", "example.org", "example.net"]
                        .iter()
                        .any(|known| domain.ends_with(known)),
                "{domain}"
            );
            assert!(ids.insert(item["id"].as_str().unwrap().to_owned()));
            assert!(addresses.insert(address));
        }
    }

    #[test]
    fn some_have_references_and_some_have_no_name() {
        let all: Vec<Value> = (0..1_200).map(|number| person(1, number)).collect();
        let with = |field: &str| all.iter().filter(|item| item.get(field).is_some()).count();
        assert!((200..500).contains(&with("references")));
        assert!((1_100..1_199).contains(&with("full_name")));
        assert_eq!(with("company_id"), 1_200);
    }
}
