//! What can be seen from outside: logs, metrics, health, the status page, words about runs.
//!
//! Looks at values only (run rows, snapshots, the clock as an argument); the one thing that acts is the HTTP listener.

mod bounded;
mod chart;
pub mod health;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod notice;
pub mod page;
pub mod progress;
pub mod report;
#[cfg(test)]
#[path = "sample_tests.rs"]
mod sample;
pub mod text;
pub mod view;
