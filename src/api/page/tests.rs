#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use sha2::{Digest as _, Sha256};

use super::*;
use crate::api::json::MAX_DEPTH;
use crate::api::wire::MAX_ID_BYTES;
use crate::consent::{Consent, Item, RejectReason, Rejected, hex};

fn read(text: &str) -> Result<Page<'static>, BadBody> {
    let raw = RawPage::new(text.as_bytes().to_vec())?;
    Ok(Box::leak(Box::new(raw)).read())
}

#[test]
fn a_page_is_read_however_it_is_written() {
    let item =
        r#"{"id":"i","company_id":"c","email":"e","references":[{"b":1,"a":"x"}],"new":{"z":[],"y":null}}"#;
    for (text, items) in [
        (format!(r#"{{"items":[{item}],"next":"n"}}"#), 1),
        (format!(r#" {{ "next" : null , "items" : [ {item} , {item} ] , "x" : [1] }} "#), 2),
        (r#"{"items":[]}"#.to_owned(), 0),
        (r#"{"items":[{"email":"a\"b","company_id":"c"}]}"#.to_owned(), 1),
        (format!(r#"{{"items":[{item},{{}}]}}"#), 2),
        (format!(r#"{{"items":[{item},7]}}"#), 2),
        (r#"{"items":[{"\u0065mail":"e","company_id":"c"}]}"#.to_owned(), 1),
        (format!(r#"{{"items":[],"\u0069tems":[{item}]}}"#), 1),
        (format!(r#"{{"items":{{"a":1}},"items":[{item}]}}"#), 1),
        (format!("\u{feff}{{\"items\":[{item}]}}"), 1),
    ] {
        let page = RawPage::new(text.as_bytes().to_vec()).unwrap();
        assert_eq!((page.read().items.len(), page.len()), (items, items), "{text}");
        let first = page.read().items.into_iter().next();
        assert!(matches!(first, None | Some(Item::Consent(_))), "{text}");
    }
    // serde alone would take this for a list: the fields in their order.
    assert!(matches!(read(&format!("[[{item}],null]")), Err(BadBody::Shape(_))));
}

fn one(item: &str) -> Item<'static> {
    let page = read(&format!(r#"{{"items":[{item}]}}"#)).unwrap();
    page.items.into_iter().next().unwrap()
}

fn good(item: &str) -> Consent<'static> {
    match one(item) {
        Item::Consent(consent) => consent,
        Item::Rejected(rejected) => panic!("rejected: {}", rejected.reason),
    }
}

fn bad(item: &str) -> Rejected {
    match one(item) {
        Item::Rejected(rejected) => rejected,
        Item::Consent(_) => panic!("accepted"),
    }
}

fn with(fields: &str) -> Consent<'static> {
    good(&format!(r#"{{"company_id":"c","email":"a@example.org",{fields}}}"#))
}

#[test]
fn every_field_finds_its_place() {
    let consent = good(
        r#"{ "id": "i1", "company_id": "c", "full_name": "A \"B\" C", "email": " a@example.org ", "source": "booking",
             "references": [ {"type": "booking", "id": 7.0} ], "new": {"b": 1, "a": [ ]}, "also": null }"#,
    );
    assert_eq!(consent.consent_id.as_deref(), Some("i1"));
    assert_eq!(consent.company_id, "c");
    assert_eq!(consent.email, " a@example.org ");
    assert_eq!(consent.full_name.as_deref(), Some("A \"B\" C"));
    assert_eq!(consent.source.as_deref(), Some("booking"));
    assert_eq!(consent.refs.as_deref(), Some(r#"[{"id":7.0,"type":"booking"}]"#));
    assert_eq!(consent.extra.as_deref(), Some(r#"{"also":null,"new":{"a":[],"b":1}}"#));
}

#[test]
fn what_is_absent_or_null_is_none_and_leaves_no_trace() {
    let consent = with(r#""id":null,"full_name":null,"source":null,"references":null"#);
    let absent = good(r#"{"company_id":"c","email":"a@example.org"}"#);
    assert_eq!(consent, absent);
    assert_eq!((absent.consent_id, absent.extra, absent.refs), (None, None, None));
}

#[test]
fn an_id_is_text_that_is_not_blank_or_an_integer() {
    for (id, expected) in [
        (r#""x""#, Some("x")),
        (r#"" x ""#, Some(" x ")),
        ("42", Some("42")),
        ("123456789012345678901234567890", Some("123456789012345678901234567890")),
    ] {
        let consent = with(&format!(r#""id":{id}"#));
        assert_eq!((consent.consent_id.as_deref(), consent.extra), (expected, None), "{id}");
    }
    for id in [r#""""#, r#"" \t""#, "1.5", "1e3", "true", "[1]", r#"{"a":1}"#] {
        let consent = with(&format!(r#""id":{id}"#));
        assert_eq!(consent.consent_id, None, "{id}");
        assert_eq!(consent.extra.unwrap(), format!(r#"{{"id":{id}}}"#));
    }
}

#[test]
fn an_id_that_cannot_be_a_key_counts_as_none_and_is_kept_aside() {
    let longest = "7".repeat(MAX_ID_BYTES);
    for id in [longest.clone(), "NK:1".to_owned(), "a nk:".to_owned()] {
        let consent = with(&format!(r#""id":"{id}""#));
        assert_eq!(consent.consent_id.as_deref(), Some(id.as_str()));
        assert_eq!(consent.extra, None);
    }
    let too_long = format!("{longest}7");
    for id in [
        format!("\"{too_long}\""),
        too_long,
        "\"nk:\"".to_owned(),
        format!("\"{}\"", crate::consent::natural_key("c", "b@example.org", None)),
    ] {
        let consent = with(&format!(r#""id":{id}"#));
        assert_eq!(consent.consent_id, None);
        assert_eq!(consent.extra.unwrap(), format!(r#"{{"id":{id}}}"#));
    }
}

#[test]
fn a_wrong_type_is_null_in_its_column_and_kept_aside() {
    let consent = with(r#""source":["x"],"full_name":7,"references":{"b":1,"a":2},"z":1"#);
    assert_eq!((consent.full_name, consent.source, consent.refs), (None, None, None));
    assert_eq!(
        consent.extra.as_deref(),
        Some(r#"{"full_name":7,"references":{"a":2,"b":1},"source":["x"],"z":1}"#)
    );
}

#[test]
fn of_equal_keys_the_last_counts_however_it_is_escaped() {
    let consent = with(r#""id":"a","x":1,"\u0069d":"b","x":2,"source":"s","source":null"#);
    assert_eq!(consent.consent_id.as_deref(), Some("b"));
    assert_eq!(consent.source, None);
    assert_eq!(consent.extra.as_deref(), Some(r#"{"x":2}"#));
}

#[test]
fn a_bad_item_is_rejected_with_its_reason_and_stops_no_other() {
    use RejectReason::{NoCompany, NoEmail, NotAnObject};
    let page = read(
        r#"{"items":[7,null,"x",[],{},{"company_id":"c"},{"company_id":" ","email":"e"},{"company_id":7,"email":"e"},
            {"company_id":"c","email":"\t"},{"company_id":"c","email":["e"]},{"company_id":"c","email":"e"}],"next":"n"}"#,
    )
    .unwrap();
    let reasons: Vec<_> = page
        .items
        .iter()
        .map(|item| match item {
            Item::Rejected(rejected) => Some(rejected.reason),
            Item::Consent(_) => None,
        })
        .collect();
    let mut expected = vec![Some(NotAnObject); 4];
    expected.extend([NoCompany, NoEmail, NoCompany, NoCompany, NoEmail, NoEmail].map(Some));
    expected.push(None);
    assert_eq!(reasons, expected);
    assert_eq!(page.next, Some(Cursor("n".to_owned())));
}

#[test]
fn a_rejected_item_is_the_same_again_by_its_id_or_else_by_its_value() {
    let (a, b) = (bad(r#"{"id":"x","n":1}"#), bad(r#"{"n":2,"id":"x"}"#));
    assert_eq!(a.fingerprint, b.fingerprint);
    assert_eq!(a.id.as_deref(), Some("x"));
    assert_eq!(hex(&a.fingerprint), hex(&Sha256::digest(b"id:x")));
    let (a, b) = (bad(r#"{"n":1,"m":"A"}"#), bad(r#"{ "m" : "\u0041", "n":1 }"#));
    assert_eq!(a.fingerprint, b.fingerprint);
    assert_eq!(b.item, r#"{ "m" : "\u0041", "n":1 }"#);
    assert_ne!(a.fingerprint, bad(r#"{"n":2,"m":"A"}"#).fingerprint);
}

#[test]
fn an_item_that_is_nested_too_deeply_is_rejected_with_its_id() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"id":"deep","company_id":"c","email":"e","x":{open}{close}}}"#)
    };
    assert_eq!(good(&nested(MAX_DEPTH - 1)).consent_id.as_deref(), Some("deep"));
    for levels in [MAX_DEPTH, 100_000] {
        let rejected = bad(&nested(levels));
        assert_eq!(rejected.reason, RejectReason::TooDeep);
        assert_eq!(rejected.id.as_deref(), Some("deep"));
    }
    assert_eq!(bad(&format!("{}{}", "[".repeat(5000), "]".repeat(5000))).reason, RejectReason::NotAnObject);
}

#[test]
fn nul_and_lone_surrogates_become_the_replacement_character_everywhere() {
    let consent = with(r#""full_name":"a\u0000b","so\udfffurce":"\ud800","emoji":"\ud83d\ude00""#);
    assert_eq!(consent.full_name.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(consent.extra.unwrap(), "{\"emoji\":\"😀\",\"so\u{fffd}urce\":\"\u{fffd}\"}");
}

#[test]
fn the_end_is_next_null_absent_or_empty() {
    for end in ["", r#","next":null"#, r#","next":"""#] {
        assert_eq!(read(&format!(r#"{{"items":[]{end}}}"#)).unwrap().next, None, "{end}");
    }
    let odd = r#"{"next":"a+\/=&%\"\u00e9","items":[]}"#;
    assert_eq!(read(odd).unwrap().next, Some(Cursor("a+/=&%\"é".to_owned())));
}

#[test]
fn a_wrong_shape_is_told_from_what_is_not_json() {
    let long = format!(r#"{{"items":[],"next":"{}"}}"#, "x".repeat(8193));
    let many = format!(r#"{{"items":[{}]}}"#, vec!["{}"; 10_001].join(","));
    for text in [
        "{}",
        "[]",
        "null",
        "7",
        "\"items\"",
        r#"{"items":null}"#,
        r#"{"items":{}}"#,
        r#"{"items":"x"}"#,
        r#"{"items":[],"items":1}"#,
        r#"{"data":[]}"#,
        r#"{"items":[],"next":7}"#,
        r#"{"items":[],"next":{}}"#,
        r#"{"items":[],"next":false}"#,
        &long,
        &many,
    ] {
        assert!(matches!(read(text), Err(BadBody::Shape(_))), "{text}");
    }
    for text in ["", "<html>", r#"{"items":["#, r#"{"items":[]}}"#, r#"{"items":[]} x"#] {
        assert_eq!(read(text), Err(BadBody::NotJson), "{text}");
    }
    assert!(read(&format!(r#"{{"items":[{}]}}"#, vec!["{}"; 10_000].join(","))).is_ok());
}

#[test]
fn a_page_of_strange_neighbours_is_read() {
    let page = read(
        "\u{feff}\r\n{\t\"other\" : {\"items\":[1]} , \"items\" : [ { \"company_id\":\"c\" , \"email\":\"e\" } , 1 ] }\n",
    );
    assert_eq!(page.unwrap().items.len(), 2);
}
