//! The main job: every page of the list into the table, and nothing written where nothing changed.

use crate::support::World;

/// Every character that some encoder gets wrong.
const AWKWARD_SECRET: &str = "a~b-c_d.e+f%g&h=i j~~%7E";

on_both! {
    async fn every_page_goes_in_with_an_awkward_secret(world: World) {
        world.api.configure(|api| api.client_secret = AWKWARD_SECRET.into());
        world.list_people(250);
        let done = world.run_once().expect(0);
        assert_eq!(done.stdout.lines().count(), 1, "{}", done.stdout);
        assert_eq!(world.db.count("consents").await, 250);
        assert_eq!(world.db.count("active_consents").await, 250);
        assert_eq!(
            world.last_run("outcome, absence, trigger, endpoint, pages, items, added, active, requests, retries, error").await,
            "succeeded|judged|once|/v1/grow/consents|3|250|250|250|4|0|-"
        );
    }
}
