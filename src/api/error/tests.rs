use super::*;

#[test]
fn every_failure_has_the_exit_code_of_the_contract() {
    let (endpoint, status) = (Endpoint::Consents, 500);
    let gave_up = |cause| ApiError::GaveUp { endpoint, cause, attempts: 5, not_before: None };
    for (error, exit) in [
        (gave_up(Cause::Broken), 75),
        (gave_up(Cause::Tls), 75),
        (gave_up(Cause::Encoding), 75),
        (gave_up(Cause::Status(503)), 75),
        (gave_up(Cause::NotJson), 65),
        (ApiError::Shape { endpoint, what: "x" }, 65),
        (ApiError::OddSuccess { endpoint, status: 204 }, 65),
        (ApiError::CursorLoop, 65),
        (ApiError::EmptyPages(1000), 65),
        (ApiError::CursorRefused, 75),
        (ApiError::Gateway { status: 403 }, 75),
        (ApiError::Gone { endpoint, status }, 69),
        (ApiError::PathsGone { status }, 69),
        (ApiError::Redirect { endpoint, status }, 69),
        (ApiError::Unavailable { endpoint, status }, 69),
        (ApiError::TooLarge { endpoint, limit: 1 }, 69),
        (ApiError::Certificate { endpoint, why: Certificate::Expired }, 69),
        (ApiError::Refused { endpoint, why: Refusal::Token }, 77),
        (ApiError::Refused { endpoint, why: Refusal::Forbidden }, 77),
        (ApiError::Setup(Setup::Tls), 78),
    ] {
        assert_eq!(error.exit().code(), exit, "{error}");
    }
}

#[test]
fn a_refusal_names_the_keys_to_look_at_and_where_they_are_made() {
    let error = ApiError::Refused { endpoint: Endpoint::Token, why: Refusal::Client(401) };
    let text = format!("{error}; {}", error.hint().unwrap_or_default());
    for part in ["auth.client_id", "auth.client_secret", "Settings → Integrations"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_page_that_is_too_large_can_be_helped_and_an_answer_with_a_token_cannot() {
    let hint = |endpoint| {
        let error = ApiError::TooLarge { endpoint, limit: 1 };
        error.hint().unwrap_or_default()
    };
    assert!(hint(Endpoint::Consents).contains("api.max_page_bytes"));
    assert!(hint(Endpoint::Token).contains("auth.token_url"));
    assert!(!hint(Endpoint::Token).contains("api."));
}
