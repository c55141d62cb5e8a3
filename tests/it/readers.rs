//! The readers of the change feed in the documents do what they say, against a local server.

use std::process::Command;

use crate::support::World;

#[test]
fn every_documented_reader_adds_leaves_and_comes_again_after_a_failure() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers.py");
    let done =
        Command::new("python3").arg(script).output().expect("python3 is needed: apt-get install python3");
    let report = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && report.contains("\nOK"), "{report}");
}

on_both! {
    async fn the_documented_sql_of_readers_gives_an_answer(world: World) {
        world.list_people(5);
        world.run_once().expect(0);
        for sql in [
            include_str!("../../docs/examples/readers/metabase.sql"),
            include_str!("../../docs/examples/readers/dbt.sql"),
        ] {
            let statement = sql.trim_end().trim_end_matches(';');
            assert!(!world.db.query(statement).await.is_empty(), "{sql}");
        }
    }
}
