//! `check` goes through configuration, database, token and API, and says for each what is right or how to cure it.

use serde_json::json;
use understory_mock_api::{Endpoint, Fault, FaultRule, Route};

use crate::support::World;

/// The lines and the exit code.
fn check(world: &World, code: i32) -> Vec<String> {
    let done = world.run(&["check"]).expect(code);
    done.stdout.lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_signs(lines: &[String], signs: &str) {
    let found: String = lines.iter().filter_map(|line| line.chars().next()).collect();
    assert_eq!(found, signs, "{lines:#?}");
    for line in lines.iter().filter(|line| line.starts_with('✗')) {
        assert!(line.contains(" → "), "no cure: {line}");
    }
}

on_both! {
    async fn before_the_first_run_all_is_well_and_nothing_is_made(world: World) {
        world.list_people(30);
        assert_signs(&check(&world, 0), "✓✓✓✓");
        if world.db.is_postgres() {
            assert_eq!(world.db.number("select count(*) from pg_tables where schemaname = 'public'").await, 0);
        } else {
            assert_eq!(std::fs::read_dir(world.db.folder()).unwrap().count(), 0);
        }
    }

    async fn each_thing_that_is_wrong_has_its_line_and_its_cure(world: World) {
        world.list_people(30);
        world.run_once().expect(0);
        world.set("auth.client_secret", "wrong");
        assert_signs(&check(&world, 77), "✓✓✗");
        world.unset("auth.client_secret");
        world.api.set_routes(Route::Gone(404), Route::Gone(404), Route::Gone(404));
        assert_signs(&check(&world, 69), "✓✓✓✗");
        world.api.set_routes(Route::Works, Route::Works, Route::Works);
        world.api.play(FaultRule::on(Endpoint::List, Fault::html()).always());
        assert_signs(&check(&world, 65), "✓✓✓✗");
        world.api.clear_faults();
        world.api.set_people(&[json!({"id": "x", "company_id": "another", "email": "x@example.com"})]);
        assert_signs(&check(&world, 65), "✓✓✓✗");
        assert_eq!(world.db.count("sync_runs").await, 1);
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_used_does_not_hide_the_rest() {
    let world = World::on(crate::support::Engine::Sqlite).await;
    world.set("database.url", "sqlite://no/such/folder.db");
    assert_signs(&check(&world, 78), "✓✗✓✓");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_all_that_is_told() {
    let world = World::on(crate::support::Engine::Sqlite).await;
    world.set("api.page_size", "0");
    let done = world.run(&["check"]).expect(78);
    assert!(done.output().contains("api.page_size"), "{}", done.output());
    assert_eq!(world.api.requests().len(), 0);
}
