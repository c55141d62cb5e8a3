//! Who comes back, and what time it is: an answer alone proves neither.

use serde_json::json;
use understory_mock_api::{COMPANY_ID, Endpoint, Fault, FaultRule, ServerDate, When, person};

use super::scenario::{After, CLEAN, Scenario};
use super::stage::LEFT;

const DAY: i64 = 86_400;

pub(super) fn all() -> Vec<Scenario> {
    clocks().into_iter().chain(returns()).chain(companies()).map(Scenario::on_both).collect()
}

fn clocks() -> Vec<Scenario> {
    let clock = |name: &str, exit: i32, most: usize, token: ServerDate, api: ServerDate| {
        Scenario::new(format!("clock: {name}"), exit, most, move |stage| {
            stage.configure(|settings| (settings.token_date, settings.api_date) = (token, api));
        })
    };
    let off = |days: i64| ServerDate::Off(days * DAY);
    vec![
        clock("eleven years ahead of the servers", 75, 2, off(-4_018), off(-4_018)),
        clock("eleven years behind the servers", 75, 2, off(4_018), off(4_018)),
        clock("25 hours ahead of the servers", 75, 2, ServerDate::Off(-90_000), ServerDate::Off(-90_000)),
        clock("six minutes ahead of the servers", 0, CLEAN, ServerDate::Off(-360), ServerDate::Off(-360)),
        clock("right, the token endpoint's is wrong", 0, CLEAN, off(9), ServerDate::Right),
        clock("right, the API's is wrong", 0, CLEAN, ServerDate::Right, off(9)),
        clock("right, the servers contradict each other", 0, CLEAN, off(9), off(-9)),
        clock(
            "right, the API answers from a cache",
            0,
            CLEAN,
            ServerDate::Right,
            ServerDate::Cached(200_000),
        ),
        clock("right, `Date` cannot be read", 0, CLEAN, ServerDate::Unreadable, ServerDate::Unreadable),
        clock("right, there is no `Date`", 0, CLEAN, ServerDate::Omitted, ServerDate::Omitted),
    ]
}

/// Two people were recorded as removed. What brings them back, and what does not.
fn returns() -> Vec<Scenario> {
    let listed_again = |name: &str| {
        Scenario::new(format!("return: {name}"), 0, CLEAN + 3, |stage| {
            stage.world.api.people(|people| people.fill(1, LEFT));
        })
        .removed()
        // Look-ups end one minute before the deadline.
        .with("schedule.run_timeout", "5m")
    };
    let behind_the_control =
        |status: u16| FaultRule::on(Endpoint::Single, Fault::status(status)).when(When::FromNth(2)).always();
    let mut all = vec![
        listed_again("listed again, and their pages are there").partial().check(|after| are(after, "active")),
        Scenario::new("return: a rejected item carries their id", 0, CLEAN + 1, |stage| {
            for number in LEFT {
                let id = person(1, number)["id"].clone();
                stage.world.api.add(&json!({"id": id, "company_id": COMPANY_ID, "email": ""}));
            }
        })
        .removed()
        .check(|after| are(after, "removed")),
    ];
    for status in [404, 400, 403, 501] {
        let name = format!("listed again, but their pages answer {status}");
        let asked = |after: &After<'_>| {
            let pages = after.seen.iter().filter(|call| call.endpoint == Endpoint::Single).count();
            are(after, "removed")?;
            (pages >= 3)
                .then_some(())
                .ok_or_else(|| format!("{pages} pages of single consents were asked for"))
        };
        let one = listed_again(&name).check(asked);
        let play = one.play;
        all.push(Scenario {
            play: Box::new(move |stage| {
                stage.play(behind_the_control(status));
                play(stage);
            }),
            ..one
        });
    }
    all
}

fn companies() -> Vec<Scenario> {
    vec![
        Scenario::new("the key of another company, and api.company_id names that one", 65, 1, |stage| {
            stage.play(
                FaultRule::on(
                    Endpoint::List,
                    Fault::rewrite(|_, items| {
                        for item in items {
                            item["company_id"] = json!("another-company");
                        }
                    }),
                )
                .always(),
            );
        })
        .with("api.company_id", "another-company"),
    ]
}

/// The two who left are in this state, and still say what they said.
fn are(after: &After<'_>, state: &str) -> Result<(), String> {
    let expected: Vec<String> = LEFT
        .map(|number| {
            let item = person(1, number);
            let text = |name: &str| item[name].as_str().unwrap_or("-").to_owned();
            format!("{}|{}|{}|{}|{state}", text("id"), text("email"), text("full_name"), text("source"))
        })
        .collect();
    let missing = expected.iter().filter(|row| !after.rows.contains(row)).count();
    (missing == 0).then_some(()).ok_or_else(|| format!("{missing} of 2 are not {state}, with what they said"))
}
