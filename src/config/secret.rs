//! Files that hold one secret and nothing else.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::problem::show_path;
use super::value::Complaint;

/// What is shown in a secret's place.
pub(super) const REDACTED: &str = "\"[redacted]\"";

/// No secret is longer; what is may be a device that never ends.
const LARGEST: u64 = 65_536;

/// Reads a secret; the one line break that editors and `echo` leave behind it is dropped.
pub(super) fn read(path: &Path) -> Result<String, Complaint> {
    let wrong = |what: &str| {
        let allowed = "a readable file that holds the value and nothing else is wanted";
        Complaint::new(format!("the file {} {what}", show_path(path)), allowed)
    };
    let unreadable = |error: &std::io::Error| wrong(&format!("cannot be read ({})", error.kind()));
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(wrong("is a directory"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(wrong("is larger than any secret"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(wrong("is empty"));
    }
    Ok(text)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_is_dropped_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (content, secret) in
            [("a~b", "a~b"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a \n", " a "), ("a\r", "a\r")]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path).unwrap(), secret, "{content:?}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (content, word) in
            [(&b""[..], "empty"), (b"\n", "empty"), (b"\xff", "UTF-8"), (&vec![b'a'; 70_000], "larger")]
        {
            std::fs::write(&path, content).unwrap();
            let what = read(&path).unwrap_err().what;
            assert!(what.contains(word) && what.contains("secret"), "{what}");
        }
        assert!(read(folder.path()).unwrap_err().what.contains("directory"));
        assert!(read(&folder.path().join("none")).unwrap_err().what.contains("not found"));
        // A device that never ends.
        assert!(read(Path::new("/dev/zero")).unwrap_err().what.contains("larger"));
    }
}
