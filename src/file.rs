//! A file that appears whole or not at all, readable by its owner only; and where such a file must not go.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// What the names of unfinished files end with; no other program's do.
const SUFFIX: &str = ".understory-sync.part";

/// What belongs to a SQLite database, by what is appended to its name.
pub const DATABASE_FILES: [&str; 5] = ["", "-wal", "-shm", "-journal", ".lock"];

/// A file beside its target; removed when dropped, unless it was moved into its place.
///
/// It is locked while it is written: one that nobody has locked was left by a process that was killed.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    file: File,
    persisted: bool,
}

impl AtomicFile {
    /// Makes an empty file with mode 0600 in the folder of `target`, and removes what killed processes of this user left there.
    pub fn create_beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        for attempt in 0..100 {
            let mut part = std::ffi::OsString::from(".");
            part.push(name);
            part.push(format!(".{}.{attempt}{SUFFIX}", std::process::id()));
            let path = target.with_file_name(part);
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) if is_locked_by_us(&file, &path) => {
                    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
                    remove_leftovers(folder_of(target), file.metadata()?.uid());
                    return Ok(Self { path, file, persisted: false });
                }
                Ok(_) => {}
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it lies for now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Moves it into its place, once it is on the disk.
    pub fn persist(mut self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, target)?;
        self.persisted = true;
        File::open(folder_of(target))?.sync_all()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.persisted {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// False where another process took the new file for a leftover before it was locked. A file system without locks keeps leftovers.
fn is_locked_by_us(file: &File, path: &Path) -> bool {
    match file.try_lock() {
        Ok(()) => match (file.metadata(), std::fs::symlink_metadata(path)) {
            (Ok(ours), Ok(there)) => id_of(&ours) == id_of(&there),
            _ => false,
        },
        Err(std::fs::TryLockError::WouldBlock) => false,
        Err(std::fs::TryLockError::Error(_)) => true,
    }
}

fn id_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Removes unfinished files of this user that no process has locked. What cannot be removed is not our command's failure.
fn remove_leftovers(folder: &Path, user: u32) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let is_ours = name.starts_with(b".")
            && name.ends_with(SUFFIX.as_bytes())
            && entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.uid() == user);
        if is_ours && open_regular(&entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Opens a file for reading, without waiting for the other end of a pipe.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// As [`open`], and refuses whatever is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// What kept a file from being used, in words that people know.
pub fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        kind => kind.to_string(),
    }
}

/// The user that this process acts as.
pub fn caller() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether anybody but the owner may write a file. A group that is the owner's own is nobody else.
pub fn others_may_write(metadata: &Metadata) -> bool {
    let mode = metadata.mode();
    mode & 0o002 != 0 || (mode & 0o020 != 0 && !is_own_group(metadata.uid(), metadata.gid()))
}

/// Whether every user of this machine may read a file.
pub fn others_may_read(metadata: &Metadata) -> bool {
    metadata.mode() & 0o004 != 0
}

/// Whether a group is the one that was made for this user alone: of the same name, or of the same number where the names are not
/// known here.
fn is_own_group(user: u32, group: u32) -> bool {
    match (name_in("/etc/passwd", user), name_in("/etc/group", group)) {
        (Some(user), Some(group)) => user == group,
        _ => user == group,
    }
}

/// The name that stands beside a number in `NAME:PASSWORD:NUMBER:…`.
fn name_in(table: &str, number: u32) -> Option<String> {
    let table = std::fs::read_to_string(table).ok()?;
    let mut lines = table.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}

/// A device or a pipe, which a file moved into its place would end, for everybody on this machine.
pub fn is_special(path: &Path) -> bool {
    !is_foreign_link(path)
        && std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// A link of somebody else's, which would lead what is written elsewhere: it is replaced, not followed.
fn is_foreign_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|link| link.is_symlink() && link.uid() != caller() && link.uid() != 0)
}

/// Where a file is written: without links in the way to it, also where the file itself is not there.
pub fn resolved(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    if !is_foreign_link(&path) {
        path = follow_links(&path);
        if let Ok(path) = path.canonicalize() {
            return path;
        }
    }
    match (folder_of(&path).canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// Where a path leads, also where the last of several links points to nothing. A circle of links is left a link.
pub fn follow_links(path: &Path) -> PathBuf {
    let mut target = path.to_path_buf();
    for _ in 0..40 {
        let Ok(next) = target.read_link() else { break };
        target = folder_of(&target).join(next);
    }
    target
}

/// The folder that a path lies in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("/"),
    }
}

/// Whether a path leads to a SQLite database or to one of the files beside it, by whatever name or link.
pub fn is_part_of_database(path: &Path, database: &Path) -> bool {
    let target = resolved(path);
    let target_id = std::fs::metadata(&target).map(|metadata| id_of(&metadata)).ok();
    let database = resolved(database);
    DATABASE_FILES.iter().any(|suffix| {
        let mut part = database.clone().into_os_string();
        part.push(suffix);
        let same_file = std::fs::metadata(&part).is_ok_and(|metadata| Some(id_of(&metadata)) == target_id);
        target == part || same_file
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_way_to_a_database_and_its_side_files_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let database = at("a.db");
        std::fs::write(&database, "").unwrap();
        std::fs::write(at("a.db-wal"), "").unwrap();
        symlink("a.db", at("link.db")).unwrap();
        symlink("link.db", at("second.db")).unwrap();
        symlink("a.db-journal", at("dangling")).unwrap();
        std::fs::hard_link(&database, at("hard.db")).unwrap();
        std::fs::hard_link(at("a.db-wal"), at("hard-wal")).unwrap();
        for target in [
            "a.db",
            "./a.db",
            "link.db",
            "second.db",
            "dangling",
            "hard.db",
            "hard-wal",
            "a.db-wal",
            "a.db-shm",
            "a.db-journal",
            "a.db.lock",
        ] {
            assert!(is_part_of_database(&at(target), &database), "{target}");
            assert!(is_part_of_database(&at(target), &at("second.db")), "{target}");
        }
        std::fs::write(at("other.db"), "").unwrap();
        for target in ["b.db", "other.db", "a.db.bak", "a.db-2", "missing/a.db"] {
            assert!(!is_part_of_database(&at(target), &database), "{target}");
        }
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_being_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let target = at("out.csv");
        let written = AtomicFile::create_beside(&target).unwrap();
        std::fs::write(at(".old.csv.1.0.understory-sync.part"), "a@example.com").unwrap();
        std::fs::write(at(".film.mkv.part"), "another program's").unwrap();
        symlink("/dev/null", at(".link.1.0.understory-sync.part")).unwrap();
        drop(AtomicFile::create_beside(&target).unwrap());
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let name = written.path().file_name().unwrap();
        assert_eq!(left, [".film.mkv.part", ".link.1.0.understory-sync.part", name.to_str().unwrap()]);
        written.persist(&target).unwrap();
        assert!(target.exists());
    }

    #[test]
    fn a_group_is_the_owners_own_by_name_or_by_number() {
        assert!(is_own_group(0, 0));
        assert!(is_own_group(4_000_001, 4_000_001), "neither is known here");
        assert!(!is_own_group(4_000_001, 4_000_002));
        let other = name_in("/etc/group", 1).unwrap();
        assert!(!is_own_group(0, 1), "root's files of the group {other}");
    }

    #[test]
    fn a_link_of_another_user_is_not_followed_to_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (link, database) = (folder.join("out.csv"), folder.join("a.db"));
        std::fs::write(&database, "").unwrap();
        symlink(&database, &link).unwrap();
        assert_eq!(resolved(&link), database);
        if caller() == 0 {
            std::os::unix::fs::lchown(&link, Some(4711), None).unwrap();
            assert_eq!(resolved(&link), link);
            assert!(is_part_of_database(&link, &database), "it is refused all the same");
        }
    }

    #[test]
    fn only_regular_files_are_opened_and_a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            assert!(open_regular(path).is_err(), "{}", path.display());
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(open_regular(&file).is_ok());
    }
}
