//! The database: one store, two engines.

mod run;
mod timestamp;

pub use run::{Counts, RunRow, Snapshot, Trigger};
pub use timestamp::Timestamp;
