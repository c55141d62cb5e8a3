//! No secret, token, cursor, name or e-mail in any output, at any level, whatever happens.

use serde_json::json;
use understory_mock_api::{BodyKind, Endpoint, Fault, FaultRule, Step};

use crate::support::{Done, World};

/// Everything in this world that must not be told.
struct Private(Vec<String>);

impl Private {
    fn of(world: &World) -> Self {
        let mut words = vec![world.api.settings().client_secret];
        for request in world.api.requests() {
            let token = request.header("authorization").and_then(|value| value.split(' ').nth(1));
            words.extend(token.map(str::to_owned));
            words.extend(request.query("cursor").map(str::to_owned));
        }
        for item in world.api.people(|people| people.items()) {
            for field in ["email", "full_name"] {
                words.extend(item[field].as_str().map(str::to_owned));
            }
        }
        let url = url::Url::parse(world.db.url()).unwrap();
        words.extend(url.password().map(str::to_owned));
        words.retain(|word| !word.is_empty());
        Self(words)
    }

    #[track_caller]
    fn is_kept_by(&self, done: &Done, what: &str) {
        let output = done.output().to_lowercase();
        for word in &self.0 {
            assert!(!output.contains(&word.to_lowercase()), "{what} tells {word:?}:\n{output}");
        }
    }
}

#[track_caller]
fn trace(world: &World, format: &str) -> Done {
    world.run(&["--log-level", "trace", "--log-format", format, "--run-once"])
}

on_both! {
    async fn a_success_tells_nothing(world: World) {
        world.list_people(250);
        for format in ["text", "json"] {
            let done = trace(&world, format).expect(0);
            assert!(!done.stderr.is_empty());
            let changed = world.api.people(|people| people.ids())[4].clone();
            assert!(world.api.update(&changed, |item| item["full_name"] = json!(format!("Changed {format}"))));
            world.api.add(&json!({"id": format, "email": "half@example.com", "full_name": "Half A Person"}));
            world.api.add(&json!({"company_id": "c", "full_name": "Nobody Known", "note": format}));
            Private::of(&world).is_kept_by(&done, "a success");
            let dry = world.run(&["--log-level", "trace", "--run-once", "--dry-run"]);
            Private::of(&world).is_kept_by(&dry, "a dry run");
        }
        for command in [&["status"][..], &["status", "--json"], &["config"], &["check"], &["healthcheck"]] {
            let done = world.run(&[&["--log-level", "trace"], command].concat());
            Private::of(&world).is_kept_by(&done, command[0]);
        }
    }

    async fn failures_of_the_api_tell_nothing(world: World) {
        world.list_people(250);
        let listed = world.api.people(|people| people.items())[0].clone();
        let gossip = json!({"code": "UNAUTHORIZED", "message": format!("{} of {}", listed["full_name"], listed["email"])});
        let secret = world.api.settings().client_secret;
        let failures: Vec<(&str, i32, Endpoint, Fault)> = vec![
            ("a refusal that names people", 77, Endpoint::List, Fault::with_body(403, BodyKind::Json(gossip.clone()))),
            ("a refusal that names the secret", 77, Endpoint::Token, Fault::with_body(401, BodyKind::Json(json!({"error": "invalid_client", "error_description": secret})))),
            ("a failing server", 75, Endpoint::List, Fault::with_body(500, BodyKind::Json(gossip.clone()))),
            ("an odd status", 69, Endpoint::List, Fault::with_body(418, BodyKind::Json(gossip.clone()))),
            ("a wrong shape", 65, Endpoint::List, Fault::json(&json!({"items": {"email": listed["email"]}}).to_string())),
            ("no JSON", 65, Endpoint::List, Fault::json(&format!("{{\"items\": [{}, oops", listed["email"]))),
            ("an endless circle", 65, Endpoint::List, Fault::RepeatCursor),
            ("a redirect", 69, Endpoint::List, Fault::Redirect { status: 302, location: format!("https://example.com/?{secret}={}", listed["email"]) }),
            ("a body cut short", 75, Endpoint::List, Fault::CutBody { after: 500, reset: true }),
            ("no HTTP", 75, Endpoint::List, Fault::Raw(vec![Step::Send(format!("{} said {}\r\n\r\n", listed["email"], listed["full_name"]).into_bytes())])),
            ("an odd token", 65, Endpoint::Token, Fault::token(|answer| { let token = answer["access_token"].clone(); *answer = json!({"token": token}); })),
            ("a rate limit", 75, Endpoint::List, Fault::retry_after(429, "7200")),
        ];
        for (what, code, endpoint, fault) in failures {
            for format in ["text", "json"] {
                world.api.clear_faults();
                // From the second page on, so that cursors are about.
                let rule = FaultRule::on(endpoint, fault.clone()).always();
                world.api.play(if endpoint == Endpoint::List { rule.page(2) } else { rule });
                let done = trace(&world, format);
                assert_eq!(done.code, code, "{what}: {}", done.stderr);
                Private::of(&world).is_kept_by(&done, what);
                let error = world.last_run("error").await;
                Private::of(&world).is_kept_by(&Done { code, stdout: error, ..Done::default() }, what);
            }
        }
    }

    async fn a_failing_database_tells_nothing(world: World) {
        world.list_people(250);
        world.run(&["migrate"]).expect(0);
        // PostgreSQL quotes the whole row in such an error.
        if world.db.is_postgres() {
            world.db.execute("alter table consents add constraint no check (length(email) < 3)").await;
        } else {
            world.db.execute("create trigger no before insert on consents begin select raise(abort, 'no'); end").await;
        }
        for format in ["text", "json"] {
            let done = trace(&world, format).expect(74);
            Private::of(&world).is_kept_by(&done, "a failing database");
        }
        assert_eq!(world.db.count("consents").await, 0);
        assert_eq!(world.last_run("outcome, pages, items").await, "failed|0|0");
    }
}
