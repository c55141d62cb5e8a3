//! How often a run waits for a distant PostgreSQL: each round trip costs what light needs for the way, whatever else is fast.

use crate::support::link::Link;
use crate::support::{Engine, World};

/// An unchanged run, from the connection to its end.
const UNCHANGED: usize = 20;

/// A transaction of a first load, whatever the number of its rows.
const FIRST_LOAD: usize = 4;

/// The rows of the first load: several transactions.
const PEOPLE: u64 = 12_000;

#[tokio::test]
async fn a_run_waits_for_a_distant_server_seldom() {
    for schema in [None, Some("of its own")] {
        let world = World::on(Engine::Postgres).await;
        let link = Link::to(world.db.url());
        world.set("database.url", &link.url(world.db.url()));
        let mut table = "sync_runs".to_owned();
        if let Some(schema) = schema {
            world.set("database.schema", schema);
            table = format!("\"{schema}\".sync_runs");
        }
        let run = || {
            let before = link.round_trips();
            world.run_once().expect(0);
            link.round_trips() - before
        };
        // The schema, and a first row.
        world.list_people(1);
        run();
        world.list_people(PEOPLE);
        let loading = run();
        let transactions =
            world.db.number(&format!("select batches from {table} order by id desc limit 1")).await;
        let added = world.db.number(&format!("select added from {table} order by id desc limit 1")).await;
        assert_eq!(added, PEOPLE.cast_signed() - 1);
        let unchanged = run();
        println!(
            "{unchanged} round trips unchanged, {loading} for {transactions} transactions, the end included"
        );
        assert!(unchanged <= UNCHANGED, "{unchanged} round trips of an unchanged run");
        // The last transaction is the run's end, which an unchanged run has too.
        let pages = usize::try_from(transactions - 1).unwrap();
        assert!(pages > 1, "{pages}");
        assert!(
            loading <= unchanged + FIRST_LOAD * pages,
            "{loading} round trips for {pages} transactions of pages, {unchanged} for a run without"
        );
    }
}
