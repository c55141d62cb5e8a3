//! What must be so whatever the bytes are. The fuzz targets and a test of the gate (`tests/it/foreign_bytes.rs`) share it.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each fuzz target is a program of its own and needs one function"
)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use understory_sync::api::{RawPage, Token, retry_after as wait_of, token_refusal};
use understory_sync::config::{Environment, Needs, Sources, load};
use understory_sync::consent::{Consent, Cursor, Item};
use understory_sync::hash::{KnownItems, Salt};

/// A page: nothing panics, and whatever comes out can be stored in both databases.
pub(crate) fn page(bytes: &[u8]) {
    let Ok(raw) = RawPage::new(bytes.to_vec()) else {
        return;
    };
    let page = raw.read();
    let again = RawPage::new(bytes.to_vec()).ok();
    assert_eq!(
        Some(&page),
        again.as_ref().map(|raw| raw.read()).as_ref(),
        "the same bytes are the same page"
    );
    assert_eq!(page.items.len(), raw.len(), "every item is told");
    assert!(raw.len() <= 10_000);
    if let Some(next) = &page.next {
        assert!(!next.0.is_empty() && next.0.len() <= 8 * 1024);
    }
    assert!((page.items.clone(), page.next.clone()) == recognized(bytes), "known items are the same items");
    for item in &page.items {
        match item {
            Item::Known(_) => unreachable!("nothing is known"),
            Item::Consent(consent) => storable(consent),
            Item::Rejected(rejected) => {
                assert!(!rejected.item.contains('\0'));
                assert!(rejected.id.as_deref().is_none_or(good_id));
            }
        }
    }
}

/// The items and the cursor as they are read where every item was stored before.
fn recognized(bytes: &[u8]) -> (Vec<Item<'static>>, Option<Cursor>) {
    let salt = Salt::new(vec![7; 32]);
    let with = |hashes: Vec<u64>| {
        RawPage::with_known(bytes.to_vec(), &Arc::new(KnownItems::new(salt.clone(), hashes)))
    };
    let Ok(stored) = with(Vec::new()) else { panic!("the same bytes are a page") };
    let items = stored.read().items;
    let hashes = items.iter().filter_map(|item| match item {
        Item::Consent(consent) => consent.item_hash,
        _ => None,
    });
    let Ok(raw) = with(hashes.collect()) else { panic!("the same bytes are a page") };
    let items = raw.read().items.into_iter().filter_map(|item| match item {
        Item::Known(known) => known.read(),
        item => Some(item),
    });
    let own = |item: Item<'_>| match item {
        Item::Consent(consent) => Item::Consent(Consent { item_hash: None, ..consent.into_owned() }),
        Item::Rejected(rejected) => Item::Rejected(rejected),
        Item::Known(_) => unreachable!("it was read"),
    };
    (items.map(own).collect(), raw.next().cloned())
}

fn good_id(id: &str) -> bool {
    !id.trim().is_empty() && id.len() <= 2_048 && !id.starts_with("nk:") && !id.contains('\0')
}

fn storable(consent: &Consent<'_>) {
    assert!(!consent.company_id.trim().is_empty() && !consent.email.trim().is_empty());
    assert!(consent.consent_id.as_deref().is_none_or(good_id));
    assert!(!consent.key().is_empty());
    let texts = [
        Some(&consent.company_id),
        Some(&consent.email),
        consent.full_name.as_ref(),
        consent.source.as_ref(),
        consent.refs.as_ref(),
        consent.extra.as_ref(),
    ];
    for text in texts.into_iter().flatten() {
        assert!(!text.contains('\0'), "PostgreSQL holds no NUL");
    }
    for (json, opening) in [(&consent.refs, '['), (&consent.extra, '{')] {
        let Some(json) = json else { continue };
        assert!(json.starts_with(opening));
        // A reader of values takes these keys for its own. Nothing that keeps a row may be one.
        if json.contains("$serde_json::private") {
            let kept: Result<&serde_json::value::RawValue, _> = serde_json::from_str(json);
            assert_eq!(kept.map(serde_json::value::RawValue::get).ok(), Some(&**json));
            continue;
        }
        // The history wraps it once more, and serde's reader has to take that.
        let wrapped = format!("{{\"x\":{json}}}");
        let read: Result<serde_json::Value, _> = serde_json::from_str(&wrapped);
        let Ok(read) = read else { panic!("{:?}", read.err()) };
        assert!(!has_nul(&read), "PostgreSQL holds no NUL in JSON either");
    }
    let shown = format!("{consent:?}").replace("true", "false");
    assert_eq!(shown, "Consent { has_id: false, .. }");
}

fn has_nul(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// An answer of the token endpoint: nothing panics.
pub(crate) fn token(bytes: &[u8]) {
    let asked_at = tokio::time::Instant::now();
    assert!(token_refusal(400, bytes.to_vec()).to_string().len() < 200, "the text is ours alone");
    let usable = || {
        let token = Token::parse(bytes.to_vec(), asked_at);
        token.is_ok_and(|token| token.header().is_some() && token.is_fresh(asked_at))
    };
    assert_eq!(usable(), usable());
}

/// `Retry-After`: nothing panics, and no wait is longer than can be added to a time.
pub(crate) fn retry_after(bytes: &[u8]) {
    // 1994-11-06, from when HTTP's own examples are.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_000);
    let text = std::str::from_utf8(bytes).ok();
    if let Some(wait) = text.and_then(|text| wait_of(text, now)) {
        assert!(wait <= Duration::from_hours(365 * 24));
    }
}

/// A configuration file: nothing panics, what is wrong is told without the secret, what is right can be shown without it.
pub(crate) fn configuration(bytes: &[u8]) {
    const SECRET: &str = "Wfk3nq-secret";
    // Files that a configuration names would be opened; a fuzzer finds /dev/zero sooner or later.
    if bytes.windows(5).any(|part| part == b"_file") {
        return;
    }
    let path = file();
    if std::fs::write(path, bytes).is_err() {
        return;
    }
    let environment: Environment = [("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET", SECRET)].into_iter().collect();
    let sources = Sources {
        file: Some(path),
        environment: &environment,
        log_level: None,
        log_format: None,
        working_dir: Path::new("/"),
        caller: 0,
        now: SystemTime::UNIX_EPOCH.into(),
    };
    for needs in [Needs::Credentials, Needs::Nothing] {
        let said = match load(&sources, needs) {
            Ok(loaded) => format!("{loaded:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        let typed = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        assert!(typed || !said.contains(SECRET));
    }
}

/// A file of this process's own, in memory where there is such a place.
fn file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
        folder.join(format!("understory-fuzz-{}.toml", std::process::id()))
    })
}
