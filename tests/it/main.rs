//! The program from outside: the real binary against the mock API, on both databases, and the store's contract
//! where the binary cannot reach. One file a promise.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly"
)]

#[macro_use]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "a handle has all its parts, whether or not a test needs each today"
)]
mod support;

mod a_million;
mod accidents;
mod api_client;
mod bad_items;
mod bench;
mod change_feed;
mod changes;
mod check;
mod clock;
mod configuration;
mod database_refused;
mod demo;
mod disk;
mod documented_commands;
mod documented_configuration;
mod documented_links;
mod documented_sql;
mod documents;
mod encrypted;
mod exporting;
mod failover;
mod fault_matrix;
mod feed_killed;
mod feed_memory;
mod file;
mod first_errors;
mod first_load;
mod first_sync;
mod fixture;
mod followed;
mod foreign_bytes;
mod forgetting;
mod health;
mod ids;
mod incomplete;
mod init;
mod killed;
mod known_items;
mod layers;
mod leaving;
mod log_lines;
mod notifications;
mod odd_values;
mod one_run_at_a_time;
mod outages;
mod packaging;
mod paths;
mod paused;
mod person;
mod pooler;
mod postgres;
mod proxied;
mod readers;
mod rehearsing;
mod restored;
mod retention;
mod round_trips;
mod schedule;
mod schema;
mod secrecy;
mod signals;
mod silent_database;
mod simulation;
mod status_page;
mod staying;
mod strangers;
mod systemd;
mod telling;
mod token;
mod two_processes;
mod versions;
mod wiping;
mod withholding;
