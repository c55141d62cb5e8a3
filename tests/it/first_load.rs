//! The first load of SQLite: few pages of its indexes are written twice.

use understory_sync::store::{Bounds, Store};

use crate::support::{Engine, World};

#[tokio::test]
async fn rows_of_a_transaction_are_stored_in_the_order_of_their_key() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(300);
    world.run_once().expect(0);
    let listed: Vec<String> = world.api.people(|people| people.ids());
    assert!(!listed.is_sorted(), "a list in order proves nothing");
    let stored = world.db.rows("select consent_key from consents order by changed_at, rowid").await;
    assert_eq!(stored.len(), 300);
    // Later pages may have come in a transaction of their own.
    let transactions = world.db.number("select count(distinct changed_at) from consents").await;
    let falls = stored.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(i64::try_from(falls).unwrap() < transactions, "{falls} of {transactions}");
}

#[tokio::test]
async fn transactions_are_larger_while_the_table_was_empty_and_on_sqlite_alone() {
    for (engine, larger) in [(Engine::Sqlite, true), (Engine::Postgres, false)] {
        let world = World::on(engine).await;
        world.run_once().expect(0);
        let mut rows = Vec::new();
        for _ in 0..2 {
            let mut store = Store::open_to_read(&world.db.config(), Bounds::COMMAND).await.unwrap().unwrap();
            rows.push(store.load(7).await.unwrap().batch_rows);
            store.close().await;
            world.list_people(1);
            world.run_once().expect(0);
        }
        assert_eq!(rows[0] > rows[1], larger, "{engine:?}: {rows:?}");
    }
}
