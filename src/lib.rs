//! understory-sync keeps a company's Understory marketing consents in a SQL table of its own.

pub mod command;
pub mod config;
pub mod consent;
pub mod daemon;
pub mod exit;
pub mod lifecycle;
pub mod observe;
pub mod schedule;
pub mod store;
