//! The configuration files of the documentation are accepted as they are written.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What is put into a file by hand, or by a shell from its input, in a document; a document without that is such a file.
fn files(document: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(path).unwrap();
    let between = |opening: &str, closing: &str| -> Vec<String> {
        text.split(opening).skip(1).map(|rest| rest.split(closing).next().unwrap().to_owned()).collect()
    };
    let mut files = between("```toml\n", "```");
    files.append(&mut between("<<'TOML'\n", "TOML\n"));
    if files.is_empty() {
        files.push(text);
    }
    files
}

#[test]
fn every_configuration_of_the_documents_is_accepted() {
    let mut seen = 0;
    for document in ["README.md", "docs/install.md", "docs/operations.md"] {
        for text in files(document) {
            seen += 1;
            let folder = tempfile::tempdir().unwrap();
            let write = |name: &str, text: &str| {
                let path = folder.path().join(name);
                fs::write(&path, text).unwrap();
                path
            };
            write("client_secret", "secret\n");
            write("north.secret", "secret\n");
            write("database-url", "postgres://user@127.0.0.1/database\n");
            write("notify_url", "https://hooks.example.com/secret\n");
            // Blocks inside of lists are indented, which TOML does not mind.
            let here = format!("{}/", folder.path().display());
            let file = write("config.toml", &text.replace("/etc/understory-sync/", &here));
            let done = Command::new(env!("CARGO_BIN_EXE_understory-sync"))
                .arg("--config")
                .arg(file)
                .arg("config")
                .env_clear()
                .env("UNDERSTORY_SYNC__AUTH__CLIENT_ID", "test")
                .env("CREDENTIALS_DIRECTORY", folder.path())
                .current_dir(folder.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{document}:\n{text}\n{said}");
        }
    }
    assert!(seen >= 6, "{seen} files");
}
