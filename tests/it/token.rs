//! The token: its life is honoured, and a refusal is final.

use std::time::Duration;

use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::{Engine, World};

on_both! {
    async fn a_token_that_lives_a_second_is_renewed_on_the_way(world: World) {
        world.list_people(250);
        world.api.configure(|api| {
            api.token_life = Duration::from_secs(1);
            api.page_length = Some(10);
            api.latency = Duration::from_millis(100);
        });
        world.run_once().expect(0);
        assert_eq!(world.last_run("outcome, pages, items, active").await, "succeeded|25|250|250");
        let given = world.api.tokens_given();
        assert!((2..=10).contains(&given), "{given} tokens");
        // Renewed before it ran out, not after a refusal.
        assert!(world.api.requests().iter().all(|request| request.status == Some(200)));
    }
}

#[tokio::test]
async fn a_healthy_run_asks_for_one_token() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(950);
    world.run_once().expect(0);
    assert_eq!(world.api.tokens_given(), 1);
    assert_eq!(world.last_run("requests").await, "11");
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_asked_once() {
    let world = World::on(Engine::Sqlite).await;
    world.set("auth.client_secret", "not-the-secret");
    let done = world.run_once().expect(77);
    assert!(done.stderr.contains("hint:"), "{}", done.stderr);
    assert!(done.stdout.is_empty(), "{}", done.stdout);
    assert_eq!(world.api.requests().len(), 1);
    assert_eq!(world.last_run("outcome, absence, items").await, "failed|-|0");
}

#[tokio::test]
async fn a_scope_that_the_key_lacks_is_refused_and_asked_once() {
    let world = World::on(Engine::Sqlite).await;
    world.api.configure(|api| api.scopes = vec!["openid".to_owned()]);
    world.run_once().expect(77).says("scope");
    assert_eq!(world.api.requests().len(), 1);
}

#[tokio::test]
async fn a_token_without_the_permission_is_refused() {
    let world = World::on(Engine::Sqlite).await;
    world.set("auth.scopes", "openid");
    world.run_once().expect(77).says("403");
    assert_eq!(world.api.requests().len(), 2);
}

#[tokio::test]
async fn a_token_that_was_revoked_is_replaced_once() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(250);
    world.api.play(FaultRule::on(Endpoint::List, Fault::RevokeTokens).page(1));
    world.run_once().expect(0);
    assert_eq!(world.api.tokens_given(), 2);
    assert_eq!(world.last_run("items").await, "250");
}

#[tokio::test]
async fn a_second_401_to_the_same_request_is_final() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(250);
    world.api.play(FaultRule::on(Endpoint::List, Fault::status(401)).page(2).always());
    world.run_once().expect(77).says("401");
    assert_eq!(world.api.tokens_given(), 2);
    assert_eq!(world.api.requests().len(), 5);
}
