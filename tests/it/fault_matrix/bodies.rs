//! Answers with status 200 that are no page, or more of one than anybody wants.

use understory_mock_api::{Endpoint, Fault, FaultRule, Step};

use super::super::support::gzip;
use super::scenario::{After, CLEAN, Scenario, Stage};
use super::stage::FOREIGN;

/// `api.max_page_bytes`
const CAP: usize = 8 * 1024 * 1024;

pub(super) fn all() -> Vec<Scenario> {
    let mut all = no_json();
    all.extend(wrong_shape());
    all.extend(text());
    all.extend(nested());
    all.extend(compressed());
    all.extend(large());
    all
}

fn bytes(bytes: impl Into<Vec<u8>>) -> Fault {
    Fault::Body { content_type: "application/json".to_owned(), bytes: bytes.into() }
}

/// Asked again, as it often passes.
fn no_json() -> Vec<Scenario> {
    let page = r#"{"items":[{"company_id":"c","email":"Wfk3nq@example.org"}],"next":""}"#;
    let utf16: Vec<u8> = page.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut wrong_utf8 = page.as_bytes().to_vec();
    wrong_utf8[40] = 0xff;
    let mut raw_nul = page.as_bytes().to_vec();
    raw_nul[40] = 0;
    let mut all = Vec::new();
    for (name, fault) in [
        ("HTML", Fault::html()),
        ("nothing", Fault::json("")),
        ("white space", Fault::json(" \r\n\t ")),
        ("half a page", Fault::json(&page[..50])),
        ("bad UTF-8 in a text", bytes(wrong_utf8)),
        ("a bare NUL in a text", bytes(raw_nul)),
        ("UTF-16", bytes(utf16)),
        ("two pages in one", Fault::json(&page.repeat(2))),
        ("a page and more", Fault::json(&format!("{page} {FOREIGN}"))),
        ("a trailing comma", Fault::json(r#"{"items":[],}"#)),
        ("NaN", Fault::json(r#"{"items":[NaN]}"#)),
        ("single quotes", Fault::json("{'items':[]}")),
        ("a number with a leading zero", Fault::json(r#"{"items":[01]}"#)),
        ("an open array 100,000 deep", Fault::json(&"[".repeat(100_000))),
    ] {
        let name = format!("200 with {name}");
        all.push(Scenario::wears_out(&name, 65, fault.clone()));
        if matches!(name.as_str(), "200 with HTML" | "200 with nothing" | "200 with half a page") {
            all.push(Scenario::passes(&name, fault).on_both());
        }
    }
    all
}

fn wrong_shape() -> Vec<Scenario> {
    let mut all: Vec<Scenario> = [
        "{}",
        "[]",
        "null",
        "true",
        "7",
        "\"Wfk3nq\"",
        r#"{"items":null}"#,
        r#"{"items":{}}"#,
        r#"{"items":{"0":{}},"next":""}"#,
        r#"{"items":"Wfk3nq"}"#,
        r#"{"items":7,"next":"Wfk3nq"}"#,
        r#"{"items":true}"#,
        r#"{"next":""}"#,
        r#"{"data":[],"next":""}"#,
        r#"{"code":"INTERNAL_SERVER_ERROR","message":"Wfk3nq"}"#,
    ]
    .into_iter()
    .map(|text| Scenario::ends(&format!("200 with `{text}`"), 65, Fault::json(text)))
    .collect();
    all.push(
        Scenario::new("200 with `{}` at the first page, always", 65, 2, |stage| {
            stage.play(FaultRule::on(Endpoint::List, Fault::json("{}")).page(1).always());
        })
        .on_both(),
    );
    all
}

/// One page that holds the whole list, and something odd besides.
fn whole_list(name: &str, make: fn(String) -> Vec<u8>) -> Scenario {
    Scenario::new(name, 0, 2, move |stage| {
        let items = stage.world.api.people(|people| people.items());
        let text = serde_json::json!({"items": items, "next": ""}).to_string();
        stage.play(FaultRule::on(Endpoint::List, bytes(make(text))).always());
    })
}

fn text() -> Vec<Scenario> {
    vec![
        whole_list("a BOM before the page", |page| format!("\u{feff}{page}").into_bytes()),
        whole_list("white space around the page", |page| format!("\r\n {page}\n\n").into_bytes()),
        whole_list("unknown fields at the top", |page| {
            page.replacen('{', r#"{"total":65,"links":{"self":[1e400]},"#, 1).into_bytes()
        }),
        whole_list("`items` twice, the last counts", |page| page.replacen('{', r#"{"items":7,"#, 1).into_bytes()),
        Scenario::new("NUL and lone surrogates in texts", 0, CLEAN, |stage| {
            let item = r#"{"id":"odd","company_id":"c","email":"odd@example.org","full_name":"a\u0000b\ud800c\udfff","\u0000":"\udbff\u0041"}"#;
            stage.world.api.people(|people| people.add_raw(Some("odd"), item));
        })
        .partial()
        .on_both()
        .check(|after| has_row(after, "odd|odd@example.org|a\u{fffd}b\u{fffd}c\u{fffd}|")),
        Scenario::new("texts that SQL or a terminal could trip over", 0, CLEAN, |stage| {
            let item = r#"{"id":"'); drop table consents;--","company_id":"c","email":"odd@example.org","full_name":"\u001b[2J\u202e$1 \\ ' \" ; --"}"#;
            stage.world.api.people(|people| people.add_raw(Some("sql"), item));
        })
        .partial()
        .on_both()
        .check(|after| has_row(after, "'); drop table consents;--|odd@example.org|\u{1b}[2J\u{202e}$1 \\ ' \" ; --|")),
    ]
}

fn has_row(after: &After<'_>, start: &str) -> Result<(), String> {
    let found = after.rows.iter().any(|row| row.starts_with(start));
    found.then_some(()).ok_or_else(|| format!("no row begins with {start:?}"))
}

fn nested() -> Vec<Scenario> {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let (very_deep, quite_deep) = (deep(100_000), deep(125));
    let field = |id: &str, value: &str| {
        format!(r#"{{"id":"{id}","company_id":"c","email":"{id}@example.org","deep":{value}}}"#)
    };
    let (too_deep, kept) = (field("toodeep", &very_deep), field("deep", &quite_deep));
    let refs =
        format!(r#"{{"id":"refs","company_id":"c","email":"r@example.org","references":{quite_deep}}}"#);
    let item = very_deep.clone();
    vec![
        Scenario::ends("200 with 100,000 arrays in each other", 65, Fault::json(&very_deep)),
        whole_list("100,000 arrays in an unknown field of the page", |page| {
            let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
            page.replacen('{', &format!(r#"{{"deep":{deep},"#), 1).into_bytes()
        }),
        Scenario::new("100,000 arrays in each other as an item", 0, CLEAN, move |stage| {
            stage.world.api.people(|people| people.add_raw(None, &item));
        })
        .on_both(),
        Scenario::new("100,000 arrays in each other as a field of an item", 0, CLEAN, move |stage| {
            stage.world.api.people(|people| people.add_raw(Some("toodeep"), &too_deep));
        })
        .on_both(),
        Scenario::new("a field as deep as can be kept, and changed later", 0, CLEAN, move |stage| {
            stage.world.api.people(|people| {
                people.add_raw(Some("deep"), &kept);
                people.add_raw(Some("refs"), &refs);
            });
        })
        .partial()
        .on_both(),
    ]
}

fn compressed() -> Vec<Scenario> {
    let page = br#"{"items":[],"next":7}"#;
    let good = gzip::stored(page);
    let mut damaged = good.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 0xff;
    let bomb = gzip::bomb(br#"{"items":["#, 256 * 1024 * 1024);
    let token_bomb = bomb.clone();
    vec![
        Scenario::ends("gzip of a wrong page", 65, Fault::Gzip(good.clone())),
        Scenario::wears_out("gzip with a wrong checksum", 75, Fault::Gzip(damaged)),
        Scenario::wears_out("gzip cut short", 75, Fault::Gzip(good[..good.len() - 12].to_vec())),
        Scenario::wears_out("gzip announced, plain text sent", 75, Fault::Gzip(page.to_vec())),
        Scenario::ends("gzip bomb: 256 MiB in 2", 69, Fault::Gzip(bomb)).on_both(),
        Scenario::token("gzip bomb: 256 MiB in 2", 69, 1, Fault::Gzip(token_bomb)),
        Scenario::new("the whole list in gzip", 0, 2, |stage| {
            let fault = Fault::Gzip(gzip::stored(&listed(stage)));
            stage.play(FaultRule::on(Endpoint::List, fault).always());
        }),
        Scenario::new("the whole list in gzip of several members", 0, 2, |stage| {
            let members = listed(stage).chunks(700).flat_map(gzip::stored).collect();
            stage.play(FaultRule::on(Endpoint::List, Fault::Gzip(members)).always());
        }),
        Scenario::wears_out("gzip whose second member is cut short", 75, {
            let mut members = gzip::stored(&page[..10]);
            members.extend(&gzip::stored(&page[10..])[..12]);
            Fault::Gzip(members)
        }),
    ]
}

fn listed(stage: &Stage) -> Vec<u8> {
    let items = stage.world.api.people(|people| people.items());
    serde_json::json!({"items": items, "next": ""}).to_string().into_bytes()
}

fn large() -> Vec<Scenario> {
    let endless = |prefix: &str, then: &str| Fault::Endless {
        prefix: prefix.as_bytes().to_vec(),
        then: then.repeat(1_000).into_bytes(),
    };
    let item = r#"{"company_id":"c","email":"Wfk3nq@example.org"},"#;
    vec![
        Scenario::ends("an endless page", 69, endless(r#"{"items":["#, item)).on_both(),
        Scenario::ends("an endless text", 69, endless(r#"{"items":[""#, "x")),
        Scenario::ends("endless white space", 69, endless("", " ")),
        Scenario::token("an endless answer", 69, 1, endless(r#"{"access_token":""#, "x")),
        Scenario::ends("10,001 items on a page", 65, Fault::json(&page_of(10_001, 40))),
        Scenario::ends("an error with an endless body", 69, endless_error()),
        Scenario::new("400 KB in a new field of every item", 0, CLEAN, |stage| {
            let heavy = Fault::rewrite(|_, items| {
                for item in items {
                    item["x"] = "x".repeat(400_000).into();
                }
            });
            stage.play(FaultRule::on(Endpoint::List, heavy).always());
        }),
        full("a page of 8 MiB in 10,000 items of another company", page_of(10_000, 780))
            .with("api.company_id", "7d0c2f6e-5b1a-4c39-9e84-31f0a6d2b857"),
        full(
            "a page of 8 MiB in 10,000 items that are rejected",
            page_of(10_000, 780).replace("email", "e-mai"),
        ),
        full("a page of 2 MiB in one item", page_of(1, CAP / 4)),
        Scenario::ends("a page one byte too large", 69, Fault::json(&padded(CAP + 1))),
    ]
}

/// It is judged by its status, and not read.
fn endless_error() -> Fault {
    let head = b"HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\n\r\n".to_vec();
    Fault::Raw(vec![Step::Send(head), Step::Forever(vec![b'x'; 1_000])])
}

/// So many items with a field of so many bytes.
fn page_of(items: usize, bytes: usize) -> String {
    let item = format!(r#"{{"company_id":"c","email":"Wfk3nq@example.org","x":"{}"}}"#, "x".repeat(bytes));
    format!(r#"{{"items":[{}],"next":""}}"#, vec![item; items].join(","))
}

fn padded(bytes: usize) -> String {
    let page = r#"{"items":[],"next":""}"#;
    format!("{page}{}", " ".repeat(bytes - page.len()))
}

/// The last page is replaced by one that is as large as it may be.
fn full(name: &str, page: String) -> Scenario {
    assert!((CAP / 4..=CAP).contains(&page.len()), "{}", page.len());
    Scenario::new(name, 0, CLEAN, move |stage| {
        // The new people, who stand on the last page, are not what this is about.
        stage.world.list_people(60);
        stage.configure(|settings| settings.empty_last_page = true);
        stage.play(FaultRule::on(Endpoint::List, Fault::json(&page)).page(7));
    })
    .partial()
}
