//! What `demo` brings along: a small API on loopback with made-up people, its story, and how a query's
//! answer is printed. Nothing of the real job depends on it.

pub mod people;
pub mod server;
pub mod story;
pub mod table;
