//! Watches from inside the database what a run writes.

use super::TestDb;

/// Counts, from now on, every row that anybody writes to these tables, whether or not its values change.
pub(crate) async fn watch_writes(db: &TestDb, tables: &[&str]) {
    db.execute("create table watched_writes (at text not null)").await;
    if db.is_postgres() {
        db.execute(
            "create function watch() returns trigger language plpgsql as \
             $$ begin insert into watched_writes values (tg_table_name); return null; end $$",
        )
        .await;
    }
    for table in tables {
        let sql = if db.is_postgres() {
            format!(
                "create trigger watch after insert or update or delete on {table} \
                 for each row execute function watch()"
            )
        } else {
            ["insert", "update", "delete"]
                .map(|verb| {
                    format!(
                        "create trigger watch_{table}_{verb} after {verb} on {table} \
                         begin insert into watched_writes values ('{table}'); end;"
                    )
                })
                .concat()
        };
        db.execute(&sql).await;
    }
}

/// How many rows were written since this was asked last: `table|count`.
pub(crate) async fn writes(db: &TestDb) -> Vec<String> {
    let rows = db.rows("select at, count(*) from watched_writes group by at order by at").await;
    db.execute("delete from watched_writes").await;
    rows
}
