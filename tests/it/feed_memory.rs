//! The change feed streams: its memory does not follow the table. 100,000 lines in the suite, a million by
//!
//! `UNDERSTORY_SYNC_FEED_LINES=1000000 UNDERSTORY_SYNC_BINARY=$PWD/target/release/understory-sync cargo test --test it many_lines -- --nocapture`

#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

use std::process::Command;
use std::time::Duration;

use crate::bench::number_from;
use crate::support::{Engine, Running, World};

/// The contract's, for a million lines.
const MOST_KIB: u64 = 32 * 1024;

/// Rows by SQL, a thousand of each transaction: the mock API would take most of the time.
async fn fill(world: &World, lines: u64) {
    world.list_people(1);
    world.run_once().expect(0);
    let (series, time) = match world.db.engine() {
        Engine::Sqlite => (
            format!(
                "with recursive series(n) as (select 1 union all select n + 1 from series where n < {lines})"
            ),
            "strftime('%Y-%m-%dT%H:%M:%fZ', changed_at, '-' || (n / 1000 + 1) || ' seconds')",
        ),
        Engine::Postgres => (
            format!("with series(n) as (select generate_series(1, {lines}))"),
            "changed_at - interval '1 second' * (n / 1000 + 1)",
        ),
    };
    world
        .db
        .execute(&format!(
            "{series} insert into consents (consent_key, consent_id, company_id, email, full_name, source, first_seen_at, changed_at, \
             first_run_id, changed_run_id, row_hash, natural_hash, address) \
             select 'key-' || n, 'key-' || n, company_id, n || email, full_name, source, first_seen_at, {time}, first_run_id, \
             changed_run_id, row_hash, n, n || address from series, consents"
        ))
        .await;
    world
        .db
        .execute("delete from feed_log where changed_at < (select max(changed_at) from feed_log); analyze")
        .await;
}

async fn reads_within_the_limit(engine: Engine) {
    let lines = number_from("UNDERSTORY_SYNC_FEED_LINES", 100_000);
    let world = World::on(engine).await;
    fill(&world, lines).await;
    let counted = world.home().join("counted");
    let into = format!("wc -l >{}", counted.display());
    let program = std::env::var_os("UNDERSTORY_SYNC_BINARY");
    for reading in [
        &["changes", "--as", "jsonl", "--", "sh", "-c", &into][..],
        &["changes", "--as", "csv", "--format", "csv", "--", "sh", "-c", &into],
    ] {
        let model = world.command(reading);
        let mut command = Command::new(program.as_deref().unwrap_or(model.get_program()));
        command.args(reading).env_clear().current_dir(world.home());
        command.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let done = Running::start(command).wait_within(Duration::from_mins(10)).expect(0);
        println!(
            "{engine:?} {}: {lines} lines in {:.1} s, at most {} KiB",
            reading[2],
            done.took.as_secs_f64(),
            done.peak_kib
        );
        let read: u64 = std::fs::read_to_string(&counted).unwrap().trim().parse().unwrap();
        // A reset, and in CSV a heading.
        assert_eq!(read, lines + 2 + u64::from(reading[2] == "csv"));
        assert!((1_000..MOST_KIB).contains(&done.peak_kib), "{} KiB", done.peak_kib);
    }
}

#[tokio::test]
async fn many_lines_of_a_file_take_no_more_memory_than_few() {
    reads_within_the_limit(Engine::Sqlite).await;
}

#[tokio::test]
async fn many_lines_of_a_server_take_no_more_memory_than_few() {
    reads_within_the_limit(Engine::Postgres).await;
}
