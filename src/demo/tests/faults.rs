//! Faults play where, when and as often as they are told to.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::demo::{BodyKind, Endpoint, Fault, FaultRule, Step, When};

const LIST: Endpoint = Endpoint::List;

#[tokio::test]
async fn a_status_plays_at_its_page_for_its_times_with_its_body() {
    let stand_in = with_people(Settings::default(), 250).await;
    let token = token(&stand_in).await;
    stand_in.play(FaultRule::on(LIST, Fault::retry_after(503, "7")).page(2).times(2));
    let first = page(&stand_in, &token, "").await.json();
    let cursor = first["next"].as_str().unwrap();
    for _ in 0..2 {
        let answer = page(&stand_in, &token, cursor).await;
        assert_eq!(answer.status, 503);
        assert!(answer.has("retry-after: 7"));
        assert_eq!(answer.json()["code"], json!("INTERNAL_SERVER_ERROR"));
    }
    assert_eq!(page(&stand_in, &token, cursor).await.status, 200);
    for (body, start) in [
        (BodyKind::Html, "<!DOCTYPE html>"),
        (BodyKind::Plain, "upstream"),
        (BodyKind::Json(json!({})), "{}"),
    ] {
        stand_in.play(FaultRule::on(LIST, Fault::with_body(502, body)));
        let answer = page(&stand_in, &token, "").await;
        assert!(answer.body.starts_with(start), "{}", answer.body);
    }
    stand_in.play(FaultRule::on(LIST, Fault::with_body(500, BodyKind::Empty)));
    assert_eq!(page(&stand_in, &token, "").await.body, "");
    assert_eq!(stand_in.requests().last().unwrap().status, Some(500));
}

#[tokio::test]
async fn rules_count_from_when_they_were_set() {
    let stand_in = with_people(Settings::default(), 1).await;
    let token = token(&stand_in).await;
    stand_in.play(FaultRule::on(LIST, Fault::status(500)).nth(2));
    stand_in.play(FaultRule::on(LIST, Fault::status(404)).when(When::FromNth(3)).always());
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(page(&stand_in, &token, "").await.status);
    }
    assert_eq!(statuses, [200, 500, 200, 404, 404]);
    stand_in.clear_faults();
    assert_eq!(page(&stand_in, &token, "").await.status, 200);
}

#[tokio::test]
async fn connections_break_before_in_and_after_the_answer() {
    let stand_in = with_people(Settings::default(), 5).await;
    let token = token(&stand_in).await;
    let whole = page(&stand_in, &token, "").await.body;
    let told = format!("content-length: {}", whole.len());
    for (fault, body, reset) in [
        (Fault::Drop, "", false),
        (Fault::Reset, "", true),
        (Fault::CutBody { after: 9, reset: false }, &whole[..9], false),
        (Fault::CutBody { after: 9, reset: true }, &whole[..9], true),
    ] {
        let headless = body.is_empty();
        stand_in.play(FaultRule::on(LIST, fault));
        let answer = page(&stand_in, &token, "").await;
        assert_eq!((answer.body.as_str(), answer.reset), (body, reset));
        assert_eq!(answer.status, if headless { 0 } else { 200 });
        assert_eq!(answer.has(&told), !headless);
    }
    stand_in.play(FaultRule::on(LIST, Fault::ContentLength(1 << 40)));
    let answer = page(&stand_in, &token, "").await;
    assert!(answer.has("content-length: 1099511627776"));
    assert_eq!(answer.body, whole);
    stand_in.play(FaultRule::on(LIST, Fault::CutChunks { after: 4 }));
    assert_eq!(page(&stand_in, &token, "").await.body, "4\r\n{\"ne\r\n");
    stand_in.play(FaultRule::on(LIST, Fault::BrokenChunk { after: 4 }));
    let answer = page(&stand_in, &token, "").await;
    assert!(answer.body.starts_with("4\r\n{\"ne\r\nno length\r\n"));
    stand_in.play(FaultRule::on(LIST, Fault::Raw(vec![Step::Send(b"SSH-2.0\r\n".into())])));
    assert_eq!(page(&stand_in, &token, "").await.body, "SSH-2.0\r\n");
    assert_eq!(page(&stand_in, &token, "").await.body, whole);
}

#[tokio::test]
async fn silence_lasts_until_the_client_leaves() {
    let stand_in = with_people(Settings::default(), 5).await;
    let token = token(&stand_in).await;
    let short = Duration::from_millis(50);
    stand_in.play(FaultRule::on(LIST, Fault::Hang));
    assert!(timeout(short, page(&stand_in, &token, "")).await.is_err());
    let prefix = b"{\"items\":[".to_vec();
    stand_in.play(FaultRule::on(LIST, Fault::Endless { prefix, then: vec![b' '; 65_536] }));
    assert!(timeout(short, page(&stand_in, &token, "")).await.is_err());
    stand_in.play(FaultRule::on(LIST, Fault::Drip { bytes: 1, every: short }));
    assert!(timeout(short * 3, page(&stand_in, &token, "")).await.is_err());
    stand_in.play(FaultRule::on(LIST, Fault::Delay(short)));
    let before = std::time::Instant::now();
    assert_eq!(page(&stand_in, &token, "").await.status, 200);
    assert!(before.elapsed() >= short);
    timeout(Duration::from_secs(5), stand_in.stop()).await.unwrap();
}

#[tokio::test]
async fn cursors_repeat_turn_in_circles_lead_nowhere_and_are_refused() {
    let stand_in = with_people(Settings::default(), 450).await;
    let token = token(&stand_in).await;
    let next = async |cursor: &str| {
        let json = page(&stand_in, &token, cursor).await.json();
        json["next"].as_str().unwrap_or("none").to_owned()
    };
    let a = next("").await;
    stand_in.play(FaultRule::on(LIST, Fault::RepeatCursor));
    assert_eq!(next(&a).await, a);
    let b = next(&a).await;
    stand_in.play(FaultRule::on(LIST, Fault::BackToPage(2)).page(3));
    assert_eq!(next(&b).await, a);
    stand_in.play(FaultRule::on(LIST, Fault::EmptyPage).times(2));
    for _ in 0..2 {
        let json = page(&stand_in, &token, &b).await.json();
        assert_eq!(json["items"], json!([]));
        assert_ne!(json["next"].as_str().unwrap(), b);
    }
    stand_in.play(FaultRule::on(LIST, Fault::RefuseCursor).when(When::FromPage(3)));
    assert_eq!(page(&stand_in, &token, &a).await.status, 200);
    assert_eq!(page(&stand_in, &token, &b).await.status, 400);
    stand_in.play(FaultRule::on(LIST, Fault::ExpireCursors));
    assert_eq!(page(&stand_in, &token, &b).await.status, 200);
    assert_eq!(page(&stand_in, &token, &b).await.status, 400);
}

#[tokio::test]
async fn what_goes_beside_goes_together() {
    let stand_in = with_people(Settings::default(), 3).await;
    let token = token(&stand_in).await;
    stand_in.play(FaultRule::on(LIST, Fault::change(|people| people.add(&json!({"id": "late"})))));
    stand_in.play(FaultRule::on(
        LIST,
        Fault::rewrite(|page, items| {
            items.reverse();
            items.push(json!(page));
        }),
    ));
    stand_in.play(FaultRule::on(LIST, Fault::RevokeTokens));
    let json = page(&stand_in, &token, "").await.json();
    assert_eq!(json["items"][0], json!({"id": "late"}));
    assert_eq!(json["items"][4], json!(1));
    unauthorized(&page(&stand_in, &token, "").await);
}

#[tokio::test]
async fn a_rewritten_token_answer_still_holds_a_good_token() {
    let stand_in = with_people(Settings::default(), 1).await;
    stand_in.play(FaultRule::on(
        Endpoint::Token,
        Fault::token(|answer| {
            answer["expires_in"] = json!("soon");
        }),
    ));
    let good = token(&stand_in).await;
    assert_eq!(page(&stand_in, &good, "").await.status, 200);
    stand_in.play(FaultRule::on(Endpoint::Token, Fault::oauth_error(400, "invalid_scope")));
    let answer = post(&stand_in, "/oauth2/token", &form("stand-in~secret")).await;
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_scope")));
}

#[tokio::test]
async fn other_bodies_and_places_come_as_told() {
    let stand_in = with_people(Settings::default(), 1).await;
    let token = token(&stand_in).await;
    stand_in.play(FaultRule::on(LIST, Fault::json("{")));
    assert_eq!(page(&stand_in, &token, "").await.body, "{");
    stand_in.play(FaultRule::on(LIST, Fault::html()));
    assert!(page(&stand_in, &token, "").await.has("content-type: text/html; charset=utf-8"));
    stand_in.play(FaultRule::on(LIST, Fault::Gzip(b"zip".into())));
    assert!(page(&stand_in, &token, "").await.has("content-encoding: gzip"));
    let location = "https://elsewhere.example/".to_owned();
    stand_in.play(FaultRule::on(LIST, Fault::Redirect { status: 307, location }));
    let answer = page(&stand_in, &token, "").await;
    assert_eq!(answer.status, 307);
    assert!(answer.has("location: https://elsewhere.example/"));
}
