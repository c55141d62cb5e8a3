//! A small file system of the test's own, where the test may mount one.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A tmpfs; unmounted when dropped.
pub(crate) struct Mount {
    folder: TempDir,
}

impl Mount {
    /// None where this process may not mount.
    pub(crate) fn new(kilobytes: u64) -> Option<Self> {
        let folder = TempDir::with_prefix("understory-sync-mount").unwrap();
        let size = format!("size={kilobytes}k,mode=0777");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("consents.db")
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    /// `size=…`, `ro`, `rw`
    pub(crate) fn remount(&self, option: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{option}")])
            .arg(self.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).output();
    }
}
