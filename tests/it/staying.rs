//! After its start nothing ends the daemon but a signal, and a mistake of the installation ends it at its start.

use understory_mock_api::{BodyKind, Endpoint, Fault, FaultRule};

use crate::support::{Engine, Running, World, try_administer, until};

const COMPLETE: &str = "select count(*) from sync_runs where outcome = 'succeeded'";

async fn another_complete_run(world: &World) {
    let before = world.db.find_number(COMPLETE).await.unwrap_or(0);
    until("a complete run", async || world.db.find_number(COMPLETE).await.filter(|runs| *runs > before))
        .await;
}

async fn said(daemon: &Running, text: &str) {
    until(text, async || daemon.stderr().contains(text).then_some(())).await;
}

fn stop(mut daemon: Running) {
    assert!(daemon.is_alive(), "{}", daemon.stderr());
    daemon.signal("TERM");
    daemon.wait().expect(0);
}

#[tokio::test]
async fn a_file_that_is_away_for_a_while_is_neither_the_end_nor_made_anew() {
    let world = World::on(Engine::Sqlite).await;
    world.list_people(20);
    world.set("schedule.cron", "* * * * * *");
    let daemon = world.start(&[]);
    another_complete_run(&world).await;
    let (path, aside) = (world.db.path(), world.db.folder().join("aside.db"));
    // Between two runs, or what is in the log beside it would be lost.
    let lock = std::fs::File::open(world.db.folder().join("test.db.lock")).unwrap();
    lock.lock().unwrap();
    std::fs::rename(&path, &aside).unwrap();
    drop(lock);
    said(&daemon, "is gone or empty").await;
    assert!(!path.exists());
    std::fs::rename(&aside, &path).unwrap();
    another_complete_run(&world).await;
    assert_eq!(world.db.count("active_consents").await, 20);
    stop(daemon);
}

#[tokio::test]
async fn a_folder_that_is_not_mounted_for_a_tick_is_not_the_end() {
    let world = World::on(Engine::Sqlite).await;
    let (mounted, away) = (world.home().join("data"), world.home().join("away"));
    std::fs::create_dir(&mounted).unwrap();
    world.set("database.url", &format!("sqlite://{}", mounted.join("x.db").display()));
    world.list_people(20);
    world.set("schedule.cron", "* * * * * *");
    let daemon = world.start(&[]);
    said(&daemon, "20 new").await;
    std::fs::rename(&mounted, &away).unwrap();
    said(&daemon, "the run failed: ").await;
    std::fs::rename(&away, &mounted).unwrap();
    let complete = daemon.stderr().matches("20 consents").count();
    until("a run", async || (daemon.stderr().matches("20 consents").count() > complete).then_some(())).await;
    stop(daemon);
}

#[tokio::test]
async fn a_database_that_is_dropped_and_restored_is_not_the_end_and_gets_no_tables_meanwhile() {
    let world = World::on(Engine::Postgres).await;
    world.list_people(20);
    world.set("schedule.cron", "* * * * * *");
    let daemon = world.start(&[]);
    another_complete_run(&world).await;
    let name = world.db.value("select current_database()").await;
    let rename = async |from: &str, to: &str| {
        let sql = format!("alter database {from} rename to {to}");
        until("nobody to be connected", async || try_administer(&sql).await.then_some(())).await;
    };
    let aside = format!("{name}_aside");
    rename(&name, &aside).await;
    said(&daemon, "has no such database").await;
    assert!(try_administer(&format!("create database {name} template template0")).await);
    said(&daemon, "is gone or empty").await;
    assert_eq!(world.db.number("select count(*) from pg_tables where schemaname = 'public'").await, 0);
    until("the empty one to be dropped", async || {
        try_administer(&format!("drop database {name}")).await.then_some(())
    })
    .await;
    rename(&aside, &name).await;
    another_complete_run(&world).await;
    assert_eq!(world.db.count("active_consents").await, 20);
    stop(daemon);
}

#[tokio::test]
async fn a_gateway_at_the_first_token_is_not_the_end_and_an_oauth_error_is() {
    for status in [401, 403] {
        let world = World::on(Engine::Sqlite).await;
        world.list_people(20);
        world.set("schedule.cron", "* * * * * *");
        let gateway = Fault::with_body(status, BodyKind::Html);
        world.api.play(FaultRule::on(Endpoint::Token, gateway.clone()));
        world.run_once().expect(75).says("a gateway or a proxy");
        world.api.play(FaultRule::on(Endpoint::Token, gateway).times(2));
        let daemon = world.start(&[]);
        said(&daemon, "a gateway or a proxy").await;
        another_complete_run(&world).await;
        stop(daemon);
    }
    let world = World::on(Engine::Sqlite).await;
    world.set("auth.client_secret", "not-the-secret");
    world.run(&[]).expect(77).says("is not accepted");
    assert_eq!(world.last_run("outcome").await, "failed");
}

#[tokio::test]
async fn a_key_that_is_refused_in_mid_life_is_tried_again_with_what_its_file_says_then() {
    let world = World::on(Engine::Sqlite).await;
    let secret = world.home().join("secret");
    let right = world.api.settings().client_secret;
    std::fs::write(&secret, &right).unwrap();
    world.set("auth.client_secret_file", secret.to_str().unwrap());
    world.list_people(20);
    world.set("schedule.cron", "* * * * * *");
    let daemon = Running::start({
        let mut command = world.command(&[]);
        command.env_remove("UNDERSTORY_SYNC__AUTH__CLIENT_SECRET");
        command
    });
    another_complete_run(&world).await;
    world.api.configure(|api| api.client_secret = "changed~at~understory".into());
    world.api.revoke_tokens();
    said(&daemon, "auth.client_id or auth.client_secret is not accepted").await;
    // Emptied by an editor: the secret that was read before is used.
    std::fs::write(&secret, "").unwrap();
    said(&daemon, "the secret that was read before is used").await;
    std::fs::write(&secret, "changed~at~understory\n").unwrap();
    another_complete_run(&world).await;
    // What is forbidden for a while does not end it either.
    world.api.play(FaultRule::on(Endpoint::List, Fault::status(403)).times(2));
    said(&daemon, "the key lacks the permission").await;
    another_complete_run(&world).await;
    stop(daemon);
}
