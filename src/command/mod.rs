//! One file per command: what it says and how it ends.

pub mod healthcheck;
pub mod status;
