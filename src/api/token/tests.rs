#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use super::*;

fn answer(text: &str) -> Result<Token, BadBody> {
    Token::parse(text.as_bytes().to_vec(), Instant::now())
}

fn life_of(expires_in: &str) -> Option<Duration> {
    let text = format!(r#"{{"access_token":"t","token_type":"bearer","expires_in":{expires_in}}}"#);
    answer(&text).unwrap().life
}

#[test]
fn the_form_escapes_everything_but_the_unreserved_and_keeps_the_tilde() {
    let auth = config::Auth {
        client_id: "id".to_owned(),
        client_secret: "~-_.+%&= é".to_owned().into(),
        client_secret_file: None,
        token_url: "https://auth.example.org/t".parse().unwrap(),
        audience: "https://api.understory.io".to_owned(),
        scopes: vec!["openid".to_owned(), "marketing.read".to_owned()],
    };
    assert_eq!(
        form(&auth).expose_secret(),
        "grant_type=client_credentials&client_id=id&client_secret=~-_.%2B%25%26%3D%20%C3%A9\
         &scope=openid%20marketing.read&audience=https%3A%2F%2Fapi.understory.io"
    );
}

#[test]
fn a_life_is_a_positive_number_or_text_with_one_and_else_unknown() {
    for (value, seconds) in [
        ("3599", Some(3599.0)),
        ("3599.5", Some(3599.5)),
        ("\"3599\"", Some(3599.0)),
        ("1", Some(1.0)),
        ("0.5", Some(0.5)),
        ("1e99", Some(LONGEST_LIFE.as_secs_f64())),
        ("0", None),
        ("-1", None),
        ("\"0\"", None),
        ("\"inf\"", None),
        ("\"soon\"", None),
        ("\"\"", None),
        ("null", None),
        ("[3599]", None),
        ("true", None),
    ] {
        assert_eq!(life_of(value), seconds.map(Duration::from_secs_f64), "{value}");
    }
    assert_eq!(answer(r#"{"access_token":"t"}"#).unwrap().life, None);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_the_last_minute_or_fifth_of_its_life() {
    for (life, fresh_until) in [("3600", 3540.0), ("100", 80.0), ("1", 0.8), ("\"x\"", 3599.999)] {
        let text = format!(r#"{{"access_token":"t","expires_in":{life}}}"#);
        let token = answer(&text).unwrap();
        let limit = token.asked_at + Duration::from_secs_f64(fresh_until);
        assert!(token.is_fresh(limit), "{life}");
        assert!(!token.is_fresh(limit + Duration::from_millis(1)), "{life}");
    }
}

#[test]
fn a_token_that_fits_into_no_header_is_a_wrong_shape() {
    let long = "x".repeat(MAX_TOKEN_BYTES + 1);
    for token in [
        r#""""#,
        r#""a b""#,
        r#""a\r\nX: y""#,
        r#""a\u0000""#,
        r#""é""#,
        "7",
        "null",
        "[]",
        &format!("\"{long}\""),
    ] {
        let text = format!(r#"{{"access_token":{token}}}"#);
        assert!(matches!(answer(&text), Err(BadBody::Shape(_))), "{token}");
    }
    for text in ["{}", "[]", "\"token\"", r#"{"error":"x"}"#] {
        assert!(matches!(answer(text), Err(BadBody::Shape(_))), "{text}");
    }
    for text in ["", "<html>", r#"{"access_token":"t""#] {
        assert!(matches!(answer(text), Err(BadBody::NotJson)), "{text}");
    }
}

#[test]
fn a_token_type_is_bearer_in_any_case_or_not_told() {
    for (kind, good) in [
        ("\"bearer\"", true),
        ("\"Bearer\"", true),
        ("\"BEARER\"", true),
        ("null", true),
        ("\"mac\"", false),
        ("\"DPoP\"", false),
        ("\"\"", false),
        ("7", false),
    ] {
        let text = format!(r#"{{"access_token":"t","token_type":{kind}}}"#);
        assert_eq!(answer(&text).is_ok(), good, "{kind}");
    }
}

#[test]
fn nobody_can_print_a_token() {
    let token = answer(r#"{"access_token":"top-secret"}"#).unwrap();
    let header = token.header().unwrap();
    assert_eq!(header, "Bearer top-secret");
    assert!(!format!("{token:?} {header:?}").contains("top-secret"));
}

#[test]
fn a_refusal_is_told_by_its_code_or_else_by_its_status() {
    use crate::exit::Exit;
    for (status, body, exit) in [
        (400, r#"{"error":"invalid_client"}"#, Exit::Refused),
        (400, r#"{"error":"invalid_scope","error_description":"x"}"#, Exit::Refused),
        (400, r#"{"error":"unauthorized_client"}"#, Exit::Refused),
        (400, r#"{"error":"access_denied"}"#, Exit::Refused),
        (401, r#"{"error":"unheard_of"}"#, Exit::Refused),
        (403, r#"{"error":"access_denied"}"#, Exit::Refused),
        (401, "", Exit::Retry),
        (401, "<html>", Exit::Retry),
        (403, "{}", Exit::Retry),
        (403, r#"{"message":"Forbidden"}"#, Exit::Retry),
        (400, r#"{"error":"invalid_request"}"#, Exit::Unavailable),
        (400, r#"{"error":["invalid_client"]}"#, Exit::Unavailable),
        (400, "", Exit::Unavailable),
        (404, "", Exit::Unavailable),
        (410, "", Exit::Unavailable),
        (418, "", Exit::Unavailable),
    ] {
        let error = refusal(status, body.as_bytes().to_vec());
        assert_eq!(error.exit(), exit, "{status} {body}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn only_an_error_that_the_standard_names_is_shown() {
    let shown = |code: &str| {
        let body = format!(r#"{{"error":"{code}"}}"#);
        refusal(400, body.into_bytes()).to_string()
    };
    assert!(shown("invalid_request").ends_with("status 400 and the error invalid_request"));
    assert!(!shown("ada@example.org").contains("ada"));
}
