//! understory-sync keeps a company's Understory marketing consents in a SQL table of its own.

pub mod api;
pub mod app;
pub mod cli;
pub mod command;
pub mod config;
pub mod consent;
pub mod daemon;
pub mod demo;
pub mod exit;
pub mod file;
pub mod hash;
pub mod host;
pub mod invocation;
pub mod lifecycle;
pub mod observe;
pub mod reconcile;
pub mod schedule;
pub mod store;
pub mod sync;
pub mod zone;
