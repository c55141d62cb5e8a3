//! The client of the API, from outside: what it sends, how fast, what it keeps, and what a caller that gives up leaves behind.
//! What it makes of faults is the matrix's part.

use std::time::{Duration, Instant};

use understory_mock_api::{Endpoint, Fault, FaultRule, MockApi, MockSettings, RateLimit};
use understory_sync::api::{Api, ApiError, Deadline, Lookup, Paths, QUICKSTART_PATH};
use understory_sync::config;

use crate::support::raw::{Move, Raw};

/// A mock API that lists so many people.
async fn mock_api(people: u64) -> MockApi {
    let mock_api = MockApi::start(MockSettings::default()).await.unwrap();
    mock_api.people(|roster| roster.fill(1, 0..people));
    mock_api
}

/// A client of it, with a change to its configuration.
fn client(mock_api: &MockApi, change: impl FnOnce(&mut config::ApiConfig, &mut config::Retry)) -> Api {
    let key = mock_api.settings();
    let auth = config::Auth {
        client_id: key.client_id,
        client_secret: key.client_secret.into(),
        client_secret_file: None,
        token_url: mock_api.token_url().parse().unwrap(),
        audience: key.audience,
        scopes: key.scopes,
    };
    let mut api = config::ApiConfig {
        base_url: mock_api.base_url().parse().unwrap(),
        consents_path: config::ConsentsPath::Auto,
        page_size: 10,
        requests_per_second: 0.0,
        user_agent: "Tests/1".to_owned(),
        company_id: None,
        connect_timeout: Duration::from_secs(10),
        read_timeout: Duration::from_secs(30),
        request_timeout: Duration::from_mins(1),
        max_page_bytes: 16 << 20,
    };
    let mut retry = config::Retry {
        max_attempts: 3,
        base_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(5),
        rate_limit_delay: Duration::from_millis(5),
    };
    change(&mut api, &mut retry);
    Api::new(&auth, &api, &retry).unwrap()
}

fn as_configured(_: &mut config::ApiConfig, _: &mut config::Retry) {}

fn auto() -> Paths {
    Paths::Auto { first: QUICKSTART_PATH.to_owned() }
}

/// Walks to the end; tells how many items there were.
async fn walk(api: &mut Api) -> Result<usize, ApiError> {
    let mut pager = api.pages(auto(), Deadline::none());
    let mut items = 0;
    while let Some(page) = pager.next_page().await? {
        items += page.len();
    }
    Ok(items)
}

#[tokio::test]
async fn requests_start_evenly_spaced_and_one_at_a_time() {
    let mock_api = mock_api(60).await;
    let mut api = client(&mock_api, |api, _| api.requests_per_second = 20.0);
    assert_eq!(walk(&mut api).await.unwrap(), 60);
    let seen = mock_api.requests();
    assert_eq!(seen.len(), 7);
    let first = seen.first().unwrap().at;
    for (number, call) in seen.iter().enumerate() {
        // They are spaced where they start; on their way they may lose some of it, but never gain.
        let least = Duration::from_millis(50) * u32::try_from(number).unwrap();
        assert!(call.at.duration_since(first) + Duration::from_millis(45) >= least, "request {number}");
    }
    assert_eq!(mock_api.max_in_flight(), 1);
}

#[tokio::test]
async fn retries_keep_to_the_rate_too() {
    let mock_api = mock_api(5).await;
    mock_api.play(FaultRule::on(Endpoint::List, Fault::status(500)).times(2));
    let mut api = client(&mock_api, |api, _| api.requests_per_second = 10.0);
    let begun = Instant::now();
    assert_eq!(walk(&mut api).await.unwrap(), 5);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    let traffic = api.traffic();
    assert_eq!((traffic.requests, traffic.retries, traffic.token_requests), (4, 2, 1));
    assert_eq!(traffic.by_endpoint_and_status[&("consents", "500".to_owned())], 2);
    assert_eq!(traffic.by_endpoint_and_status[&("consents", "200".to_owned())], 1);
}

#[tokio::test]
async fn what_goes_over_the_wire_is_what_the_documentation_asks_for() {
    let mock_api = mock_api(25).await;
    let mut api = client(&mock_api, as_configured);
    walk(&mut api).await.unwrap();
    let seen = mock_api.requests();
    let token = &seen[0];
    assert_eq!((token.method.as_str(), token.path.as_str()), ("POST", "/oauth2/token"));
    assert!(token.raw_body.contains("client_secret=mock~secret&"), "the tilde is sent as it is");
    assert_eq!(token.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(token.header("authorization"), None);
    for call in &seen[1..] {
        assert_eq!((call.method.as_str(), call.path.as_str()), ("GET", QUICKSTART_PATH));
        assert_eq!(call.query("limit"), Some("10"));
        assert_eq!(call.header("referer"), None);
    }
    assert!(seen.iter().all(|call| call.header("user-agent") == Some("Tests/1")));
    assert!(seen.iter().all(|call| call.header("accept") == Some("application/json")));
    assert_eq!(seen[1].query("cursor"), None);
}

#[tokio::test]
async fn one_token_serves_many_walks() {
    let mock_api = mock_api(25).await;
    let mut api = client(&mock_api, as_configured);
    for _ in 0..5 {
        walk(&mut api).await.unwrap();
    }
    assert_eq!(mock_api.tokens_given(), 1);
    assert_eq!(api.token_attempts(), 1);
}

#[tokio::test]
async fn a_page_that_is_forbidden_for_good_costs_one_token_a_run() {
    let mock_api = mock_api(5).await;
    mock_api.play(FaultRule::on(Endpoint::Single, Fault::status(401)).always());
    let mut api = client(&mock_api, as_configured);
    for run in 1..=3 {
        walk(&mut api).await.unwrap();
        let answer = api.lookup("somebody", Deadline::none()).await;
        assert_eq!(answer, Lookup::Unclear { not_before: None });
        assert_eq!(mock_api.tokens_given(), 1 + run);
    }
    assert_eq!(api.traffic().retries, 0, "a 401 that is asked again is no retry");
}

#[tokio::test]
async fn an_answer_of_401_uses_up_no_attempt() {
    let mock_api = mock_api(5).await;
    mock_api.play(FaultRule::on(Endpoint::List, Fault::status(401)));
    let mut api = client(&mock_api, |_, retry| retry.max_attempts = 1);
    assert_eq!(walk(&mut api).await.unwrap(), 5);
}

#[tokio::test]
async fn ids_that_no_url_can_name_are_not_asked_for() {
    let mock_api = mock_api(5).await;
    let mut api = client(&mock_api, as_configured);
    for id in ["", ".", ".."] {
        let answer = api.lookup(id, Deadline::none()).await;
        assert_eq!(answer, Lookup::Unclear { not_before: None }, "{id:?}");
    }
    assert_eq!(mock_api.requests().len(), 0);
    for id in ["a/b", "a b", "?x=1", "#", "%2e%2e", "ü~", "../me"] {
        let answer = api.lookup(id, Deadline::none()).await;
        assert_eq!(answer, Lookup::Gone, "{id:?}");
    }
    let strays = mock_api.requests();
    let outside = |path: &str| !path.starts_with("/v1/marketing-consents/") && path != "/oauth2/token";
    assert!(!strays.iter().any(|call| outside(&call.path)));
}

#[tokio::test]
async fn when_the_server_names_a_time_the_caller_is_told_whatever_ended_the_attempts() {
    let mock_api = mock_api(5).await;
    let mut api = client(&mock_api, |_, retry| retry.max_attempts = 2);
    mock_api.play(FaultRule::on(Endpoint::List, Fault::retry_after(429, "1")).always());
    let now = tokio::time::Instant::now();
    let worn_out = walk(&mut api).await.unwrap_err();
    assert!(worn_out.not_before().unwrap() >= now + Duration::from_secs(2));
    mock_api.clear_faults();
    mock_api.play(FaultRule::on(Endpoint::List, Fault::retry_after(503, "7200")).always());
    let too_long = walk(&mut api).await.unwrap_err();
    assert!(too_long.not_before().unwrap() >= now + Duration::from_hours(2));
    assert_eq!((worn_out.exit().code(), too_long.exit().code()), (75, 75));
}

#[tokio::test]
async fn a_caller_may_give_up_at_any_time_and_come_back() {
    let mock_api = mock_api(60).await;
    mock_api.configure(|settings| settings.latency = Duration::from_millis(4));
    let mut api = client(&mock_api, as_configured);
    for patience in 0..40 {
        let given_up = tokio::time::timeout(Duration::from_millis(patience), walk(&mut api)).await;
        assert!(given_up.is_err() || given_up.unwrap().is_ok());
    }
    assert_eq!(walk(&mut api).await.unwrap(), 60);
    let counted: u64 = api.traffic().by_endpoint_and_status.values().sum();
    assert_eq!(counted, api.traffic().requests, "a request that was given up is counted as an error");
}

#[tokio::test]
async fn a_broken_connection_is_never_used_again() {
    let mock_api = mock_api(60).await;
    for page in 1..=6 {
        mock_api.play(FaultRule::on(Endpoint::List, Fault::CutBody { after: 9, reset: true }).page(page));
    }
    let mut api = client(&mock_api, as_configured);
    assert_eq!(walk(&mut api).await.unwrap(), 60);
    assert_eq!(api.traffic().retries, 6);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_costs_nothing_or_one_retry() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"items\":[]}";
    let turn = vec![Move::Request, Move::Send(answer.to_vec())];
    let raw = Raw::start(vec![turn]);
    let mock_api = mock_api(0).await;
    let mut api = client(&mock_api, |api, _| {
        api.base_url = raw.url().parse().unwrap();
    });
    for _ in 0..5 {
        assert_eq!(walk(&mut api).await.unwrap(), 0);
    }
    assert!(raw.connections() <= 10, "{}", raw.connections());
}

#[tokio::test]
async fn connections_are_kept_between_requests() {
    let raw = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"items\":[]}");
    let mock_api = mock_api(0).await;
    let mut api = client(&mock_api, |api, _| {
        api.base_url = raw.url().parse().unwrap();
    });
    for _ in 0..20 {
        walk(&mut api).await.unwrap();
    }
    assert_eq!((raw.connections(), raw.requests().len()), (1, 20));
}

#[tokio::test]
async fn a_heartbeat_follows_no_redirect_and_waits_for_nobody() {
    let mock_api = mock_api(0).await;
    let elsewhere = Raw::silent();
    let location = elsewhere.url();
    mock_api.play(FaultRule::on(Endpoint::Heartbeat, Fault::Redirect { status: 302, location }));
    let url = mock_api.heartbeat_url().into();
    assert!(Api::heartbeat(&url, "Tests/1").await.is_err());
    assert!(Api::heartbeat(&url, "Tests/1").await.is_ok());
    mock_api.play(FaultRule::on(Endpoint::Heartbeat, Fault::status(500)));
    assert!(Api::heartbeat(&url, "Tests/1").await.is_err());
    assert_eq!((elsewhere.connections(), mock_api.requests().len()), (0, 3));
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() {
    let mock_api = mock_api(60).await;
    mock_api.configure(|settings| {
        settings.rate_limit =
            Some(RateLimit { requests: 4, window: Duration::from_millis(200), retry_after: None });
    });
    let mut api = client(&mock_api, |_, retry| {
        retry.rate_limit_delay = Duration::from_millis(250);
    });
    assert_eq!(walk(&mut api).await.unwrap(), 60);
}

/// Every future of this layer can move between threads. Never run.
#[expect(dead_code, reason = "that it compiles is the test")]
fn futures_are_send(api: &'static mut Api) {
    fn sendable(_: impl Send) {}
    let none = Deadline::none();
    sendable(api.ensure_token(none));
    sendable(api.lookup("", none));
    sendable(api.me(none));
    let mut pager = api.pages(auto(), none);
    sendable(pager.next_page());
}
