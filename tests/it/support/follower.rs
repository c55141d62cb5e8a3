//! A reader of the change feed that knows the contract and nothing else of the program.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Done, World};

/// Keeps the address beside each key, as the contract tells every reader to.
#[derive(Clone, Default)]
pub(crate) struct Follower {
    /// Key → address of the active consents.
    pub(crate) rows: BTreeMap<String, String>,
    /// Behind what it has read; none at the beginning.
    pub(crate) cursor: Option<String>,
}

impl Follower {
    /// Reads on by itself. The answer may be a refusal.
    pub(crate) fn try_read(&mut self, world: &World) -> Done {
        let mut arguments = vec!["changes"];
        if let Some(cursor) = &self.cursor {
            arguments.extend(["--since", cursor]);
        }
        let done = world.run(&arguments);
        if done.code == 0 {
            self.take(&done.stdout);
        }
        done
    }

    /// Reads on by itself, and tells how many lines there were.
    #[track_caller]
    pub(crate) fn read(&mut self, world: &World) -> usize {
        let lines = self.try_read(world).expect(0).stdout;
        lines.lines().filter(|line| !line.starts_with("{\"reset\"")).count()
    }

    /// Follows the lines of one output. The last one may be torn where its writer was killed. Tells how many it took.
    #[track_caller]
    pub(crate) fn take(&mut self, output: &str) -> usize {
        let mut taken = 0;
        let mut position = (String::new(), String::new());
        for line in output.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let text = |field: &str| line[field].as_str().map(str::to_owned);
            self.cursor = text("cursor");
            if line["reset"] == true {
                assert_eq!(taken, 0, "a reset stands at the beginning");
                self.rows.clear();
                continue;
            }
            taken += 1;
            let key = text("consent_key").unwrap();
            let here = (text("changed_at").unwrap(), key.clone());
            assert!(position < here, "out of order: {position:?}, {here:?}");
            position = here;
            if let Some(previous) = text("previous_key") {
                self.rows.remove(&previous);
            }
            match line["state"].as_str().unwrap() {
                "active" => drop(self.rows.insert(key, text("email").unwrap())),
                "inactive" | "erased" => drop(self.rows.remove(&key)),
                other => panic!("no state: {other}"),
            }
        }
        taken
    }

    /// It has the active consents, no more and no fewer.
    pub(crate) async fn expect_equal(&self, world: &World) {
        let theirs = world.db.query("select consent_key, email from active_consents").await;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let theirs: BTreeMap<String, String> =
            theirs.iter().map(|row| (text(&row[0]), text(&row[1]))).collect();
        assert_eq!(self.rows, theirs, "left: the follower, right: active_consents");
    }
}
