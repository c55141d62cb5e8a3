//! Items that are not as they should be, among good ones.

use serde_json::{Value, json};
use understory_mock_api::{COMPANY_ID, Endpoint, Fault, FaultRule, Ids, person};

use super::scenario::{After, CLEAN, PAGES, Scenario, Stage};

pub(super) fn all() -> Vec<Scenario> {
    let mut all = odd_items();
    all.extend(ids());
    all.extend(companies());
    all.extend(duplicates());
    all.extend(changes());
    all.extend(shrinking());
    all
}

/// One more item at the end of the list, as text.
fn added(name: &str, item: &'static str) -> Scenario {
    Scenario::new(name, 0, CLEAN, move |stage| {
        stage.world.api.people(|people| people.add_raw(None, item));
    })
}

/// Rewrites every page.
fn rewritten(name: &str, exit: i32, most: usize, hook: fn(u64, &mut Vec<Value>)) -> Scenario {
    Scenario::new(name, exit, most, move |stage| {
        stage.play(FaultRule::on(Endpoint::List, Fault::rewrite(hook)).always());
    })
}

fn odd_items() -> Vec<Scenario> {
    vec![
        added("an item that is null", "null").on_both(),
        added("an item that is a text", r#""Wfk3nq""#),
        added("an item that is a number", "1e999"),
        added("an item that is a list", r#"["Wfk3nq"]"#),
        added("an item that is empty", "{}"),
        added("an item without email", r#"{"id":"Wfk3nq","company_id":"c"}"#).on_both(),
        added("an item with an email that is a list", r#"{"company_id":"c","email":["Wfk3nq@example.org"]}"#),
        added("an item with a blank email", r#"{"company_id":"c","email":" \t"}"#),
        added("an item without company", r#"{"id":"Wfk3nq","email":"Wfk3nq@example.org"}"#),
        added("an item with a company that is a number", r#"{"company_id":7,"email":"Wfk3nq@example.org"}"#),
        added(
            "an item with every other field of a wrong type",
            r#"{"id":"t","company_id":"c","email":"t@example.org","full_name":7,"source":[],"references":{}}"#,
        )
        .partial()
        .on_both()
        .check(|after| has_row(after, "t|t@example.org|-|-|active")),
        added(
            "numbers that no database can hold",
            r#"{"id":"n","company_id":"c","email":"n@example.org","a":1e999999,"b":-0.0,"c":[1E-400000]}"#,
        )
        .partial()
        .on_both()
        .check(|after| has_row(after, "n|n@example.org|")),
        Scenario::new("a text of a megabyte", 0, CLEAN, |stage| {
            let name = "x".repeat(1 << 20);
            stage.world.api.add(&json!({"id": "big", "company_id": "c", "email": "b@example.org", "full_name": name}));
        })
        .partial()
        .on_both()
        .check(|after| has_row(after, "big|b@example.org|xxx")),
        rewritten("every item of a page is rejected", 0, CLEAN, |page, items| {
            if page == 2 {
                for item in items {
 item["email"] = json!(null);
}
            }
        })
        .partial()
        .on_both(),
        rewritten("every item of the list is rejected", 65, CLEAN, |_, items| {
            for item in items {
 *item = json!("Wfk3nq");
}
        })
        .on_both(),
    ]
}

fn has_row(after: &After<'_>, start: &str) -> Result<(), String> {
    let found = after.rows.iter().any(|row| row.starts_with(start));
    found.then_some(()).ok_or_else(|| format!("no row begins with {start:?}"))
}

fn ids() -> Vec<Scenario> {
    let one = |name: &str, id: Value| {
        Scenario::new(name, 0, CLEAN, move |stage| {
            stage.world.api.add(&json!({"id": id, "company_id": "c", "email": "i@example.org"}));
        })
        .partial()
        .on_both()
    };
    let nameless: fn(&After<'_>) -> Result<(), String> = |after| {
        let found = after.rows.iter().any(|row| row.starts_with("nk:") && row.contains("|i@example.org|"));
        found.then_some(()).ok_or_else(|| "no row with a natural key".to_owned())
    };
    vec![
        one("an id that is a number", json!(42)).check(|after| has_row(after, "42|i@example.org|")),
        one("an id that is blank", json!(" ")).check(nameless),
        one("an id that is a list", json!(["Wfk3nq"])).check(nameless),
        one("an id of 10,000 bytes", json!("7".repeat(10_000))).check(nameless),
        one("an id that looks like a natural key", json!(format!("nk:{}", "0".repeat(64)))).check(nameless),
        one("an id that leads upwards", json!("../../oauth2/token"))
            .check(|after| has_row(after, "../../oauth2/token|")),
        Scenario::new("no ids any more", 0, CLEAN, |stage| {
            stage.configure(|settings| settings.ids = Ids::Nowhere);
        })
        .partial()
        .on_both(),
    ]
}

fn companies() -> Vec<Scenario> {
    let foreign = |stage: &Stage| {
        for number in 2_000..2_003 {
            let mut item = person(1, number);
            item["company_id"] = json!("another-company");
            item["id"] = json!(format!("foreign-{number}"));
            stage.world.api.add(&item);
        }
    };
    vec![
        Scenario::new("items of another company, api.company_id set", 0, CLEAN, foreign)
            .with("api.company_id", COMPANY_ID)
            .on_both(),
        Scenario::new("items of another company among ours, api.company_id not set", 0, CLEAN, foreign)
            .partial(),
        rewritten("the key of another company", 65, 2, |_, items| {
            for item in items {
                item["company_id"] = json!("another-company");
            }
        })
        .on_both(),
        rewritten("the key of another company, the first page is rejected", 65, 3, |page, items| {
            for item in items {
                *item = if page == 1 {
                    json!(7)
                } else {
                    json!({"company_id": "other", "email": "Wfk3nq@example.org"})
                };
            }
        }),
        rewritten("everybody of another company, api.company_id set", 65, CLEAN, |_, items| {
            for item in items {
                item["company_id"] = json!("another-company");
            }
        })
        .with("api.company_id", COMPANY_ID),
    ]
}

fn duplicates() -> Vec<Scenario> {
    vec![
        rewritten("duplicates within a page", 0, CLEAN, |_, items| {
            let again = items.clone();
            items.extend(again);
        })
        .on_both(),
        Scenario::new("duplicates across pages", 0, CLEAN + 3, |stage| {
            (0..30).for_each(|number| stage.world.api.add(&person(1, number)));
        })
        .on_both(),
        Scenario::new("duplicates that contradict each other: the first counts", 0, CLEAN + 1, |stage| {
            for number in 0..10 {
                let mut item = person(1, number);
                item["full_name"] = json!("Wfk3nq");
                stage.world.api.add(&item);
            }
        })
        .on_both(),
        rewritten("one item ten thousand times", 0, CLEAN, |page, items| {
            if page == PAGES as u64 {
                let first = items[0].clone();
                items.extend(std::iter::repeat_n(first, 9_990));
            }
        }),
    ]
}

fn changes() -> Vec<Scenario> {
    let at_third = |name: &str, change: fn(&mut understory_mock_api::Roster)| {
        Scenario::new(name, 0, CLEAN + 1, move |stage| {
            stage.play(FaultRule::on(Endpoint::List, Fault::change(change)).page(3));
        })
    };
    vec![
        at_third("somebody on a later page is renamed between pages", |people| {
            let id = people.ids()[45].clone();
            people.update(&id, |item| item["full_name"] = json!("Xq"));
        })
        .edits()
        .on_both(),
        at_third("somebody on a page that was read is renamed", |people| {
            let id = people.ids()[5].clone();
            people.update(&id, |item| item["full_name"] = json!("Xq"));
        }),
        at_third("ten people join between pages", |people| {
            people.fill(1, 3_000..3_010);
        })
        .partial(),
        at_third("the order changes between pages: some come twice", |people| {
            // Those of the first page come again at the end; nobody is skipped.
            let again: Vec<Value> = people.items().into_iter().take(10).collect();
            for item in &again {
                people.add(item);
            }
        }),
    ]
}

fn shrinking() -> Vec<Scenario> {
    let only = |name: &str, count: u64, most| {
        Scenario::new(name, 65, most, move |stage| stage.world.list_people(count))
            .check(|after| {
                let told = after.stderr.contains("accept-removals");
                told.then_some(()).ok_or_else(|| "it does not say how to let it through".to_owned())
            })
            .on_both()
    };
    vec![
        only("an empty list", 0, 2),
        only("a list of one in six", 10, 3),
        only("a list that lacks 21 of 60", 39, 5),
        Scenario::new("an empty list on the other path, the usual one gone", 65, 3, |stage| {
            stage.configure(|settings| settings.grow = understory_mock_api::Route::Gone(404));
            stage.world.list_people(0);
        }),
    ]
}
