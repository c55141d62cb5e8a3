#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use proptest::prelude::*;
use serde_json::{Number, Value};

use super::*;

fn check_bytes(body: &[u8]) -> Result<String, BadBody> {
    let text = text(body.to_vec())?;
    serde_json::from_str::<IgnoredAny>(&text).map_err(|_| BadBody::NotJson)?;
    Ok(text)
}

fn check(text: &str) -> Result<String, BadBody> {
    check_bytes(text.as_bytes())
}

fn canonical(text: &str) -> Option<String> {
    super::canonical(text, MAX_DEPTH)
}

#[test]
fn what_no_database_can_hold_becomes_the_replacement_character() {
    for (from, to) in [
        (r#""a\u0000b""#, r#""a\ufffdb""#),
        (r#""\ud800""#, r#""\ufffd""#),
        (r#""\udc00\ud800""#, r#""\ufffd\ufffd""#),
        (r#""\uD83D\uDE00""#, r#""\uD83D\uDE00""#),
        (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
        (r#""\ud83dx\ude00""#, r#""\ufffdx\ufffd""#),
        // An escaped backslash before a `u` is no escape.
        (r#""\\u0000""#, r#""\\u0000""#),
        (r#""\\\u0000""#, r#""\\\ufffd""#),
        (r#""\\\\ud800""#, r#""\\\\ud800""#),
        (r#""\u0001""#, r#""\u0001""#),
    ] {
        assert_eq!(check(from).as_deref(), Ok(to), "{from}");
    }
}

#[test]
fn what_is_not_one_whole_json_value_is_not_json() {
    for text in [
        "",
        " ",
        "<html></html>",
        "{",
        "{\"a\":1",
        "{}x",
        "{} {}",
        "{'a':1}",
        "[1,]",
        "01",
        "\"\u{0}\"",
        "\"a\nb\"",
        r#""\u00g0""#,
        r#""\u00"#,
        r#""\"#,
        "\\",
        "nul",
    ] {
        assert_eq!(check(text), Err(BadBody::NotJson), "{text:?}");
    }
    assert_eq!(check_bytes(&[b'"', 0xff, b'"']), Err(BadBody::NotJson));
    // A surrogate in UTF-8, and UTF-16.
    assert_eq!(check_bytes(&[b'"', 0xed, 0xa0, 0x80, b'"']), Err(BadBody::NotJson));
    assert_eq!(check_bytes(&[0xff, 0xfe, b'{', 0, b'}', 0]), Err(BadBody::NotJson));
}

#[test]
fn a_byte_order_mark_and_white_space_are_passed_over() {
    assert_eq!(check("\u{feff} {} \n").as_deref(), Ok(" {} \n"));
}

#[test]
fn a_nesting_of_any_depth_neither_fails_nor_overflows_the_stack() {
    let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let text = check(&deep).unwrap();
    assert_eq!(Scanner::new(&text).value().unwrap().text, text);
    assert_eq!(canonical(&text), None);
}

#[test]
fn canonical_text_has_sorted_keys_no_white_space_and_numbers_as_received() {
    let text = r#" { "b" : [ 1.50 , 2E+1 , -0 , true , null ] , "a" : { "z" : "\u0041\n" , "é" : {} } , "b" : [ ] } "#;
    assert_eq!(canonical(text).unwrap(), r#"{"a":{"z":"A\n","é":{}},"b":[]}"#);
    let text = r"[1.50, 2E+1, -0, 123456789012345678901234567890.10]";
    assert_eq!(canonical(text).unwrap(), "[1.50,2E+1,-0,123456789012345678901234567890.10]");
}

#[test]
fn a_key_that_means_something_to_serde_means_nothing_here() {
    let text = r#"{"$serde_json::private::Number":"x","$serde_json::private::RawValue":1}"#;
    assert_eq!(canonical(text).as_deref(), Some(check(text).unwrap().as_str()));
}

#[test]
fn a_number_beyond_the_databases_is_kept_as_text() {
    for number in ["1e1001", "1E+99999999999999999999", "-1.5e-1001", &"9".repeat(10_001)] {
        assert_eq!(canonical(number).unwrap(), format!("\"{number}\""));
    }
    for number in ["1e1000", "1e-1000", &"9".repeat(10_000)] {
        assert_eq!(canonical(number).unwrap(), number);
    }
}

#[test]
fn the_deepest_nesting_that_is_kept_can_be_read_by_serde_within_the_history() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let deepest = canonical(&nested(MAX_DEPTH)).unwrap();
    assert!(serde_json::from_str::<Value>(&format!(r#"{{"extra":{deepest}}}"#)).is_ok());
    assert_eq!(canonical(&nested(MAX_DEPTH + 1)), None);
}

#[test]
fn integers_are_told_from_other_numbers() {
    let integer = |text| Scanner::new(text).value().unwrap().integer().map(str::to_owned);
    for (text, digits) in [
        ("7", Some("7")),
        ("-7", Some("-7")),
        ("123456789012345678901234567890", Some("123456789012345678901234567890")),
        ("1.0", None),
        ("1e3", None),
        ("true", None),
        ("\"7\"", None),
        ("[7]", None),
    ] {
        assert_eq!(integer(text).as_deref(), digits, "{text}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| Value::Number(Number::from(n))),
        "\\PC*|[\\x01-\\x7f]*".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map("[a-c\"\\\\é]{0,3}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_text_is_what_serde_writes_of_the_same_value(value in any_json()) {
        // serde_json's maps are sorted, and it writes without white space.
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let text = check(&pretty).unwrap();
        prop_assert_eq!(canonical(&text).unwrap(), serde_json::to_string(&value).unwrap());
    }

    #[test]
    fn foreign_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = check_bytes(&body) {
            canonical(&text);
        }
    }

    #[test]
    fn foreign_text_of_json_like_pieces_never_panics(text in "[\\[\\]{}\",:\\\\u0d8cf\\- 1.e+tn]{0,60}") {
        if let Ok(text) = check(&text) {
            prop_assert!(serde_json::from_str::<IgnoredAny>(&text).is_ok());
            prop_assert!(Scanner::new(&text).value().is_some());
            canonical(&text);
        }
    }
}
