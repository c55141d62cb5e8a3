//! Runs come by the schedule, one after the other, and a start does not repeat what was just done.

use std::time::Duration;

use crate::support::{World, until};

on_both! {
    async fn ticks_that_come_during_a_run_are_skipped_and_said_so(world: World) {
        world.list_people(300);
        world.api.configure(|api| api.latency = Duration::from_millis(900));
        world.set("schedule.cron", "*/2 * * * * *");
        let daemon = world.start(&[]);
        until("three complete runs", async || {
            world.db.find_number(COMPLETE).await.filter(|runs| *runs >= 3)
        })
        .await;
        daemon.signal("TERM");
        let done = daemon.wait().expect(0).says("skipped: a run took longer than the schedule's gap");
        assert_eq!(world.api.max_in_flight(), 1);
        let overlaps = "select count(*) from sync_runs one join sync_runs other on other.id > one.id \
             where one.finished_at is null or other.started_at < one.finished_at";
        assert_eq!(world.db.number(overlaps).await, 0, "{}", done.stderr);
        let first = world.db.value("select trigger from sync_runs order by id limit 1").await;
        assert_eq!(first, "start");
        assert!(world.db.number("select count(*) from sync_runs where trigger = 'schedule'").await >= 2);
    }

    async fn a_start_soon_after_a_complete_run_makes_none(world: World) {
        world.list_people(3);
        world.run_once().expect(0);
        let daemon = world.start(&[]);
        until("the daemon to say so", async || {
            daemon.stderr().contains("no run at start").then_some(())
        })
        .await;
        daemon.signal("HUP");
        until("the run that SIGHUP asked for", async || {
            (world.db.number(COMPLETE).await == 2).then_some(())
        })
        .await;
        daemon.signal("TERM");
        daemon.wait().expect(0);
        assert_eq!(
            world.db.rows("select trigger, outcome from sync_runs order by id").await,
            ["once|succeeded", "signal|succeeded"]
        );
    }
}

const COMPLETE: &str = "select count(*) from sync_runs where outcome = 'succeeded'";

#[tokio::test]
async fn without_run_at_start_the_first_run_is_the_tick_s() {
    let world = World::on(crate::support::Engine::Sqlite).await;
    world.set("schedule.run_at_start", "false");
    world.set("schedule.cron", "* * * * * *");
    let daemon = world.start(&[]);
    until("a run", async || world.db.find_number(COMPLETE).await.filter(|runs| *runs >= 1)).await;
    daemon.signal("TERM");
    daemon.wait().expect(0);
    let starts = "select count(*) from sync_runs where trigger <> 'schedule'";
    assert_eq!(world.db.number(starts).await, 0);
}
