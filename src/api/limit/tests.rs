use futures_util::FutureExt as _;

use super::*;

#[tokio::test(start_paused = true)]
async fn requests_start_at_least_one_interval_apart_and_never_in_a_burst() {
    let limiter = Limiter::new(5.0);
    let begun = Instant::now();
    for nth in 0..10 {
        limiter.wait_for_slot().await;
        let now = Instant::now();
        assert!(now - begun >= Duration::from_millis(200) * nth);
        limiter.use_slot(now);
    }
    // A long pause saves nothing up.
    tokio::time::sleep(Duration::from_mins(1)).await;
    limiter.wait_for_slot().await;
    let now = Instant::now();
    limiter.use_slot(now);
    limiter.wait_for_slot().await;
    assert!(now.elapsed() >= Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn no_rate_is_no_limit_and_a_rate_next_to_nothing_is_one() {
    let begun = Instant::now();
    let free = Limiter::new(0.0);
    free.use_slot(begun);
    assert!(free.wait_for_slot().now_or_never().is_some(), "not even a tick");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let slow = Limiter::new(1e-300);
    slow.use_slot(begun);
    slow.wait_for_slot().await;
    assert!(begun.elapsed() >= A_DAY);
}

#[test]
fn every_request_is_counted_once_even_if_nobody_waits_for_its_answer() {
    let traffic = Mutex::default();
    InFlight::start(&traffic, Endpoint::Token).answered(200);
    InFlight::start(&traffic, Endpoint::Consents).answered(503);
    drop(InFlight::start(&traffic, Endpoint::Consents));
    let traffic: Traffic = lock(&traffic).clone();
    assert_eq!((traffic.requests, traffic.token_requests), (3, 1));
    let counted: Vec<_> = traffic
        .by_endpoint_and_status
        .iter()
        .map(|((endpoint, status), count)| (*endpoint, status.as_str(), *count))
        .collect();
    assert_eq!(counted, [("consents", "503", 1), ("consents", "error", 1), ("token", "200", 1)]);
}
