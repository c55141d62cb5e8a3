//! `backup FILE`: SQLite only, a consistent copy while the daemon runs.

use std::io::Write;
use std::path::Path;

use super::error::CommandError;
use super::forget::PATIENCE;
use crate::config::Config;
use crate::exit::Exit;
use crate::file::{is_special, resolved};
use crate::store::Store;

/// Copies and says where to.
///
/// # Errors
/// What the database or the target's folder says; a target that is the database itself.
pub async fn run(config: &Config, target: &Path, out: &mut dyn Write) -> Result<Exit, CommandError> {
    if config.database.sqlite_path().is_some_and(|database| is_part_of(target, &database)) {
        return Err(CommandError::Usage("the copy would replace the database itself (nothing was done)"));
    }
    if is_special(target) {
        return Err(CommandError::Usage(
            "the copy must go into a file, not a device or a pipe (nothing was done)",
        ));
    }
    let mut store = Store::open_as_it_is(&config.database, PATIENCE).await?;
    let copied = store.backup(&resolved(target)).await;
    store.close().await;
    copied?;
    writeln!(out, "copied to {}", target.display())?;
    Ok(Exit::Done)
}

/// Whether the target is the database or one of the files beside it that belong to it.
fn is_part_of(target: &Path, database: &Path) -> bool {
    let target = resolved(target);
    let database = resolved(database);
    ["", "-wal", "-shm", "-journal", ".lock"].iter().any(|suffix| {
        let mut part = database.clone().into_os_string();
        part.push(suffix);
        target == part
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_database_and_what_lies_beside_it_is_no_target() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        std::fs::write(&database, "").unwrap();
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&database, &link).unwrap();
        for target in ["a.db", "./a.db", "link.db", "a.db-wal", "a.db.lock"] {
            let target = folder.path().join(target);
            assert!(is_part_of(&target, &database), "{}", target.display());
        }
        for target in ["b.db", "a.db.bak", "a.db-2", "missing/a.db"] {
            let target = folder.path().join(target);
            assert!(!is_part_of(&target, &database), "{}", target.display());
        }
    }
}
