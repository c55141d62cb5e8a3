//! `demo`: the whole job in two runs, without an account, again and again.

use std::time::{Duration, Instant};

use crate::support::{Engine, World, run};

#[tokio::test]
async fn the_demo_needs_nothing_takes_a_moment_and_can_be_repeated() {
    let world = World::on(Engine::Sqlite).await;
    for _ in 0..2 {
        let mut command = world.command(&["demo"]);
        command.env_clear();
        let began = Instant::now();
        let done = run(command).expect(0);
        // Five seconds are promised of a release build on an idle machine.
        assert!(began.elapsed() < Duration::from_secs(30));
        for words in ["select", "active_consents", "consent_history", "understory-demo.db"] {
            assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
        }
        assert!(done.stderr.is_empty(), "{}", done.stderr);
        assert!(world.home().join("understory-demo.db").exists());
    }
    assert_eq!(world.api.requests().len(), 0);
}
