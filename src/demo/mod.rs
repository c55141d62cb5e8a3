//! What `demo` brings along: a small API on loopback with made-up people, its story, and how a query's
//! answer is printed. Nothing of the real job depends on it.

mod people;
mod server;
mod story;
mod table;

pub use people::{DemoConsent, DemoConsents};
pub use server::DemoApi;
pub use story::{
    ASK_FEED, ASK_MARIA, ASK_RUNS, DemoStep, PEOPLE, STEPS, erased_address, fill, render_erasure,
    render_next, render_run, render_serving, render_start, wrap,
};
pub use table::{render_query, render_table};
