#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::api::json::MAX_DEPTH;
use crate::api::wire::MAX_ID_BYTES;
use crate::consent::{Consent, Item, RejectReason, Rejected, hex};
use crate::hash::Salt;

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
        Item::Known(_) => panic!("known"),
    }
}

fn bad(item: &str) -> Rejected {
    match one(item) {
        Item::Rejected(rejected) => rejected,
        Item::Consent(_) | Item::Known(_) => panic!("accepted"),
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
            Item::Consent(_) | Item::Known(_) => None,
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

/// Items of all kinds: usable ones in any spelling, with what may lead a quick look astray, and others.
fn item_text() -> impl Strategy<Value = String> {
    let id = prop_oneof![
        Just(r#""id":"a""#),
        Just(r#""id":"b""#),
        Just(r#""id" : 7"#),
        Just(r#""id":"\u0061""#),
        Just(r#""\u0069d":"c""#),
        Just(r#""id":"d","id":"e""#),
        Just(r#""id":null"#),
    ];
    let other = prop_oneof![
        Just(r#""full_name":"A {B"#.to_owned() + "\""),
        Just(r#""full_name":"A} \"B\\""#.to_owned()),
        Just(r#""full_name":"Ærø 😀""#.to_owned()),
        Just(r#""references":[{"type":"t","id":"r"},{"id":["}"]}]"#.to_owned()),
        Just(r#""new":{"id":"x","z":[1.0e5,null,{}]}"#.to_owned()),
        Just(r#""source":"s""#.to_owned()),
        Just(format!(r#""long":"{}""#, "x{}".repeat(6_000))),
    ];
    let members = (id, prop::collection::vec(other, 0..3), 0..3_u8, any::<bool>()).prop_map(
        |(id, mut members, turn, spaces)| {
            members.extend([
                id.to_owned(),
                r#""company_id":"c""#.to_owned(),
                r#""email":"e@x.org""#.to_owned(),
            ]);
            let length = members.len();
            members.rotate_left(usize::from(turn) % length);
            let (open, comma, close) = if spaces { ("{ ", " ,\n", "\t}") } else { ("{", ",", "}") };
            format!("{open}{}{close}", members.join(comma))
        },
    );
    prop_oneof![
        12 => members,
        1 => prop::sample::select(vec!["7", "[]", "{}", "\"}{\"", "null", "{\"id\":\"a\"}", "[{\"id\":1}]"]).prop_map(str::to_owned),
    ]
}

/// How a page is broken, or not.
#[derive(Debug, Clone)]
enum Damage {
    None,
    Byte(prop::sample::Index, u8),
    Insert(prop::sample::Index, String),
    Cut(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let text =
        prop::sample::select(vec![",", "{", "}", "\"", "\\", " ", "\u{feff}", "[", "\\u0000", "1", "\0"]);
    prop_oneof![
        3 => Just(Damage::None),
        3 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        3 => (any::<prop::sample::Index>(), text).prop_map(|(at, text)| Damage::Insert(at, text.to_owned())),
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
    ]
}

impl Damage {
    fn of(&self, text: String) -> Vec<u8> {
        let mut body = text.into_bytes();
        match self {
            Self::None => {}
            Self::Byte(at, byte) => {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            Self::Insert(at, text) => {
                let at = at.index(body.len());
                drop(body.splice(at..at, text.bytes()));
            }
            Self::Cut(at) => body.truncate(at.index(body.len())),
        }
        body
    }
}

const ENVELOPES: [(&str, &str); 8] = [
    (r#"{"next":"n","items":["#, "]}"),
    (r#" { "items" : [ "#, " ] , \"next\" : null } \n"),
    ("\u{feff}{\"total\":{\"a\":[1,\"]\"]},\"items\":[", "],\"next\":\"a\\u0000b\"}"),
    (r#"{"items":[],"items":["#, "]}"),
    (r#"{"next":1,"items":["#, "]}"),
    (r#"{"\u0069tems":[],"x":"}{","items":["#, "]}"),
    (r#"{"more":tru,"items":["#, "]}"),
    (r#"{"data":["#, "]}"),
];

/// What the items of these texts are known by once they were read.
fn known_items(texts: &[String]) -> Arc<KnownItems> {
    let salt = Salt::new(vec![7; 32]);
    let nothing = Arc::new(KnownItems::new(salt.clone(), Vec::new()));
    let read = |text: &String| {
        let raw = RawPage::with_known(format!(r#"{{"items":[{text}]}}"#).into_bytes(), &nothing).unwrap();
        match raw.read().items.as_slice() {
            [Item::Consent(consent)] => consent.item_hash,
            _ => None,
        }
    };
    Arc::new(KnownItems::new(salt, texts.iter().filter_map(read).collect()))
}

/// A page with its known items read after all, and how many those were.
fn read_all(raw: &RawPage) -> (Page<'_>, usize) {
    let (mut page, mut known) = (raw.read(), 0);
    for item in &mut page.items {
        if let Item::Known(one) = item {
            known += 1;
            let (id, read) = (one.id.clone(), one.read().unwrap());
            assert!(matches!(&read, Item::Consent(consent) if consent.consent_id.as_ref() == Some(&id)));
            *item = read;
        } else if let Item::Consent(consent) = item {
            consent.item_hash = None;
        }
    }
    (page, known)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_page_with_known_items_is_the_same_page(
        stored in prop::collection::vec(item_text(), 1..5),
        new in prop::collection::vec(item_text(), 0..3),
        picked in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        envelope in 0..ENVELOPES.len(),
        damage in damage(),
    ) {
        let all = [stored.as_slice(), &new].concat();
        let items: Vec<&str> = picked.iter().map(|at| at.get(&all).as_str()).collect();
        let (before, after) = ENVELOPES[envelope];
        let body = damage.of(format!("{before}{}{after}", items.join(",")));
        let plain = RawPage::new(body.clone());
        let quick = RawPage::with_known(body, &known_items(&stored));
        if let (Ok(plain), Ok(quick)) = (&plain, &quick) {
            prop_assert_eq!(plain.read(), read_all(quick).0);
        } else {
            prop_assert_eq!(plain.err(), quick.err());
        }
    }
}

#[test]
fn of_known_items_none_is_parsed() {
    let texts = [
        r#"{"id":"a","company_id":"c","email":"e","references":[{"id":"r"},{"id":"s"}]}"#,
        r#"{"company_id":"c","email":"e","full_name":"}{ \" }","id":"b"}"#,
        r#"{ "id" : 7, "email":"Æ", "company_id":"c", "x":{"id":{}} }"#,
    ]
    .map(str::to_owned);
    let known = known_items(&texts);
    let page = |items: &str| {
        let body = format!(r#"{{"total":3,"items":[{items}],"next":"n"}}"#).into_bytes();
        RawPage::with_known(body, &known).unwrap()
    };
    assert_eq!(read_all(&page(&texts.join(" , "))).1, 3);
    // A byte more or less, or an order of keys, and the item is read.
    let other = texts.clone().map(|text| text.replace("\"e\"", "\"f\"").replace('7', "8"));
    assert_eq!(read_all(&page(&other.join(","))).1, 0);
    assert_eq!(read_all(&page(&[&texts[0], &other[1], &texts[2]].map(String::as_str).join(","))).1, 2);
    // Whose id is not the first one that a quick look finds is read each time.
    let twice = r#"{"id":"a","company_id":"c","email":"e","id":"b"}"#.to_owned();
    assert!(known_items(&[twice]).is_empty());
}

#[test]
fn an_item_is_known_whatever_braces_its_texts_hold() {
    for braces in ["{", "}", "}{", "{}"] {
        let name = braces.repeat(20_000);
        let item = format!(r#"{{"id":"a","company_id":"c","email":"e","full_name":"{name}"}}"#);
        let known = known_items(std::slice::from_ref(&item));
        let body = format!(r#"{{"items":[{item},{item},{{}}]}}"#).into_bytes();
        assert_eq!(read_all(&RawPage::with_known(body, &known).unwrap()).1, 2);
    }
}
