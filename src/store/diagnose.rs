//! What SQLite's own words do not tell: asked of the file system once something has failed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::error::{StoreError, WriteCause};
use super::location::Location;
use super::lock::{refuse_planted, write_error};
use super::migration::APPLICATION_ID;
use crate::file::folder_of;

/// More than SQLite writes at a time.
const SCRATCH: usize = 128 << 10;

/// No SQLite file is smaller (sqlite.org/fileformat2.html, page size).
const SMALLEST: u64 = 512;

/// How far into a damaged file we look for something of ours.
const LOOK: u64 = 1 << 20;

impl Location {
    /// Adds the place, and what the file system tells about the cause.
    pub(super) fn explain(&self, error: StoreError) -> StoreError {
        let error = error.located(&self.place());
        let Self::Sqlite { path } = self else {
            return error;
        };
        match error {
            // SQLite says "not a database" of a damaged first page too.
            StoreError::NotOurs { place } if was_ours(path) => {
                StoreError::corrupt("the first page is damaged").located(&place)
            }
            // SQLite says "I/O error" of its shared memory on a full disk, and of a folder that may not be written.
            StoreError::Write { cause: WriteCause::Io, .. } => match try_folder(path) {
                Err(cause) => write_error(path, &cause),
                Ok(()) => error,
            },
            error => error,
        }
    }

    /// As [`Location::explain`], for a file that could not be opened. Not for one that is open: closing a second handle
    /// would drop SQLite's locks.
    pub(super) fn explain_closed(&self, error: StoreError) -> StoreError {
        let error = self.explain(error);
        if let (Self::Sqlite { path }, StoreError::Write { cause: WriteCause::Io, .. }) = (self, &error)
            && let Err(cause) = OpenOptions::new().read(true).write(true).open(path)
        {
            return write_error(path, &cause);
        }
        error
    }

    /// Whether the file lies on a file system that is mounted read-only, and all of it is in it, so that it can be read
    /// without what SQLite would have to make beside it. Only for a file that is not open, as above.
    pub(super) fn is_frozen(&self) -> bool {
        let Self::Sqlite { path } = self else {
            return false;
        };
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let all_in_it = std::fs::metadata(log).map_or(true, |log| log.len() == 0);
        let written = OpenOptions::new().write(true).open(path);
        all_in_it && written.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }

    /// A SQLite database that is not there yet: no file, or an empty one.
    pub(super) fn refuse_absent(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { path } if std::fs::metadata(path).map_or(0, |found| found.len()) == 0 => {
                Err(StoreError::Absent { place: self.place() })
            }
            _ => Ok(()),
        }
    }

    /// A file that nobody may write is not written, not even by root; and what SQLite would leave beside it, as unwritable
    /// as the file, would stand in the way when the file may be written again.
    pub(super) fn refuse_read_only(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { path }
                if std::fs::metadata(path).is_ok_and(|found| found.permissions().readonly()) =>
            {
                Err(StoreError::Write { place: self.place(), cause: WriteCause::ReadOnly })
            }
            _ => Ok(()),
        }
    }

    /// A folder in which nothing can be made: a run makes files beside the database.
    pub(super) fn refuse_read_only_folder(&self) -> Result<(), StoreError> {
        let Self::Sqlite { path } = self else { return Ok(()) };
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(folder_of(path), access).map_err(|cause| write_error(path, &cause.into()))
    }

    /// SQLite takes a file of a few bytes for an empty database and writes over it. An empty one of our own may be taken.
    pub(super) fn refuse_scraps(&self) -> Result<(), StoreError> {
        let Self::Sqlite { path } = self else {
            return Ok(());
        };
        let Ok(metadata) = std::fs::metadata(path) else {
            return Ok(());
        };
        refuse_planted(path, &metadata)?;
        let size = metadata.len();
        if size == 0 || size >= SMALLEST || journal_of(path).exists() {
            return Ok(());
        }
        Err(StoreError::NotOurs { place: self.place() })
    }
}

fn journal_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}

/// Whether a file can be made and filled beside the database.
fn try_folder(path: &Path) -> io::Result<()> {
    let mut file_on_disk = crate::file::AtomicFile::create_beside(path)?;
    file_on_disk.file().write_all(&vec![0; SCRATCH])?;
    file_on_disk.file().sync_all()
}

/// Whether the file carries our application id where SQLite keeps it (sqlite.org/fileformat2.html, offset 68), or the
/// statement that made one of our indexes.
fn was_ours(path: &Path) -> bool {
    const INDEX: &[u8] = b"INDEX consent_changes_key";
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOK).read_to_end(&mut start));
    let mark = APPLICATION_ID.to_be_bytes();
    read.is_ok()
        && (start.get(68..72) == Some(&mark[4..]) || start.windows(INDEX.len()).any(|window| window == INDEX))
}
