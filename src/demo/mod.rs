//! What `demo` brings along: a small API on loopback with made-up people, the story that is told with it, and how a query's
//! answer is printed. Nothing of the real job depends on it.

mod people;
mod server;
mod story;
mod table;

pub use people::{Consent, Consents};
pub use server::DemoApi;
pub use story::{
    ASK_ACTIVE, ASK_CHANGES, ASK_HISTORY, Change, PEOPLE, change_the_world, fill, remove_old, render_change,
    render_next, render_run, render_start,
};
pub use table::{Table, render_query, render_table};
