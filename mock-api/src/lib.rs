//! A mock of the Understory API on loopback: it answers as the API is documented to, serves the consents it is given, plays
//! the faults that a test asks for, and records every request.

mod answer;
mod deliver;
mod dice;
mod fault;
mod list;
mod mock_api;
mod oauth;
mod people;
mod roster;
mod settings;
mod state;
mod wire;

#[cfg(test)]
mod tests;

pub use fault::{BodyKind, Fault, FaultRule, PageHook, RosterHook, Step, TokenHook, When};
pub use mock_api::MockApi;
pub use people::{COMPANY_ID, person};
pub use roster::Roster;
pub use settings::{End, Ids, MockSettings, RateLimit, Route, ServerDate};
pub use state::{Endpoint, Seen};
