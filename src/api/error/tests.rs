#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use super::*;
use crate::api::pager::cursor_loop;
use crate::api::token::refusal;

#[test]
fn every_failure_has_the_exit_code_of_the_contract() {
    let endpoint = Endpoint::Consents;
    let of_status = |status| ApiError::of_status(endpoint, status);
    for (error, exit) in [
        (ApiError::wrong_shape(endpoint, "x"), 65),
        (of_status(204), 65),
        (cursor_loop(), 65),
        (ApiError::CursorRefused, 75),
        (refusal(403, Vec::new()), 75),
        (of_status(404), 69),
        (of_status(410), 69),
        (of_status(302), 69),
        (of_status(400), 69),
        (of_status(501), 69),
        (ApiError::too_large(endpoint, 1), 69),
        (of_status(401), 77),
        (of_status(403), 77),
        (ApiError::bad_url(endpoint), 78),
    ] {
        assert_eq!(error.exit().code(), exit, "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
fn a_refusal_names_the_keys_to_look_at_and_where_they_are_made() {
    let error = refusal(401, br#"{"error":"invalid_client"}"#.to_vec());
    let text = format!("{error}; {}", error.hint().unwrap());
    for part in ["auth.client_id", "auth.client_secret", "Settings → Integrations"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_page_that_is_too_large_can_be_helped_and_an_answer_with_a_token_cannot() {
    let hint = |endpoint| ApiError::too_large(endpoint, 1).hint().unwrap();
    assert!(hint(Endpoint::Consents).contains("api.max_page_bytes"));
    assert!(hint(Endpoint::Token).contains("auth.token_url"));
    assert!(!hint(Endpoint::Token).contains("api."));
}
