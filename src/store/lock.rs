//! SQLite: the lock of one run, a file beside the database that the system unlocks when the process dies.
//!
//! The database file itself is not locked this way: closing a second handle of it would drop SQLite's own locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::{StoreError, WriteCause};
use crate::exit::{Exit, Problem};
use crate::file::{caller, folder_of};

pub(super) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Ok(None): somebody else holds it.
    pub(super) fn acquire(database: &Path) -> Result<Option<Self>, StoreError> {
        let file = open_private(&lock_path(database)).map_err(|cause| write_error(database, &cause))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(write_error(database, &cause)),
        }
    }
}

/// What was noted in the lock file last; none where nothing was, or it cannot be read.
pub(super) fn read_note(database: &Path) -> Option<String> {
    let mut note = String::new();
    let file = open_private(&lock_path(database)).ok()?;
    file.take(NOTE_BYTES).read_to_string(&mut note).ok()?;
    Some(note)
}

/// Far more than a note takes.
const NOTE_BYTES: u64 = 256;

/// Notes something in the lock file, which stays where the database is replaced. Where it cannot be written, nothing is noted.
pub(super) fn write_note(database: &Path, note: &str) {
    let written = open_private(&lock_path(database)).and_then(|file| {
        file.write_all_at(note.as_bytes(), 0)?;
        file.set_len(note.len() as u64)
    });
    if let Err(cause) = written {
        tracing::debug!(%cause, "nothing could be noted in the lock file");
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Makes the database file before SQLite does, which would leave its rights to the umask.
///
/// # Errors
/// A problem where another user has put an empty file there, whose owner could read all that is written to it.
pub(super) fn create_private(database: &Path) -> Result<(), StoreError> {
    let empty = match std::fs::metadata(database) {
        Ok(metadata) => metadata.len() == 0,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => true,
        Err(cause) => return Err(write_error(database, &cause)),
    };
    if empty {
        let file = open_private(database).map_err(|cause| write_error(database, &cause))?;
        let metadata = file.metadata().map_err(|cause| write_error(database, &cause))?;
        refuse_planted(database, &metadata)?;
    }
    Ok(())
}

/// Refuses an empty database file of somebody else's: neither ours nor root's, nor, where root works for the owner of the folder, theirs.
pub(super) fn refuse_planted(database: &Path, metadata: &std::fs::Metadata) -> Result<(), StoreError> {
    let folder = folder_of(database).metadata().map_err(|cause| write_error(database, &cause))?;
    if metadata.len() > 0 || is_trusted(metadata.uid(), folder.uid(), caller()) {
        return Ok(());
    }
    let problem = Problem::new(Exit::Config, "{place} is an empty file that belongs to another user")
        .next_step("remove it, or let database.url name a file in a folder that only you can write to");
    Err(problem.with("place", database.display()).into())
}

const fn is_trusted(owner: u32, folder_owner: u32, caller: u32) -> bool {
    owner == caller || owner == 0 || (caller == 0 && owner == folder_owner)
}

fn open_private(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            // The umask may have taken even the owner's bits.
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            hand_over(&file, path)?;
            Ok(file)
        }
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            // A link there is nobody's that we know.
            let flags = OFlags::NOFOLLOW.bits().cast_signed();
            let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
            if file.metadata()?.len() == 0 {
                file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            }
            Ok(file)
        }
        Err(cause) => Err(cause),
    }
}

/// Root works for whoever owns the folder: a file that root kept would lock that user's service out of its own database. SQLite does
/// the same with the files that it makes beside the database.
fn hand_over(file: &File, path: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(folder_of(path))?;
    if file.metadata()?.uid() == 0 && owner.uid() != 0 {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// The system's error as one of ours.
pub(super) fn write_error(path: &Path, cause: &io::Error) -> StoreError {
    let place = path.display().to_string();
    let cause = match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return StoreError::no_folder(path),
        io::ErrorKind::IsADirectory => return StoreError::directory(path),
        io::ErrorKind::PermissionDenied => WriteCause::Permission,
        io::ErrorKind::ReadOnlyFilesystem => WriteCause::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteCause::Full,
        _ => WriteCause::Io,
    };
    StoreError::Write { place, cause }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_taken_from_its_user_from_root_and_by_root_from_whom_it_works_for() {
        for (owner, folder, caller, trusted) in [
            (1, 1, 1, true),
            (0, 1, 1, true),
            (1, 1, 0, true),
            (1, 0, 0, false),
            (1, 2, 0, false),
            (2, 1, 1, false),
            (2, 2, 1, false),
        ] {
            assert_eq!(is_trusted(owner, folder, caller), trusted, "{owner} {folder} {caller}");
        }
    }

    #[test]
    fn what_root_makes_in_another_users_folder_is_that_users() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let owner = if root { 4711 } else { folder.path().metadata().unwrap().uid() };
        if root {
            std::os::unix::fs::chown(folder.path(), Some(owner), Some(owner)).unwrap();
        }
        let database = folder.path().join("a.db");
        create_private(&database).unwrap();
        let _lock = FileLock::acquire(&database).unwrap().unwrap();
        for file in [database.clone(), lock_path(&database)] {
            let metadata = file.metadata().unwrap();
            assert_eq!(metadata.uid(), owner);
            assert_eq!(metadata.mode() & 0o7777, 0o600);
        }
    }
}
