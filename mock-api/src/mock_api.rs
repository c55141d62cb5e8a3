//! The handle of a running mock API.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::answer::answer;
use super::fault::{FaultRule, PageHook};
use super::roster::Roster;
use super::settings::{MockSettings, Route};
use super::state::{Seen, Shared};
use super::wire::{Door, Wire};

/// A running mock API, on loopback. It ends when this is dropped.
///
/// It runs on a thread of its own, so that it answers while the caller's thread is busy or blocked, and so that a test's paused
/// clock does not stop it.
pub struct MockApi {
    shared: Arc<Shared>,
    address: SocketAddr,
    stopping: CancellationToken,
    stopped: Option<oneshot::Receiver<()>>,
}

impl MockApi {
    /// Starts one; it answers when this returns.
    pub async fn start(settings: MockSettings) -> io::Result<Self> {
        let (mock_api, ready) = Self::launch(settings)?;
        ready.await.map_err(|_| died())?;
        Ok(mock_api)
    }

    /// Like [`MockApi::start`], for callers without a runtime; must not be called from within one.
    ///
    /// # Errors
    /// Those of [`MockApi::start`].
    pub fn start_blocking(settings: MockSettings) -> io::Result<Self> {
        let (mock_api, ready) = Self::launch(settings)?;
        ready.blocking_recv().map_err(|_| died())?;
        Ok(mock_api)
    }

    fn launch(settings: MockSettings) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(settings));
        let stopping = CancellationToken::new();
        let (tell_ready, ready) = oneshot::channel();
        let (tell_stopped, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let server = serve(listener, Arc::clone(&shared), stopping.clone(), tell_ready);
        std::thread::Builder::new().name("mock-api".into()).spawn(move || {
            // An error here means that nobody got "ready", which the caller sees.
            let _ = runtime.block_on(server);
            // Every connection, hanging ones too, ends with the runtime.
            drop(runtime);
            let _ = tell_stopped.send(());
        })?;
        let mock_api = Self { shared, address, stopping, stopped: Some(stopped) };
        Ok((mock_api, ready))
    }

    /// Ends it; when this returns the port is closed and every connection with it.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        if let Some(stopped) = self.stopped.take() {
            // An error means that the thread is gone already.
            let _ = stopped.await;
        }
    }

    /// The port it listens on.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// For `api.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// For `auth.token_url`.
    pub fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.base_url())
    }

    /// For `health.heartbeat_url`.
    pub fn heartbeat_url(&self) -> String {
        format!("{}/heartbeat", self.base_url())
    }

    pub fn settings(&self) -> MockSettings {
        self.shared.lock().settings.clone()
    }

    /// Changes the settings while it runs (all but the port).
    pub fn configure(&self, change: impl FnOnce(&mut MockSettings)) {
        change(&mut self.shared.lock().settings);
    }

    pub fn set_routes(&self, grow: Route, marketing: Route, single: Route) {
        self.configure(|settings| {
            settings.grow = grow;
            settings.marketing = marketing;
            settings.single = single;
        });
    }

    /// Looks at or changes who is listed; no answer is made meanwhile.
    pub fn people<T>(&self, work: impl FnOnce(&mut Roster) -> T) -> T {
        work(&mut self.shared.lock().roster)
    }

    pub fn set_people(&self, items: &[Value]) {
        self.people(|people| people.set(items));
    }

    pub fn add(&self, item: &Value) {
        self.people(|people| people.add(item));
    }

    /// Takes one out. False: there was none.
    #[must_use = "false means that nobody had this id"]
    pub fn remove(&self, id: &str) -> bool {
        self.people(|people| people.remove(id))
    }

    /// Changes one. False: there is none.
    #[must_use = "false means that nobody had this id"]
    pub fn update(&self, id: &str, change: impl FnOnce(&mut Value)) -> bool {
        self.people(|people| people.update(id, change))
    }

    pub fn len(&self) -> usize {
        self.people(|people| people.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn play(&self, rule: FaultRule) {
        self.shared.lock().rules.push(rule);
    }

    /// Plays no fault any more; the page hook stays.
    pub fn clear_faults(&self) {
        self.shared.lock().rules.clear();
    }

    /// Rewrites the items of every page on their way out; none: no more.
    pub fn set_page_hook(&self, hook: Option<PageHook>) {
        self.shared.lock().page_hook = hook;
    }

    /// No token given so far is good any more.
    pub fn revoke_tokens(&self) {
        self.shared.lock().revoke_tokens();
    }

    /// No cursor given so far is good any more.
    pub fn expire_cursors(&self) {
        self.shared.lock().expire_cursors();
    }

    /// How many tokens were given since it started.
    pub fn tokens_given(&self) -> usize {
        self.shared.lock().tokens_given()
    }

    /// What was asked, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.lock().seen().to_vec()
    }

    /// What was asked since this was called last.
    pub fn take_requests(&self) -> Vec<Seen> {
        let mut state = self.shared.lock();
        let seen = state.seen().to_vec();
        state.forget_seen();
        seen
    }

    /// The most requests that were open at one time; overlaps show only where `latency` or a fault makes answers take time.
    pub fn max_in_flight(&self) -> usize {
        self.shared.max_in_flight()
    }
}

impl Drop for MockApi {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn died() -> io::Error {
    io::Error::other("the mock API ended before it could answer")
}

async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    stopping: CancellationToken,
    ready: oneshot::Sender<()>,
) -> io::Result<()> {
    let door = Door(TcpListener::from_std(listener)?);
    let service =
        Router::new().fallback(answer).with_state(shared).into_make_service_with_connect_info::<Wire>();
    // Nobody waits any more where this fails; then nobody holds a handle, and the next line ends at once.
    let _ = ready.send(());
    stopping.run_until_cancelled(async { axum::serve(door, service).await }).await.unwrap_or(Ok(()))
}
