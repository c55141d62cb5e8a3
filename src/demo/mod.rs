//! The built-in stand-in of the Understory API, and the story that the `demo` command tells with it.
//!
//! Owns a small HTTP server on loopback that behaves as the API is documented to, can be told what exists and which faults to
//! play, and remembers what it was asked. The program's tests use the same one. It must never be reachable from elsewhere, and
//! nothing of the real job may depend on it; of ours, the story alone imports something: the row of a run.

mod answer;
mod deliver;
mod dice;
mod fault;
mod list;
mod oauth;
mod people;
mod roster;
mod settings;
mod stand_in;
mod state;
mod story;
mod table;
mod wire;

#[cfg(test)]
mod tests;

pub use fault::{BodyKind, Fault, FaultRule, PageHook, RosterHook, Step, TokenHook, When};
pub use people::{COMPANY_ID, person};
pub use roster::Roster;
pub use settings::{End, Ids, RateLimit, Route, ServerDate, Settings};
pub use stand_in::StandIn;
pub use state::{Endpoint, Seen};
pub use story::{
    ASK_ACTIVE, ASK_CHANGES, ASK_HISTORY, Change, PEOPLE, change_the_world, fill, remove_old, render_change,
    render_next, render_run, render_start,
};
pub use table::{Table, render_query, render_table};
