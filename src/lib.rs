//! understory-sync keeps a company's Understory marketing consents in a SQL table of its own.

pub mod api;
pub mod cli;
pub mod command;
pub mod config;
pub mod consent;
pub mod demo;
pub mod exit;
pub mod file;
pub mod hash;
pub mod reconcile;
pub mod store;
pub mod sync;
