//! Files that hold one secret and nothing else.

use std::io::Read;
use std::path::Path;

use super::problem::show_path;
use super::rule::Complaint;
use crate::file;

pub(super) const REDACTED: &str = "\"[redacted]\"";

/// No secret is longer; what is may be a device that never ends.
const LARGEST: u64 = 65_536;

/// Reads a secret; the one line break that editors and `echo` leave behind it is dropped. Who owns the file is not looked at: it may be
/// root's, or another service's that shares it.
pub(super) fn read(path: &Path, warnings: &mut Vec<String>) -> Result<String, Complaint> {
    let wrong = |what: &str| {
        let allowed = "expected a readable file that holds the value and nothing else";
        Complaint::new(format!("the file {} {what}", show_path(path))).allowed(allowed)
    };
    let unreadable = |error: &std::io::Error| wrong(&format!("cannot be read ({})", file::in_words(error)));
    let file = file::open(path).map_err(|error| unreadable(&error))?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    if metadata.is_dir() {
        return Err(wrong("is a directory"));
    }
    if !metadata.is_file() {
        return Err(wrong("is a pipe or a device"));
    }
    if file::others_may_write(&metadata) {
        let path = show_path(path);
        let what = format!("the file {path} can be written by other users, who could replace the secret");
        return Err(Complaint::new(what).allowed(format!("try: chmod 600 {path}")));
    }
    if file::others_may_read(&metadata) {
        let path = show_path(path);
        warnings.push(format!("every user may read {path}, which holds a secret; try: chmod 600 {path}"));
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

/// What the documents write where a value belongs.
pub(super) fn is_placeholder(text: &str) -> bool {
    matches!(text.trim_matches(is_quotation_mark), "…" | "...")
}

/// What was copied along with a secret, most likely. It is sent all the same: the server alone knows.
pub(super) fn copied_along(secret: &str) -> Option<&'static str> {
    let ends = |is: fn(char) -> bool| secret.starts_with(is) || secret.ends_with(is);
    if ends(|c| c == '\u{feff}') {
        Some("a byte order mark")
    } else if ends(|c| matches!(c, '\n' | '\r')) {
        Some("a line break")
    } else if ends(char::is_whitespace) {
        Some("a blank")
    } else if ends(is_quotation_mark) {
        Some("a quotation mark")
    } else {
        None
    }
}

fn is_quotation_mark(c: char) -> bool {
    matches!(c, '"' | '\'' | '`' | '“' | '”' | '„' | '‘' | '’' | '‚' | '«' | '»')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_line_break_is_dropped_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (content, secret) in
            [("a~b", "a~b"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a \n", " a "), ("a\r", "a\r")]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path, &mut Vec::new()).unwrap(), secret, "{content:?}");
        }
    }

    #[test]
    fn what_was_copied_along_is_named() {
        for (secret, named) in [
            ("\u{feff}s3cret", Some("a byte order mark")),
            ("s3cret\n", Some("a line break")),
            ("s3cret ", Some("a blank")),
            ("\u{a0}s3cret", Some("a blank")),
            ("\"s3cret\"", Some("a quotation mark")),
            ("s3cret’", Some("a quotation mark")),
            ("s3 c\"ret", None),
            ("~s3cret.", None),
        ] {
            assert_eq!(copied_along(secret), named, "{secret:?}");
        }
        assert!(
            is_placeholder("…")
                && is_placeholder("'...'")
                && !is_placeholder("….")
                && !is_placeholder("s3cret")
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (content, word) in
            [(&b""[..], "empty"), (b"\n", "empty"), (b"\xff", "UTF-8"), (&vec![b'a'; 70_000], "larger")]
        {
            std::fs::write(&path, content).unwrap();
            let what = refused(&path);
            assert!(what.contains(word) && what.contains("secret"), "{what}");
        }
        assert!(refused(folder.path()).contains("directory"));
        assert!(refused(&folder.path().join("none")).contains("no such file"));
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for special in [pipe.as_path(), Path::new("/dev/zero")] {
            assert!(refused(special).contains("is a pipe or a device"));
        }
    }

    #[test]
    fn who_else_may_write_a_secret_is_refused_and_who_may_read_it_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "a~b").unwrap();
        for (mode, warned) in [(0o600, false), (0o400, false), (0o440, false), (0o444, true), (0o644, true)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let mut warnings = Vec::new();
            assert_eq!(read(&path, &mut warnings).unwrap(), "a~b", "{mode:o}");
            assert_eq!(!warnings.is_empty(), warned, "{mode:o}: {warnings:?}");
        }
        for mode in [0o602, 0o666, 0o777] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(refused(&path).contains("can be written by other users"), "{mode:o}");
        }
    }

    fn refused(path: &Path) -> String {
        read(path, &mut Vec::new()).unwrap_err().what
    }
}
