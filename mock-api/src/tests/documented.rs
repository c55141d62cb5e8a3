//! What the documentation says, and what public clients saw.

use std::collections::HashSet;
use std::time::Duration;

use super::client::{post_as, raw};
use super::*;
use crate::{COMPANY_ID, End, Ids, RateLimit, Route};

#[tokio::test]
async fn a_token_is_given_for_the_documented_form() {
    let mock_api = with_people(MockSettings::default(), 0).await;
    let answer = post(&mock_api, "/oauth2/token", &form("mock~secret")).await;
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert_eq!(json["expires_in"], json!(3_599));
    assert_eq!(json["token_type"], json!("bearer"));
    assert_eq!(json["scope"], json!("openid marketing.read"));
    assert_ne!(token(&mock_api).await, token(&mock_api).await);
    let seen = mock_api.requests();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].form("client_secret"), Some("mock~secret"));
    assert_eq!(seen[0].header("user-agent"), Some("t"));
    assert_eq!(seen[0].status, Some(200));
}

#[tokio::test]
async fn an_escaped_tilde_is_refused_and_every_other_escape_is_not() {
    let settings = MockSettings { client_secret: "~a-b_c.d+e%f&g=h i".into(), ..MockSettings::default() };
    let mock_api = with_people(settings, 0).await;
    for (secret, status) in [
        ("~a-b_c.d%2Be%25f%26g%3Dh%20i", 200),
        ("~a-b_c.d%2be%25f%26g%3Dh+i", 200),
        ("%7Ea-b_c.d%2Be%25f%26g%3Dh%20i", 401),
        ("~a-b_c.d+e%25f%26g%3Dh%20i", 401),
    ] {
        let answer = post(&mock_api, "/oauth2/token", &form(secret)).await;
        assert_eq!(answer.status, status, "{secret}");
        if status == 401 {
            assert_eq!(answer.json()["error"], json!("invalid_client"));
        }
    }
}

#[tokio::test]
async fn each_wrong_token_request_has_its_error() {
    let mock_api = with_people(MockSettings::default(), 0).await;
    let good = form("mock~secret");
    for (form, status, error) in [
        (good.replace("mock-key", "other"), 401, "invalid_client"),
        (good.replace("~secret", "~other"), 401, "invalid_client"),
        (good.replace("openid", "offline"), 400, "invalid_scope"),
        (good.replace("understory.io", "x"), 400, "invalid_request"),
        (good.replace("client_credentials", "password"), 400, "unsupported_grant_type"),
        (format!("{good}&scope=openid"), 400, "invalid_request"),
        (String::new(), 400, "invalid_request"),
    ] {
        let answer = post(&mock_api, "/oauth2/token", &form).await;
        assert_eq!(answer.status, status, "{error}");
        assert_eq!(answer.json()["error"], json!(error));
    }
    let answer = post_as(&mock_api, "/oauth2/token", "application/json", &good).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"], json!("invalid_request"));
    assert_eq!(mock_api.tokens_given(), 0);
}

#[tokio::test]
async fn a_walk_lists_everybody_once_whatever_the_cursors_hold_and_the_end_looks_like() {
    for (end, awkward, padded) in
        [(End::Empty, false, false), (End::Absent, true, false), (End::Null, true, true)]
    {
        let settings = MockSettings {
            end,
            awkward_cursors: awkward,
            empty_last_page: padded,
            ..MockSettings::default()
        };
        let mock_api = with_people(settings, 250).await;
        let token = token(&mock_api).await;
        let (items, cursors) = walk(&mock_api, &token).await;
        assert_eq!(cursors.len(), 3 + usize::from(padded));
        assert_eq!(items, (0..250).map(|n| person(1, n)).collect::<Vec<_>>());
        assert_eq!(cursors.iter().collect::<HashSet<_>>().len(), cursors.len());
        assert_eq!(awkward, cursors[1].contains("+/%2F&=%"));
        let pages: Vec<_> = mock_api.requests().iter().filter_map(|s| s.page).collect();
        assert_eq!(pages, (1..=cursors.len() as u64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn limit_is_one_to_a_hundred_and_the_server_may_ignore_it() {
    let mock_api = with_people(MockSettings::default(), 150).await;
    let token = token(&mock_api).await;
    for (limit, count) in [("1", Some(1)), ("100", Some(100)), ("0", None), ("101", None), ("x", None)] {
        let answer = get(&mock_api, &format!("/v1/marketing-consents?limit={limit}"), &token).await;
        match count {
            Some(count) => assert_eq!(answer.json()["items"].as_array().unwrap().len(), count),
            None => assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("BAD_REQUEST"))),
        }
    }
    mock_api.configure(|settings| settings.page_length = Some(10_000));
    let answer = get(&mock_api, "/v1/grow/consents?limit=5", &token).await;
    assert_eq!(answer.json()["items"].as_array().unwrap().len(), 150);
}

#[tokio::test]
async fn tokens_and_cursors_really_expire() {
    let mock_api = with_people(MockSettings::default(), 150).await;
    let long = token(&mock_api).await;
    let first = page(&mock_api, &long, "").await.json();
    let cursor = first["next"].as_str().unwrap();
    for _ in 0..2 {
        assert_eq!(page(&mock_api, &long, cursor).await.status, 200);
    }
    let life = Duration::from_millis(30);
    mock_api.configure(|settings| {
        settings.cursor_life = life;
        settings.token_life = life;
    });
    let short = token(&mock_api).await;
    let later = page(&mock_api, &long, "").await.json();
    tokio::time::sleep(life * 2).await;
    unauthorized(&page(&mock_api, &short, "").await);
    for cursor in [cursor, later["next"].as_str().unwrap(), "never given"] {
        assert_eq!(page(&mock_api, &long, cursor).await.status, 400);
    }
    mock_api.revoke_tokens();
    unauthorized(&page(&mock_api, &long, "").await);
}

#[tokio::test]
async fn nothing_is_told_without_a_token_a_permission_and_a_user_agent() {
    let mock_api = with_people(MockSettings::default(), 1).await;
    unauthorized(&get(&mock_api, "/v1/me", "guess").await);
    unauthorized(&get(&mock_api, "/v1/grow/consents", "").await);
    let narrow = form("mock~secret").replace("%20marketing.read", "");
    let narrow = post(&mock_api, "/oauth2/token", &narrow).await.json();
    let narrow = narrow["access_token"].as_str().unwrap();
    assert_eq!(get(&mock_api, "/v1/me", narrow).await.status, 200);
    let answer = get(&mock_api, "/v1/grow/consents", narrow).await;
    assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("UNAUTHORIZED")));
    let token = token(&mock_api).await;
    let request =
        format!("GET /v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: bearer {token}\r\n");
    assert_eq!(raw(&mock_api, &format!("{request}\r\n")).await.status, 400);
    let polite = format!("{request}User-Agent: t\r\n\r\n");
    assert_eq!(raw(&mock_api, &polite).await.json()["company_id"], json!(COMPANY_ID));
    assert_eq!(mock_api.requests().last().unwrap().token, Some(1));
}

#[tokio::test]
async fn a_single_consent_answers_while_it_exists_listed_or_not() {
    let mock_api = with_people(MockSettings::default(), 3).await;
    let token = token(&mock_api).await;
    let ids = mock_api.people(|people| people.ids());
    let path = format!("/v1/marketing-consents/{}", ids[1]);
    assert_eq!(get(&mock_api, &path, &token).await.json(), person(1, 1));
    assert!(mock_api.people(|people| people.list(&ids[1], false)));
    assert_eq!(mock_api.len(), 2);
    assert_eq!(walk(&mock_api, &token).await.0, [person(1, 0), person(1, 2)]);
    assert_eq!(get(&mock_api, &path, &token).await.status, 200);
    assert!(mock_api.remove(&ids[1]));
    let answer = get(&mock_api, &path, &token).await;
    assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("NOT_FOUND")));
}

#[tokio::test]
async fn routes_go_and_unknown_ones_were_never_there() {
    let mock_api = with_people(MockSettings::default(), 1).await;
    let token = token(&mock_api).await;
    mock_api.set_routes(Route::Gone(410), Route::Works, Route::Gone(404));
    for (path, status) in [
        ("/v1/grow/consents", 410),
        ("/v1/marketing-consents", 200),
        ("/v1/marketing-consents/x", 404),
        ("/v2/anything", 404),
        ("/heartbeat", 200),
    ] {
        assert_eq!(get(&mock_api, path, &token).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn ids_may_be_nowhere_or_on_the_newer_path_only() {
    let settings = MockSettings { ids: Ids::NewerPath, ..MockSettings::default() };
    let mock_api = with_people(settings, 2).await;
    let token = token(&mock_api).await;
    let newer = get(&mock_api, "/v1/marketing-consents", &token).await.json();
    assert!(page(&mock_api, &token, "").await.json()["items"][0].get("id").is_none());
    assert_eq!(newer["items"][0], person(1, 0));
    mock_api.configure(|settings| settings.ids = Ids::Nowhere);
    let newer = get(&mock_api, "/v1/marketing-consents", &token).await.json();
    assert!(newer["items"][0].get("id").is_none());
}

#[tokio::test]
async fn who_is_faster_or_more_at_once_than_allowed_is_told_so() {
    let settings = MockSettings {
        rate_limit: Some(RateLimit {
            requests: 2,
            window: Duration::from_mins(1),
            retry_after: Some("61".into()),
        }),
        ..MockSettings::default()
    };
    let mock_api = with_people(settings, 1).await;
    let token = token(&mock_api).await;
    assert_eq!(page(&mock_api, &token, "").await.status, 200);
    let refused = page(&mock_api, &token, "").await;
    assert_eq!(refused.status, 429);
    assert!(refused.has("retry-after: 61"));
    assert_eq!(mock_api.max_in_flight(), 1);
    mock_api.configure(|settings| {
        settings.rate_limit = None;
        settings.max_concurrent = Some(1);
        settings.latency = Duration::from_millis(300);
    });
    let (one, other) = tokio::join!(page(&mock_api, &token, ""), page(&mock_api, &token, ""));
    let mut both = [one.status, other.status];
    both.sort_unstable();
    assert_eq!(both, [200, 429]);
    assert_eq!(mock_api.max_in_flight(), 2);
}

#[tokio::test]
async fn a_stopped_one_is_gone_and_can_come_back_at_the_same_port() {
    let mock_api = with_people(MockSettings::default(), 1).await;
    let port = mock_api.port();
    mock_api.stop().await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
    let settings = MockSettings { port, ..MockSettings::default() };
    assert_eq!(with_people(settings, 1).await.port(), port);
}

#[tokio::test]
async fn odd_items_are_listed_as_they_are() {
    let mock_api = with_people(MockSettings::default(), 0).await;
    mock_api.set_people(&[json!(null), json!([1]), json!({"id": 7})]);
    mock_api.people(|people| people.add_raw(None, r#"{"email":"\ud800","n":1e400}"#));
    let token = token(&mock_api).await;
    let answer = page(&mock_api, &token, "").await;
    assert_eq!(answer.body, r#"{"next":"","items":[null,[1],{"id":7},{"email":"\ud800","n":1e400}]}"#);
}
