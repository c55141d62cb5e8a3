//! Contract 5.8 as tables: who takes a row over, who lists it, where an item is stored.

use super::listing::{Entry, ScanPlan};
use super::world::World;

/// `id:email`, `-:email` for an item without id, `!id` for a broken one with an id; pages are split by `|`.
fn list(text: &str) -> Vec<Vec<Entry>> {
    let entry = |word: &str| match word.split_once(':') {
        Some(("-", email)) => Entry::Good { id: None, email: email.parse().unwrap() },
        Some((id, email)) => Entry::Good { id: Some(id.parse().unwrap()), email: email.parse().unwrap() },
        None => Entry::BadWithId(word.trim_start_matches('!').parse().unwrap()),
    };
    text.split('|').map(|page| page.split_whitespace().map(entry).collect()).collect()
}

/// Active rows as `id:email`, sorted; those that are not active in brackets.
fn shown(world: &World) -> String {
    let mut rows: Vec<String> = world
        .rows
        .iter()
        .map(|row| {
            let id = row.id.as_deref().map_or("-", |id| &id[2..]);
            let email = row.consent.as_ref().map_or("?", |consent| &consent.email[1..2]);
            if row.active { format!("{id}:{email}") } else { format!("({id}:{email})") }
        })
        .collect();
    rows.sort();
    rows.join(" ")
}

#[test]
fn ids_that_come_late_or_not_at_all_find_their_rows() {
    for (passes, expected) in [
        // The first item of a natural key takes its row over, others are added.
        (&["-:0", "1:0 2:0"][..], "1:0 2:0"),
        (&["-:0", "-:0 1:0"], "1:0"),
        (&["-:0", "1:0 -:0"], "1:0"),
        (&["-:0", "1:0 | -:0"], "1:0"),
        (&["-:0", "-:0 | 1:0 -:0"], "1:0"),
        (&["-:0 | 1:0 -:0"], "1:0"),
        (&["3:1 | -:0 | 1:0 -:0"], "1:0 3:1"),
        (&["3:1 -:0", "3:1 1:0 -:0"], "1:0 3:1"),
        (&["3:1 -:0", "3:1 1:0 2:0 -:0 -:0"], "1:0 2:0 3:1"),
        // An item without id lists every row of its natural key and clears no id.
        (&["1:0 2:0", "-:0"], "1:0 2:0"),
        (&["1:0 2:0 3:1", "-:0"], "(3:1) 1:0 2:0"),
        // A row that goes to another natural key on the same page is no namesake any more.
        (&["1:0", "1:1 -:0"], "-:0 1:1"),
        (&["1:0 2:0", "1:1 -:0"], "1:1 2:0"),
        // A second item for a row is a duplicate, and says nothing about another address.
        (&["1:0 1:1 -:1"], "-:1 1:0"),
        // A broken item with an id keeps its active row for two runs, and makes none active again.
        (&["1:0 2:1", "!1 2:1"], "1:0 2:1"),
        (&["1:0 2:1", "!1 2:1", "!1 2:1"], "1:0 2:1"),
        (&["1:0 2:1", "!1 2:1", "!1 2:1", "!1 2:1"], "(1:0) 2:1"),
        (&["1:0 2:1", "!1 2:1", "!1 2:1", "1:0 2:1", "!1 2:1"], "1:0 2:1"),
        (&["1:0 2:1", "2:1", "!1 2:1"], "(1:0) 2:1"),
    ] {
        for gather in 1..3 {
            let mut world = World::default();
            for pass in passes {
                let pages = list(pass);
                // Pages of one length: shorter ones are filled up with the next.
                let page_length = pages.iter().map(Vec::len).max().unwrap();
                world.run(&ScanPlan {
                    list: pages.into_iter().flatten().collect(),
                    page_length,
                    gather,
                    dies_at: None,
                    restarts_at: None,
                    accept: Some(1_000),
                    version: 0,
                    spelling: false,
                });
            }
            assert_eq!(shown(&world), expected, "{passes:?}");
        }
    }
}
