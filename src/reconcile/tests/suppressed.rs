//! What is recognized as an erased person's, and what becomes of a row that names one.

use std::collections::HashSet;

use super::super::{
    Answers, Known, KnownRejects, PendingReturns, RowState, RowWrite, Scan, ScanSettings, Suppressions,
};
use crate::consent::{Consent, Item, Page, RejectReason, Rejected};
use crate::hash::{RowHash, Salt};

fn consent(id: Option<&str>, email: &str, extra: Option<&str>) -> Item<'static> {
    Item::Consent(Consent {
        consent_id: id.map(|id| id.to_owned().into()),
        company_id: "ours".into(),
        email: email.to_owned().into(),
        full_name: Some("no address".into()),
        source: None,
        refs: None,
        extra: extra.map(|extra| extra.to_owned().into()),
        item_hash: None,
    })
}

fn rejected(id: Option<&str>, item: &str) -> Item<'static> {
    let id = id.map(str::to_owned);
    Item::Rejected(Rejected {
        id,
        reason: RejectReason::NoEmail,
        item: item.to_owned(),
        fingerprint: [1; 32],
    })
}

/// A pass over a database that erased José, whose consent was `old`, somebody whose ids are not known, and a text that is
/// not an address. It holds an active row `bob` and a withheld row `eve`.
fn pass() -> Scan {
    let salt = Salt::new(vec![7; 32]);
    let older = salt.addresses("older@example.com").next().unwrap();
    let jose = salt.address("josé@bücher.example");
    let addresses: HashSet<String> = [jose.clone(), older.clone(), salt.address("No Address")].into();
    let ids = vec![(salt.id("old"), jose), (String::new(), older)];
    let mut known = Known::with_capacity(2);
    for (key, withheld) in [("bob", false), ("eve", true)] {
        known.push(RowHash { key: salt.key(key), content: 5 }, RowState { withheld, ..RowState::default() });
    }
    known.loaded();
    let suppressed = Suppressions::new(addresses, ids);
    let exhausted = std::collections::HashSet::new();
    let settings = ScanSettings { salt, company_id: None, suppressed, exhausted };
    Scan::new(settings, known, KnownRejects::default(), PendingReturns::default())
}

#[test]
fn an_item_of_an_erased_person_is_counted_and_stored_nowhere() {
    for (item, suppressed) in [
        (consent(Some("old"), "other@example.com", None), true),
        (consent(None, "JOSE\u{301}@xn--bcher-kva.example", None), true),
        (consent(Some("new"), "josé@BU\u{308}CHER.example", None), true),
        (consent(None, "no address", None), true),
        (consent(Some("new"), "new@example.com", Some(r#"{"cc":["To <josé@bücher.example>"]}"#)), true),
        (consent(Some("new"), "new@example.com", Some(r#"{"cc":["anna@example.com"]}"#)), false),
        (consent(Some("new"), "José <josé@bücher.example>", None), true),
        (rejected(Some("old"), "{}"), true),
        (rejected(None, r#"{"email":"jos\u00e9\u0040b\u00fccher.example"}"#), true),
        (rejected(None, r#"{"email":"No address"}"#), true),
        (rejected(Some("new"), r#"{"email":"anna@example.com"}"#), false),
    ] {
        let mut pass = pass();
        let batch = pass.process_page(Page { items: vec![item], next: None }, &Answers::new());
        assert_eq!(batch.tally.suppressed, u64::from(suppressed), "{batch:?}");
        assert_eq!(batch.is_empty(), suppressed, "{batch:?}");
        assert_eq!(pass.lists_somebody(), !suppressed && batch.rejects.is_empty());
    }
}

#[test]
fn an_erased_person_under_a_new_id_may_have_consented_anew() {
    let mut pass = pass();
    let items = vec![
        consent(Some("old"), "josé@bücher.example", None),
        consent(Some("new"), "josé@bücher.example", None),
        consent(None, "josé@bücher.example", None),
        consent(Some("unknown"), "older@example.com", None),
        consent(Some("mention"), "a@example.com", Some(r#"{"cc":"josé@bücher.example"}"#)),
    ];
    pass.process_page(Page { items, next: None }, &Answers::new());
    assert_eq!(pass.renewed().keys().collect::<Vec<_>>(), ["new"]);
}

#[test]
fn whoever_names_an_erased_person_has_not_left() {
    let mut pass = pass();
    let naming = Some(r#"{"cc":"josé@bücher.example"}"#);
    let items = vec![
        consent(Some("bob"), "bob@example.com", naming),
        consent(Some("eve"), "eve@example.com", naming),
    ];
    let batch = pass.process_page(Page { items, next: None }, &Answers::new());
    assert_eq!(batch.tally.suppressed, 2);
    assert_eq!(batch.writes, [RowWrite::MarkListed { key: "eve".to_owned(), returns: false, counts: false }]);
    assert!(!pass.is_unlisted("bob") && !pass.is_unlisted("eve"));
    assert!(!pass.lists_somebody());
}
