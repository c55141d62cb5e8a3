//! One run at a time, per database; whoever lost the lease writes nothing more.

use std::sync::{Arc, Mutex};

use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::{Engine, World};

/// Runs SQL from within the mock API's own thread, while the program waits for a page.
fn sql_in_mid_pass(world: &World, page: u64, sql: &'static str) {
    let url = world.db.url().to_owned();
    let work = move |_, _: &mut Vec<_>| {
        let url = url.clone();
        let on_its_own_thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                use sqlx::Connection as _;
                let mut conn = sqlx::PgConnection::connect(&url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
            });
        });
        on_its_own_thread.join().unwrap();
    };
    world.api.play(FaultRule::on(Endpoint::List, Fault::rewrite(work)).page(page));
}

on_both! {
    async fn the_second_comer_is_told_who_runs_and_ends_at_once(world: World) {
        world.list_people(250);
        let second = Arc::new(Mutex::new(None));
        let command = Mutex::new(world.command(&["--run-once"]));
        let seen = Arc::clone(&second);
        let start = move |_, _: &mut Vec<_>| {
            *seen.lock().unwrap() = Some(command.lock().unwrap().output().unwrap());
        };
        // Only its own requests meet the rule: it plays once.
        world.api.play(FaultRule::on(Endpoint::List, Fault::rewrite(start)).page(2));
        world.run_once().expect(0);
        let second = second.lock().unwrap().take().unwrap();
        let stderr = String::from_utf8(second.stderr).unwrap();
        assert_eq!(second.status.code(), Some(75), "{stderr}");
        assert!(stderr.contains("process "), "{stderr}");
        assert_eq!(world.db.count("sync_runs").await, 1);
        world.run_once().expect(0);
    }

    async fn a_run_that_died_is_recorded_as_interrupted(world: World) {
        world.list_people(5);
        world.run_once().expect(0);
        world.db.execute("update sync_runs set outcome = 'running', finished_at = null, absence = null").await;
        world.run_once().expect(0);
        assert_eq!(world.db.rows("select outcome from sync_runs order by id").await, ["interrupted", "succeeded"]);
    }
}

#[tokio::test]
async fn a_holder_that_lost_its_lease_writes_nothing_more() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(250);
    world.run_once().expect(0);
    world.api.people(|people| people.fill(2, 1_000..1_050));
    sql_in_mid_pass(
        &world,
        3,
        "update sync_lease set holder = 'another host', fence = fence + 1, expires_at = now() + interval '90 seconds'",
    );
    let done = world.run_once().expect(75);
    assert!(!done.stderr.contains("panick"), "{}", done.stderr);
    assert_eq!(world.db.count("consents").await, 250);
    // Its row is not its own any more either; whoever runs next sets it right.
    assert_eq!(world.last_run("outcome").await, "running");
    assert_eq!(world.db.value("select holder from sync_lease").await, "another host");
    world.run_once().expect(75).says("another host");
    world.db.execute("update sync_lease set expires_at = now() - interval '1 second'").await;
    world.run_once().expect(0);
    assert_eq!(world.db.count("consents").await, 300);
    assert_eq!(
        world.db.rows("select outcome from sync_runs order by id").await,
        ["succeeded", "interrupted", "succeeded"]
    );
}

#[tokio::test]
async fn a_lease_that_ran_out_but_was_not_taken_is_renewed() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(250);
    sql_in_mid_pass(&world, 2, "update sync_lease set expires_at = now() - interval '1 minute'");
    world.run_once().expect(0);
    assert_eq!(world.last_run("outcome, active").await, "succeeded|250");
}

#[tokio::test]
async fn the_file_lock_decides_whatever_the_lease_row_says() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(5);
    world.run_once().expect(0);
    world
        .db
        .execute("update sync_lease set holder = 'a ghost', expires_at = '2099-01-01T00:00:00.000Z'")
        .await;
    world.run_once().expect(0);
}
