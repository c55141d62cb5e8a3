//! What `config` shows, and what the sample file says.

use super::*;

#[test]
fn config_shows_everything_but_secrets() {
    let place = TestFolder::empty()
        .toml("[auth]\nclient_id = 'id'\n[health]\nheartbeat_url = 'https://hc.example.org/hunter2'\n")
        .write("secret", "hunter2")
        .set("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET_FILE", "secret")
        .set("DATABASE_URL", "postgres://u:hunter2@h/d?sslmode=require")
        .set("HTTPS_PROXY", "http://u:hunter2@proxy:3128")
        .set("https_proxy", "u:hunter2@proxy:3128")
        .set("NO_PROXY", "localhost,.example.org");
    insta::assert_snapshot!("config", place.shown().replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn what_every_user_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = TestFolder::empty()
        .toml("[auth]\nclient_id = 'id'\nclient_secret_file = 's'\n[notify]\nurl = 'https://chat.example.org/hunter2'\n")
        .write("s", "hunter2")
        .write("understory.db", "");
    let warnings = |mode: u32| {
        for name in ["config.toml", "s", "understory.db"] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(place.path(name), permissions).unwrap();
        }
        place.load().warnings
    };
    assert_eq!(warnings(0o600), [""; 0]);
    let open = warnings(0o644).join("\n");
    for words in ["/config.toml holds notify.url", "/s, which holds a secret", "the database /"] {
        assert!(open.contains(words), "{words}: {open}");
    }
    assert!(!open.contains("hunter2"), "{open}");
}

#[test]
fn what_the_driver_takes_from_its_surroundings_is_listed() {
    let place = TestFolder::new()
        .set("DATABASE_URL", "postgres://u@h/d")
        .set("PGHOSTADDR", "192.0.2.7")
        .set("PGPASSWORD", "hunter2")
        .set("PGOPTIONS", "-c x=hunter2")
        .set("PGSSLKEY", "-----BEGIN PRIVATE KEY-----\nhunter2")
        .set("PGSSLMODE", "disable");
    let place = place.write(".pgpass", "*:*:*:*:hunter2\n");
    let home = place.folder.path().to_str().unwrap().to_owned();
    let shown = place.set("HOME", &home).shown();
    for line in [
        "# PGHOSTADDR = 192.0.2.7",
        "# PGPASSWORD = [redacted]",
        "# PGOPTIONS = [redacted]",
        "# PGSSLKEY = [redacted]",
        "# ~/.pgpass = asked",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(!shown.contains("PGSSLMODE"), "{shown}");
    let sqlite = TestFolder::new().set("PGHOST", "h").shown();
    assert!(!sqlite.contains("PGHOST"), "{sqlite}");
}

#[test]
fn config_tells_what_is_missing_and_can_be_read_back() {
    let place = TestFolder::empty();
    let loaded = place.load_for(Needs::Nothing).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = crate::command::config::run(&loaded, false, &mut out, &mut err).unwrap();
    assert_eq!(exit, crate::exit::Exit::Config);
    assert!(String::from_utf8(err).unwrap().contains("UNDERSTORY_SYNC__AUTH__CLIENT_ID"));
    let again = TestFolder::new().toml(&String::from_utf8(out).unwrap()).load();
    assert_eq!(format!("{:?}", again.config.schedule), format!("{:?}", loaded.config.schedule));
}

/// The sample's keys, with the comment signs taken away where a key follows.
fn sample() -> String {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml")).unwrap();
    let key = |line: &str| line.starts_with('#') && !line.starts_with("# ") && !line.starts_with("#:");
    let lines = text.lines().map(|line| if key(line) { &line[1..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_file_is_the_one_that_the_program_prints() {
    let committed =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml")).unwrap();
    assert!(
        committed == example(),
        "write it anew: understory-sync config --example >config.example.toml\n{}",
        example()
    );
}

/// A key's row in `docs/configuration.md`.
fn documented(key: &key::ConfigKey) -> String {
    let docs: Vec<&str> = key.docs.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let docs = docs.join(" ");
    let default = key.default.map_or_else(String::new, |text| format!(" `{}`", key.to_toml(text)));
    format!("| `{}` |{default} | {} |", key.name, docs.replace('|', "\\|"))
}

/// With `UPDATE_DOCS=1` the rows are written anew.
#[test]
fn the_documentation_s_rows_are_those_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut left: Vec<&key::ConfigKey> = keys::KEYS.iter().collect();
    let mut lines = Vec::new();
    for line in page.lines() {
        let named = line.strip_prefix("| `").and_then(|line| line.split('`').next()).and_then(key::find);
        let Some(named) = named else {
            lines.push(line.to_owned());
            continue;
        };
        let (section, _) = named.name.split_once('.').unwrap();
        let rows = left.extract_if(.., |key| key.name.starts_with(&format!("{section}.")));
        lines.extend(rows.map(documented));
    }
    let written = lines.join("\n") + "\n";
    assert!(left.is_empty(), "no row for {left:?}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &written).unwrap();
    } else {
        assert!(
            written == page,
            "write it anew: UPDATE_DOCS=1 cargo test --lib documentation_s_rows\n{written}"
        );
    }
}

#[test]
fn the_sample_file_can_be_used_as_it_is() {
    let sample =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml")).unwrap();
    let loaded = TestFolder::new().toml(&sample).load();
    assert!(loaded.entries.iter().all(|entry| !matches!(entry.origin, Origin::File(_))));
}

#[test]
fn the_sample_file_has_every_key_with_its_default() {
    let layer = file::parse(PathBuf::from("sample"), &sample()).unwrap();
    assert_eq!(layer.problems, []);
    assert_eq!(layer.settings.len(), keys::KEYS.len());
    let without_default = |line: &&str| !line.contains('…') && !line.contains("/run/secrets");
    let sample = sample().replace("VERSION", env!("CARGO_PKG_VERSION"));
    let sample: Vec<&str> = sample.lines().filter(without_default).collect();
    let shown = |loaded: LoadedConfig| -> Vec<_> {
        loaded.entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
    };
    // Both in one folder: the database's full path is part of what is shown.
    let place = TestFolder::new();
    let defaults = shown(place.load());
    assert_eq!(shown(place.toml(&sample.join("\n")).load()), defaults);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let loaded = TestFolder::new().load();
    let exit = crate::command::config::run(&loaded, false, &mut Closed, &mut Vec::new()).unwrap();
    assert_eq!(exit, crate::exit::Exit::Done);
    // Here the command's error is what ends in silence.
    let error = crate::command::CommandError::from(crate::command::man::run(&mut Closed).unwrap_err());
    assert!(error.is_closed_pipe());
    assert_eq!(error.exit(), crate::exit::Exit::Done);
}
