//! Faults play where, when and as often as their rules say.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::{BodyKind, Endpoint, Fault, FaultRule, Step, When};

const LIST: Endpoint = Endpoint::List;

#[tokio::test]
async fn a_status_plays_at_its_page_for_its_times_with_its_body() {
    let mock_api = with_people(MockSettings::default(), 250).await;
    let token = token(&mock_api).await;
    mock_api.play(FaultRule::on(LIST, Fault::retry_after(503, "7")).page(2).times(2));
    let first = page(&mock_api, &token, "").await.json();
    let cursor = first["next"].as_str().unwrap();
    for _ in 0..2 {
        let answer = page(&mock_api, &token, cursor).await;
        assert_eq!(answer.status, 503);
        assert!(answer.has("retry-after: 7"));
        assert_eq!(answer.json()["code"], json!("INTERNAL_SERVER_ERROR"));
    }
    assert_eq!(page(&mock_api, &token, cursor).await.status, 200);
    for (body, start) in [
        (BodyKind::Html, "<!DOCTYPE html>"),
        (BodyKind::Plain, "upstream"),
        (BodyKind::Json(json!({})), "{}"),
    ] {
        mock_api.play(FaultRule::on(LIST, Fault::with_body(502, body)));
        let answer = page(&mock_api, &token, "").await;
        assert!(answer.body.starts_with(start), "{}", answer.body);
    }
    mock_api.play(FaultRule::on(LIST, Fault::with_body(500, BodyKind::Empty)));
    assert_eq!(page(&mock_api, &token, "").await.body, "");
    assert_eq!(mock_api.requests().last().unwrap().status, Some(500));
}

#[tokio::test]
async fn rules_count_from_when_they_were_set() {
    let mock_api = with_people(MockSettings::default(), 1).await;
    let token = token(&mock_api).await;
    mock_api.play(FaultRule::on(LIST, Fault::status(500)).nth(2));
    mock_api.play(FaultRule::on(LIST, Fault::status(404)).when(When::FromNth(3)).always());
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(page(&mock_api, &token, "").await.status);
    }
    assert_eq!(statuses, [200, 500, 200, 404, 404]);
    mock_api.clear_faults();
    assert_eq!(page(&mock_api, &token, "").await.status, 200);
}

#[tokio::test]
async fn connections_break_before_in_and_after_the_answer() {
    let mock_api = with_people(MockSettings::default(), 5).await;
    let token = token(&mock_api).await;
    let whole = page(&mock_api, &token, "").await.body;
    let told = format!("content-length: {}", whole.len());
    for (fault, body, reset) in [
        (Fault::Drop, "", false),
        (Fault::Reset, "", true),
        (Fault::CutBody { after: 9, reset: false }, &whole[..9], false),
        (Fault::CutBody { after: 9, reset: true }, &whole[..9], true),
    ] {
        let headless = body.is_empty();
        mock_api.play(FaultRule::on(LIST, fault));
        let answer = page(&mock_api, &token, "").await;
        assert_eq!((answer.body.as_str(), answer.reset), (body, reset));
        assert_eq!(answer.status, if headless { 0 } else { 200 });
        assert_eq!(answer.has(&told), !headless);
    }
    mock_api.play(FaultRule::on(LIST, Fault::ContentLength(1 << 40)));
    let answer = page(&mock_api, &token, "").await;
    assert!(answer.has("content-length: 1099511627776"));
    assert_eq!(answer.body, whole);
    mock_api.play(FaultRule::on(LIST, Fault::CutChunks { after: 4 }));
    assert_eq!(page(&mock_api, &token, "").await.body, "4\r\n{\"ne\r\n");
    mock_api.play(FaultRule::on(LIST, Fault::BrokenChunk { after: 4 }));
    let answer = page(&mock_api, &token, "").await;
    assert!(answer.body.starts_with("4\r\n{\"ne\r\nno length\r\n"));
    mock_api.play(FaultRule::on(LIST, Fault::Raw(vec![Step::Send(b"SSH-2.0\r\n".into())])));
    assert_eq!(page(&mock_api, &token, "").await.body, "SSH-2.0\r\n");
    assert_eq!(page(&mock_api, &token, "").await.body, whole);
}

#[tokio::test]
async fn silence_lasts_until_the_client_leaves() {
    let mock_api = with_people(MockSettings::default(), 5).await;
    let token = token(&mock_api).await;
    let short = Duration::from_millis(50);
    mock_api.play(FaultRule::on(LIST, Fault::Hang));
    assert!(timeout(short, page(&mock_api, &token, "")).await.is_err());
    let prefix = b"{\"items\":[".to_vec();
    mock_api.play(FaultRule::on(LIST, Fault::Endless { prefix, then: vec![b' '; 65_536] }));
    assert!(timeout(short, page(&mock_api, &token, "")).await.is_err());
    mock_api.play(FaultRule::on(LIST, Fault::Drip { bytes: 1, every: short }));
    assert!(timeout(short * 3, page(&mock_api, &token, "")).await.is_err());
    mock_api.play(FaultRule::on(LIST, Fault::Delay(short)));
    let before = std::time::Instant::now();
    assert_eq!(page(&mock_api, &token, "").await.status, 200);
    assert!(before.elapsed() >= short);
    timeout(Duration::from_secs(5), mock_api.stop()).await.unwrap();
}

#[tokio::test]
async fn cursors_repeat_turn_in_circles_lead_nowhere_and_are_refused() {
    let mock_api = with_people(MockSettings::default(), 450).await;
    let token = token(&mock_api).await;
    let next = async |cursor: &str| {
        let json = page(&mock_api, &token, cursor).await.json();
        json["next"].as_str().unwrap_or("none").to_owned()
    };
    let a = next("").await;
    mock_api.play(FaultRule::on(LIST, Fault::RepeatCursor));
    assert_eq!(next(&a).await, a);
    let b = next(&a).await;
    mock_api.play(FaultRule::on(LIST, Fault::BackToPage(2)).page(3));
    assert_eq!(next(&b).await, a);
    mock_api.play(FaultRule::on(LIST, Fault::EmptyPage).times(2));
    for _ in 0..2 {
        let json = page(&mock_api, &token, &b).await.json();
        assert_eq!(json["items"], json!([]));
        assert_ne!(json["next"].as_str().unwrap(), b);
    }
    mock_api.play(FaultRule::on(LIST, Fault::RefuseCursor).when(When::FromPage(3)));
    assert_eq!(page(&mock_api, &token, &a).await.status, 200);
    assert_eq!(page(&mock_api, &token, &b).await.status, 400);
    mock_api.play(FaultRule::on(LIST, Fault::ExpireCursors));
    assert_eq!(page(&mock_api, &token, &b).await.status, 200);
    assert_eq!(page(&mock_api, &token, &b).await.status, 400);
}

#[tokio::test]
async fn what_goes_beside_goes_together() {
    let mock_api = with_people(MockSettings::default(), 3).await;
    let token = token(&mock_api).await;
    mock_api.play(FaultRule::on(LIST, Fault::change(|people| people.add(&json!({"id": "late"})))));
    mock_api.play(FaultRule::on(
        LIST,
        Fault::rewrite(|page, items| {
            items.reverse();
            items.push(json!(page));
        }),
    ));
    mock_api.play(FaultRule::on(LIST, Fault::RevokeTokens));
    let json = page(&mock_api, &token, "").await.json();
    assert_eq!(json["items"][0], json!({"id": "late"}));
    assert_eq!(json["items"][4], json!(1));
    unauthorized(&page(&mock_api, &token, "").await);
}

#[tokio::test]
async fn a_rewritten_token_answer_still_holds_a_good_token() {
    let mock_api = with_people(MockSettings::default(), 1).await;
    mock_api.play(FaultRule::on(
        Endpoint::Token,
        Fault::token(|answer| {
            answer["expires_in"] = json!("soon");
        }),
    ));
    let good = token(&mock_api).await;
    assert_eq!(page(&mock_api, &good, "").await.status, 200);
    mock_api.play(FaultRule::on(Endpoint::Token, Fault::oauth_error(400, "invalid_scope")));
    let answer = post(&mock_api, "/oauth2/token", &form("mock~secret")).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_scope")));
}

#[tokio::test]
async fn other_bodies_and_places_come_as_told() {
    let mock_api = with_people(MockSettings::default(), 1).await;
    let token = token(&mock_api).await;
    mock_api.play(FaultRule::on(LIST, Fault::json("{")));
    assert_eq!(page(&mock_api, &token, "").await.body, "{");
    mock_api.play(FaultRule::on(LIST, Fault::html()));
    assert!(page(&mock_api, &token, "").await.has("content-type: text/html; charset=utf-8"));
    mock_api.play(FaultRule::on(LIST, Fault::Gzip(b"zip".into())));
    assert!(page(&mock_api, &token, "").await.has("content-encoding: gzip"));
    let location = "https://elsewhere.example/".to_owned();
    mock_api.play(FaultRule::on(LIST, Fault::Redirect { status: 307, location }));
    let answer = page(&mock_api, &token, "").await;
    assert_eq!(answer.status, 307);
    assert!(answer.has("location: https://elsewhere.example/"));
}
