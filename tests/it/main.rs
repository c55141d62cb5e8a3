//! The program from outside: the real binary against the stand-in of the API, on both databases, and the store's contract
//! where the binary cannot reach. One file a promise.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

#[macro_use]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "a handle has all its parts, whether or not a test needs each today"
)]
mod support;

mod first_sync;
