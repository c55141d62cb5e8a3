//! Where the list is: the Quickstart's path, the newer one, or nowhere.

use understory_mock_api::{Endpoint, Fault, FaultRule, Route};

use crate::support::World;

on_both! {
    async fn the_newer_path_is_taken_where_the_old_one_is_gone(world: World) {
        world.list_people(250);
        for status in [404, 410] {
            world.api.set_routes(Route::Gone(status), Route::Works, Route::Works);
            let done = world.run_once().expect(0);
            assert_eq!(world.last_run("endpoint, absence, items, active").await, "/v1/marketing-consents|judged|250|250");
            assert!(done.stderr.contains("/v1/marketing-consents"), "{}", done.stderr);
        }
    }

    async fn the_path_that_last_worked_is_tried_first(world: World) {
        world.list_people(10);
        world.api.set_routes(Route::Gone(404), Route::Works, Route::Works);
        world.run_once().expect(0);
        world.api.set_routes(Route::Works, Route::Works, Route::Works);
        let _ = world.api.take_requests();
        world.run_once().expect(0);
        let lists: Vec<String> = world.api.requests().iter().filter(|r| r.endpoint == Endpoint::List).map(|r| r.path.clone()).collect();
        assert_eq!(lists, ["/v1/marketing-consents"]);
        world.api.set_routes(Route::Works, Route::Gone(410), Route::Gone(410));
        world.run_once().expect(0);
        assert_eq!(world.last_run("endpoint").await, "/v1/grow/consents");
    }

    async fn both_paths_gone_means_unavailable_and_never_nobody(world: World) {
        world.list_people(250);
        world.run_once().expect(0);
        for (one, other) in [(404, 404), (410, 404)] {
            world.api.set_routes(Route::Gone(one), Route::Gone(other), Route::Gone(404));
            let done = world.run_once().expect(69).says("gone");
            assert!(done.stderr.contains("hint:"), "{}", done.stderr);
            assert_eq!(world.last_run("outcome, absence, missing").await, "failed|-|0");
        }
        assert_eq!(world.db.count("active_consents").await, 250);
    }

    async fn a_path_that_goes_in_mid_walk_fails_the_run(world: World) {
        world.list_people(250);
        world.run_once().expect(0);
        world.api.play(FaultRule::on(Endpoint::List, Fault::status(404)).page(2).always());
        world.run_once().expect(69);
        assert_eq!(world.db.count("active_consents").await, 250);
        assert_eq!(world.last_run("outcome, absence").await, "failed|-");
    }

    async fn a_fixed_path_is_the_only_one_asked(world: World) {
        world.list_people(10);
        world.set("api.consents_path", "/v1/grow/consents");
        world.api.set_routes(Route::Gone(404), Route::Works, Route::Works);
        world.run_once().expect(69);
        assert!(world.api.requests().iter().all(|request| request.path != "/v1/marketing-consents"));
    }
}
