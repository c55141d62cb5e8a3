//! Log lines: one JSON object a line with stable names, one INFO line a run, its id on every line of it.

use serde_json::Value;
use understory_mock_api::{Endpoint, Fault, FaultRule};

use crate::support::{World, until};

fn objects(stderr: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    let objects: Vec<Value> = stderr.lines().map(parse).collect();
    for object in &objects {
        for name in ["timestamp", "level", "target", "message"] {
            assert!(object[name].is_string(), "{object}");
        }
        assert!(object.as_object().unwrap().values().all(|value| !value.is_object()), "flat: {object}");
    }
    objects
}

on_both! {
    async fn a_daemon_s_log_is_one_object_a_line_and_one_info_line_a_run(world: World) {
        world.list_people(250);
        world.set("log.format", "json");
        let daemon = world.start(&[]);
        until("the run at start", async || daemon.stderr().contains("\"outcome\"").then_some(())).await;
        world.api.play(FaultRule::on(Endpoint::List, Fault::status(404)).page(2));
        daemon.signal("HUP");
        until("the second run", async || daemon.stderr().contains("the run failed").then_some(())).await;
        world.api.play(FaultRule::on(Endpoint::List, Fault::RefuseCursor).page(2));
        daemon.signal("HUP");
        until("the third run", async || (world.last_run("id, outcome").await == "3|succeeded").then_some(())).await;
        daemon.signal("TERM");
        let lines = objects(&daemon.wait().expect(0).stderr);
        let runs: Vec<&Value> = lines
            .iter()
            .filter(|line| line["level"] == "INFO" && line["run_id"].is_number())
            .inspect(|line| assert!(line["pages"].is_number(), "{line}"))
            .collect();
        let told: Vec<_> = runs.iter().map(|line| (line["run_id"].as_i64(), line["outcome"].as_str())).collect();
        assert_eq!(told, [(Some(1), Some("succeeded")), (Some(2), Some("failed")), (Some(3), Some("succeeded"))]);
        assert_eq!(runs[0]["added"], 250);
        assert_eq!(runs[0]["active"], 250);
        assert_eq!(runs[0]["pages"], 3);
        assert!(runs[0]["database"].is_string());
        let looks = |level: &str| -> Vec<Option<i64>> {
            let lines = lines.iter().filter(|line| line["level"] == level);
            lines.map(|line| line["run_id"].as_i64()).collect()
        };
        assert_eq!(looks("ERROR"), [Some(2)]);
        assert_eq!(looks("WARN"), [Some(3)], "the refused cursor");
    }

    async fn every_line_of_a_run_carries_its_id_at_every_level(world: World) {
        world.list_people(250);
        world.set("log.level", "warn");
        world.api.play(FaultRule::on(Endpoint::List, Fault::RefuseCursor).page(2));
        let done = world.run_once().expect(0);
        assert!(!done.stderr.is_empty());
        assert!(done.stderr.lines().all(|line| line.contains("run_id=1")), "{}", done.stderr);
    }

    async fn a_healthy_daemon_warns_of_nothing_and_text_is_for_people(world: World) {
        world.list_people(3);
        let daemon = world.start(&[]);
        until("the run", async || daemon.stderr().contains(" ok in ").then_some(())).await;
        daemon.signal("TERM");
        let log = daemon.wait().expect(0).stderr;
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
        assert!(log.contains("INFO run 1 ok in "), "{log}");
        assert!(log.contains(": 3 consents active, 3 new, 0 changed, 0 missing, 0 removed; 1 page, 2 requests database="), "{log}");
    }

    async fn what_fails_is_json_too_wherever_that_was_asked_for(world: World) {
        world.set("log.format", "json");
        world.api.play(FaultRule::on(Endpoint::List, Fault::status(403)).always());
        let line = objects(&world.run_once().expect(77).stderr).pop().unwrap();
        assert_eq!((&line["level"], &line["exit"], &line["run_id"]), (&"ERROR".into(), &77.into(), &1.into()));
        assert!(line["hint"].is_string());
        world.set("schedule.cron", "never");
        let line = objects(&world.run_once().expect(78).stderr).pop().unwrap();
        assert_eq!(line["exit"], 78);
        world.unset("log.format");
        objects(&world.run(&["--log-format", "json", "status"]).expect(78).stderr);
        world.unset("schedule.cron");
        let file = world.home().join("config.toml");
        std::fs::write(&file, "[log]\nformat = \"json\"\n").unwrap();
        objects(&world.run(&["forget", "-"]).expect(2).stderr);
        objects(&world.run(&["--run-once"]).expect(77).stderr);
    }
}
