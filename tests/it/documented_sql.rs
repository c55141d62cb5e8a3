//! The SQL of the documentation runs as it is written, on both databases.

use std::path::PathBuf;

use serde_json::json;
use understory_mock_api::person;

use crate::support::World;

/// The blocks of SQL in a document.
fn recipes(document: &str) -> Vec<String> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), document].iter().collect();
    let text = std::fs::read_to_string(path).unwrap();
    text.split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().trim().trim_end_matches(';').to_owned())
        .collect()
}

/// A database in which every question has an answer.
fn eventful(world: &World) {
    let maria = json!({"id": "maria", "company_id": person(1, 0)["company_id"], "email": "maria@EXAMPLE.com", "full_name": "Maria"});
    world.list_people(40);
    world.api.add(&maria);
    world.run_once().expect(0);
    assert!(world.api.update("maria", |item| item["full_name"] = json!("Maria M.")));
    assert!(world.api.remove(person(1, 1)["id"].as_str().unwrap()));
    world.run_once().expect(0);
    assert!(world.api.remove(person(1, 2)["id"].as_str().unwrap()));
    world.run_once().expect(0);
    world.hide(0..20);
    world.run(&["accept-removals", "20"]).expect(0);
    world.run_once().expect(0);
}

/// A moment in the text stands for one that the reader puts there.
fn at_the_beginning(sql: &str) -> String {
    let mut sql = sql.to_owned();
    let moments: Vec<String> = sql
        .split('\'')
        .filter(|text| text.len() == 24 && text.starts_with("20") && text.ends_with('Z'))
        .map(str::to_owned)
        .collect();
    for moment in moments {
        sql = sql.replace(&moment, "2000-01-01T00:00:00.000Z");
    }
    sql
}

on_both! {
    async fn every_recipe_of_the_readme_gives_an_answer(world: World) {
        eventful(&world);
        let recipes = recipes("README.md");
        assert!(recipes.len() >= 5, "{} recipes", recipes.len());
        for recipe in recipes {
            let rows = world.db.query(&at_the_beginning(&recipe)).await;
            assert!(!rows.is_empty(), "no answer to {recipe}");
        }
    }

    async fn every_recipe_of_the_tables_gives_the_right_answer(world: World) {
        eventful(&world);
        let [as_of, person, let_through]: [String; 3] = recipes("docs/tables.md").try_into().unwrap();
        let began = |run: i64| format!("select min(changed_at) from consent_history where run_id = {run}");
        for (run, active, maria) in [(2, 41, "Maria"), (3, 40, "Maria M."), (4, 39, "Maria M.")] {
            // Before the first change of this run.
            let moment = world.db.value(&began(run)).await;
            let rows = world.db.query(&as_of.replace("2026-03-04T00:00:00.000Z", &moment)).await;
            assert_eq!(rows.len(), active, "before run {run}");
            let row = rows.iter().find(|row| row[2].as_deref() == Some("maria")).unwrap();
            assert_eq!(row[1].as_deref(), Some(maria));
        }
        let rows = world.db.query(&person).await;
        let changes: Vec<&str> = rows.iter().map(|row| row[1].as_deref().unwrap()).collect();
        assert_eq!(changes, ["added", "updated"]);
        let rows = world.db.query(&let_through).await;
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0][2].as_deref(), rows[0][4].as_deref()), (Some("20"), Some("20")));
        assert!(rows[0][3].as_deref().unwrap().contains('@'));
    }
}

#[tokio::test]
async fn every_recipe_of_the_readme_is_one_statement_with_rows_on_the_demos_database() {
    let (world, _) = crate::demo::played().await;
    for recipe in recipes("README.md") {
        assert!(!recipe.contains(';'), "more than one statement: {recipe}");
        assert!(!world.db.query(&recipe).await.is_empty(), "no answer to {recipe}");
    }
}
