//! A file that appears whole or not at all, readable by its owner only.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A file beside its target; removed when dropped, unless it was moved into its place.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    file: File,
    persisted: bool,
}

impl AtomicFile {
    /// Makes an empty file with mode 0600 in the folder of `target`.
    pub fn create_beside(target: &Path) -> io::Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        };
        for attempt in 0..100 {
            let mut part = std::ffi::OsString::from(".");
            part.push(name);
            part.push(format!(".{}.{attempt}.part", std::process::id()));
            let path = target.with_file_name(part);
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => {
                    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
                    return Ok(Self { path, file, persisted: false });
                }
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
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
        if let Some(folder) = target.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// A device or a pipe, which a file moved into its place would end, for everybody on this machine.
pub fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Without links in the way to it, also where the file itself is not there.
pub fn resolved(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_path_buf(),
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.persisted {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
