//! What goes wrong in somebody's first minutes is answered by what that person needs to know.

use crate::support::{Engine, World};

#[tokio::test]
async fn tables_of_others_behind_a_database_url_are_not_joined_unasked() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(3);
    let url = world.db.url().to_owned();
    world.unset("database.url");
    world.variable("DATABASE_URL", &url);
    world.db.execute("create table orders (id int); create view recent as select * from orders").await;
    for arguments in [&["--run-once"][..], &["migrate"], &[]] {
        let refused = world.run(arguments).expect(78);
        let refused =
            refused.says("holds tables of other applications (1), and its URL is that of DATABASE_URL");
        refused.says("database.schema");
    }
    world.run(&["check"]).expect(78);
    assert_eq!(world.db.number("select count(*) from pg_tables where schemaname = 'public'").await, 1);

    // A schema of its own, or a URL that was given to this program.
    world.set("database.schema", "understory");
    world.run(&["check"]).expect(0);
    world.run_once().expect(0);
    world.unset("database.schema");
    world.set("database.url", &url);
    world.run_once().expect(0);
    // Once our tables are there, it is ours whatever the variable.
    world.unset("database.url");
    world.run_once().expect(0);
    // An empty schema is nobody's.
    world.db.execute("drop schema public cascade; create schema public").await;
    world.run_once().expect(0);
}
