//! SQLite's files are the owner's alone, whatever the umask.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use understory_sync::demo::{Endpoint, Fault, FaultRule};

use crate::support::{Engine, World, run};

fn modes(folder: &Path) -> Vec<(String, u32)> {
    let mut modes: Vec<(String, u32)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    modes.sort();
    modes
}

#[tokio::test]
async fn every_file_of_the_database_is_private_during_and_after_a_run() {
    for umask in ["0", "0777"] {
        let world = World::on(Engine::Sqlite).await;
        world.list_people(250);
        let during = Arc::new(Mutex::new(Vec::new()));
        let (folder, seen) = (world.db.folder().to_owned(), Arc::clone(&during));
        let look = move |_, _: &mut Vec<_>| *seen.lock().unwrap() = modes(&folder);
        world
            .api
            .play(FaultRule::on(Endpoint::List, Fault::rewrite(look)).page(3));
        run(world.command_after(&format!("umask {umask}"), &["--run-once"])).expect(0);
        let during = during.lock().unwrap().clone();
        assert!(
            during.iter().any(|(name, _)| name.ends_with("-wal")),
            "{during:?}"
        );
        for (name, mode) in during.into_iter().chain(modes(world.db.folder())) {
            assert_eq!(mode, 0o600, "{name} with umask {umask}");
        }
    }
}
