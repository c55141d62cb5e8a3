use super::*;
use crate::observe::sample::run;

#[test]
fn one_line_about_a_run() {
    let mut ended = run(42, 0);
    assert_eq!(
        run_line(&ended),
        "run 42 ok in 3.2 s: 10,345 consents active, 6 new, 0 changed, 2 missing, 0 removed; 104 pages, 105 requests"
    );
    assert_eq!(status_words(&ended), "ok: 10,345 consents, 6 new, 0 changed, 2 missing");
    ended.outcome = "failed".to_owned();
    ended.error = Some("the network is down".to_owned());
    assert_eq!(
        run_line(&ended),
        "run 42 failed after 3.2 s, 104 pages and 10,345 items stored, 105 requests: the network is down"
    );
}
