//! What the tests stand on: a database of their own, a world around the binary, and the program as it ran.

pub(crate) mod certificates;
mod db;
mod follower;
pub(crate) mod gzip;
pub(crate) mod link;
pub(crate) mod not_run;
mod program;
pub(crate) mod raw;
mod server;
mod terminal;
pub(crate) mod tls;
mod watch;
mod world;

pub(crate) use db::{Engine, TestDb, try_administer};
pub(crate) use follower::Follower;
pub(crate) use program::{Done, Running, run};
pub(crate) use terminal::Terminal;
pub(crate) use watch::{watch_writes, writes};
pub(crate) use world::{World, variable};

use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Looks again and again until something is so. For what another process or the mock API does meanwhile.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs each body on both databases. The argument is a [`World`] or a [`TestDb`].
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($arg:ident: $what:ident) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports, clippy::allow_attributes, reason = "not every body needs its surroundings")]
            use super::*;
            $(#[$meta])*
            async fn body($arg: $what) $body

            #[tokio::test]
            async fn sqlite() {
                body($what::on($crate::support::Engine::Sqlite).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                body($what::on($crate::support::Engine::Postgres).await).await;
            }
        }
    )+};
}
