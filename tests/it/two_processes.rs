//! Two processes and one database: the second comer, the paused one, the killed one.

use std::time::{Duration, Instant};

use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::{Running, World, until};

/// A run that waits for its second page for a long time; everything before has happened.
async fn stuck_in_page_two(world: &World, arguments: &[&str]) -> Running {
    let rule = FaultRule::on(Endpoint::List, Fault::Delay(Duration::from_mins(2)));
    world.api.play(rule.page(2));
    let _ = world.api.take_requests();
    let running = world.start(arguments);
    until("the second page to be asked for", async || {
        let asked = world.api.requests();
        asked.iter().any(|seen| seen.page == Some(2)).then_some(())
    })
    .await;
    running
}

/// PostgreSQL: as if the lease's 90 seconds had passed.
async fn end_lease(world: &World) {
    if world.db.is_postgres() {
        world.db.execute("update sync_lease set expires_at = now() - interval '1 second'").await;
    }
}

/// Everything that a run could have written.
async fn everything(world: &World) -> Vec<String> {
    let mut rows = Vec::new();
    for sql in [
        "select * from consents order by consent_key",
        "select * from consent_changes order by id",
        "select * from sync_runs order by id",
        "select * from sync_state",
        "select holder, fence from sync_lease",
    ] {
        rows.extend(world.db.rows(sql).await);
    }
    rows
}

on_both! {
    async fn the_second_comer_ends_within_a_second_and_names_the_holder(world: World) {
        world.list_people(250);
        let first = stuck_in_page_two(&world, &["--run-once"]).await;
        let began = Instant::now();
        let second = world.run_once().expect(75).says("another run is in progress");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let holder = format!("process {}", first.id());
        assert!(second.stderr.contains(&holder), "{}", second.stderr);
        assert_eq!(world.db.count("sync_runs").await, 1, "the second comer is no run");
    }

    async fn a_daemon_skips_the_tick_but_its_run_at_start_waits(world: World) {
        world.list_people(250);
        let first = stuck_in_page_two(&world, &["--run-once"]).await;
        world.set("schedule.cron", "* * * * * *");
        let waiting = world.start(&[]);
        world.set("schedule.run_at_start", "false");
        let ticking = world.start(&[]);
        until("the tick to be skipped", async || {
            ticking.stderr().contains("run skipped: another run is in progress").then_some(())
        })
        .await;
        ticking.signal("TERM");
        ticking.wait().expect(0);
        until("the run at start to wait", async || {
            waiting.stderr().contains("the run at start waits for another run to end").then_some(())
        })
        .await;
        first.signal("TERM");
        first.wait().expect(75);
        until("the run at start to be made", async || {
            let started = "select count(*) from sync_runs where trigger = 'start' and outcome = 'succeeded'";
            (world.db.number(started).await == 1).then_some(())
        })
        .await;
        waiting.signal("TERM");
        waiting.wait().expect(0);
        assert_eq!(world.db.number("select min(id) from sync_runs where trigger = 'start'").await, 2);
    }

    async fn a_killed_run_is_marked_and_healed_by_the_next(world: World) {
        world.list_people(250);
        let first = stuck_in_page_two(&world, &["--run-once"]).await;
        first.signal("KILL");
        assert_eq!(first.wait().code, 128 + 9);
        assert_eq!(world.last_run("outcome").await, "running");
        if world.db.is_postgres() {
            world.run_once().expect(75).says("another run is in progress");
        }
        end_lease(&world).await;
        world.run_once().expect(0);
        assert_eq!(
            world.db.rows("select outcome from sync_runs order by id").await,
            ["interrupted", "succeeded"]
        );
        assert!(world.db.value("select error from sync_runs where id = 1").await.contains("ended"));
        assert_eq!(world.db.count("active_consents").await, 250);
    }

    async fn killed_and_started_again_and_again_a_daemon_loses_nothing(world: World) {
        world.list_people(600);
        world.api.configure(|api| api.latency = Duration::from_millis(150));
        for kill_at_page in [1, 4, 2, 5, 3] {
            let _ = world.api.take_requests();
            let daemon = world.start(&[]);
            until("a page to be asked for", async || {
                let asked = world.api.requests();
                asked.iter().any(|seen| seen.page == Some(kill_at_page)).then_some(())
            })
            .await;
            daemon.signal("KILL");
            daemon.wait();
            end_lease(&world).await;
        }
        world.run_once().expect(0);
        assert_eq!(world.db.count("active_consents").await, 600);
        assert_eq!(world.db.count("consents").await, 600);
        assert_eq!(
            world.db.rows("select distinct outcome from sync_runs order by 1").await,
            ["interrupted", "succeeded"]
        );
        let doubled = "select count(*) from (select consent_key from consent_history where change = 'added' \
             group by consent_key having count(*) > 1) doubled";
        assert_eq!(world.db.number(doubled).await, 0);
        if !world.db.is_postgres() {
            assert_eq!(world.db.value("pragma integrity_check").await, "ok");
        }
    }
}

#[tokio::test]
async fn a_paused_run_that_lost_its_lease_writes_nothing_more() {
    let world = World::on(crate::support::Engine::Postgres).await;
    world.list_people(250);
    let rule = FaultRule::on(Endpoint::List, Fault::Delay(Duration::from_millis(1500)));
    world.api.play(rule.page(2));
    let paused = world.start(&["--run-once"]);
    until("the second page to be asked for", async || {
        let asked = world.api.requests();
        asked.iter().any(|seen| seen.page == Some(2)).then_some(())
    })
    .await;
    paused.signal("STOP");
    end_lease(&world).await;
    // What the paused one holds in memory is old news now.
    let ids = world.api.people(|people| people.ids());
    assert!(world.api.update(&ids[0], |item| item["full_name"] = "Newer Name".into()));
    assert!(world.api.remove(&ids[1]));
    world.api.clear_faults();
    world.run_once().expect(0);
    let before = everything(&world).await;
    paused.signal("CONT");
    paused.wait().expect(75).says("lost its lease");
    assert_eq!(everything(&world).await, before);
    assert_eq!(
        world.db.rows("select outcome from sync_runs order by id").await,
        ["interrupted", "succeeded"]
    );
}

#[tokio::test]
async fn the_lease_is_renewed_while_pages_hold_nothing_new() {
    let world = World::on(crate::support::Engine::Postgres).await;
    world.list_people(500);
    world.run_once().expect(0);
    world.api.configure(|api| api.latency = Duration::from_secs(4));
    let run = world.start(&["--run-once"]);
    let holder = "select holder from sync_lease where holder is not null";
    let first = until("the lease", async || world.db.find(holder).await).await;
    let ends = "select floor(extract(epoch from expires_at)) from sync_lease";
    let at_first = world.db.number(ends).await;
    until("the lease to be renewed", async || {
        let now = world.db.number(ends).await;
        (now >= at_first + 10).then_some(())
    })
    .await;
    assert_eq!(world.db.find(holder).await, Some(first));
    run.wait().expect(0);
    assert_eq!(world.last_run("unchanged").await, "500");
}
