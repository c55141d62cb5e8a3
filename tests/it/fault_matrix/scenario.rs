//! What one row of the matrix is: a world, a fault in it, and what must come of it.

use std::cell::RefCell;
use std::time::Duration;

use understory_mock_api::{Endpoint, Fault, FaultRule, MockSettings, Seen, When};

use super::super::support::raw::{Move, Raw};
use super::super::support::tls::Gateway;
use super::super::support::{World, variable};

/// Attempts for one request in every scenario.
pub(super) const ATTEMPTS: usize = 3;
/// Pages of the list.
pub(super) const PAGES: usize = 7;
/// What a run without a fault asks: a token and every page.
pub(super) const CLEAN: usize = 1 + PAGES;
/// The page that most faults wait for.
pub(super) const THIRD: u64 = 3;
/// What a run asks whose third page never comes.
pub(super) const NEVER_THIRD: usize = 1 + 2 + ATTEMPTS;
/// What a run asks that ends with the first answer to the third page.
pub(super) const ENDS_AT_THIRD: usize = 1 + 3;

/// What the database holds before the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Sixty people, all of them listed.
    Listed,
    /// The same, and two who were missing in the last run: this one would confirm that they left.
    Leaving,
    /// The same, and two who were recorded as removed.
    Removed,
}

/// Where a scenario is played.
pub(super) struct Stage {
    pub(super) world: World,
    /// A host that nobody may ask.
    pub(super) elsewhere: Raw,
    overrides: RefCell<Vec<String>>,
    bare: RefCell<Option<Raw>>,
    gateway: RefCell<Option<Gateway>>,
}

impl Stage {
    pub(super) fn new(world: World) -> Self {
        Self {
            world,
            elsewhere: Raw::silent(),
            overrides: RefCell::default(),
            bare: RefCell::default(),
            gateway: RefCell::default(),
        }
    }

    /// Sets a key for the run with the fault only.
    pub(super) fn set(&self, key: &str, value: &str) {
        self.variable(&variable(key), value);
    }

    /// Sets any variable for the run with the fault only.
    pub(super) fn variable(&self, name: &str, value: &str) {
        self.world.variable(name, value);
        self.overrides.borrow_mut().push(name.to_owned());
    }

    /// The variables that were set so.
    pub(super) fn overridden(&self) -> Vec<String> {
        self.overrides.take()
    }

    /// Plays a fault.
    pub(super) fn play(&self, rule: FaultRule) {
        self.world.api.play(rule);
    }

    /// The list is asked from a bare server.
    pub(super) fn bare(&self, scripts: Vec<Vec<Move>>) {
        let raw = Raw::start(scripts);
        self.set("api.base_url", &raw.url());
        self.keep_bare(raw);
    }

    /// A bare server that lives as long as the scenario.
    pub(super) fn keep_bare(&self, raw: Raw) {
        *self.bare.borrow_mut() = Some(raw);
    }

    /// TLS that lives as long as the scenario.
    pub(super) fn keep(&self, gateway: Gateway) {
        *self.gateway.borrow_mut() = Some(gateway);
    }

    /// Connections that the mock API knows nothing of: those to the bare server, and handshakes that came to nothing.
    pub(super) fn bare_connections(&self) -> usize {
        let bare = self.bare.borrow().as_ref().map_or(0, Raw::connections);
        bare + self.gateway.borrow().as_ref().map_or(0, Gateway::refused)
    }

    /// Bytes that were said above TLS.
    pub(super) fn heard(&self) -> usize {
        self.gateway.borrow().as_ref().map_or(0, Gateway::heard)
    }

    /// How the mock API behaves in this scenario.
    pub(super) fn configure(&self, change: impl FnOnce(&mut MockSettings)) {
        self.world.api.configure(change);
    }
}

/// What is there after the run with the fault.
pub(super) struct After<'a> {
    pub(super) stderr: &'a str,
    /// One line a row of `consents`: key, e-mail, name, source, its state.
    pub(super) rows: &'a [String],
    /// What was asked, in order.
    pub(super) seen: &'a [Seen],
    pub(super) took: Duration,
    /// Bytes that were said above TLS, where a scenario has it.
    pub(super) heard: usize,
}

/// Something more that must be so.
pub(super) type Check = Box<dyn Fn(&After<'_>) -> Result<(), String> + Send + Sync>;

/// One row of the matrix.
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) exit: i32,
    /// The most requests, tokens included.
    pub(super) most: usize,
    pub(super) within: Duration,
    pub(super) start: Start,
    /// On PostgreSQL too.
    pub(super) postgres: bool,
    /// Whether everybody who is listed must be active after the run with the fault, and nobody else.
    pub(super) complete: bool,
    /// Whether what the fault tells of people is a change like any other.
    pub(super) edits: bool,
    pub(super) play: Box<dyn Fn(&Stage) + Send + Sync>,
    pub(super) check: Option<Check>,
}

impl Scenario {
    pub(super) fn new(
        name: impl Into<String>,
        exit: i32,
        most: usize,
        play: impl Fn(&Stage) + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            exit,
            most,
            // A thousand pages take their time where many tests share two cores.
            within: Duration::from_secs(if most > 1_000 { 45 } else { 20 }),
            start: Start::Listed,
            postgres: false,
            complete: exit == 0,
            edits: false,
            play: Box::new(play),
            check: None,
        }
    }

    /// Once, at the third page.
    pub(super) fn once(name: &str, exit: i32, most: usize, fault: Fault) -> Self {
        let rule = FaultRule::on(Endpoint::List, fault).page(THIRD);
        Self::new(format!("{name}, once"), exit, most, move |stage| {
            stage.play(rule.clone());
        })
    }

    /// Always, at the third page.
    pub(super) fn always(name: &str, exit: i32, most: usize, fault: Fault) -> Self {
        let rule = FaultRule::on(Endpoint::List, fault).page(THIRD).always();
        Self::new(format!("{name}, always"), exit, most, move |stage| {
            stage.play(rule.clone());
        })
    }

    /// Once at the third page, and the next attempt succeeds.
    pub(super) fn passes(name: &str, fault: Fault) -> Self {
        Self::once(name, 0, CLEAN + 1, fault)
    }

    /// At the third page, where one answer is enough.
    pub(super) fn ends(name: &str, exit: i32, fault: Fault) -> Self {
        Self::always(name, exit, ENDS_AT_THIRD, fault)
    }

    /// Always at the third page, until no attempt is left.
    pub(super) fn wears_out(name: &str, exit: i32, fault: Fault) -> Self {
        Self::always(name, exit, NEVER_THIRD, fault)
    }

    /// Always, at every token request.
    pub(super) fn token(name: &str, exit: i32, most: usize, fault: Fault) -> Self {
        let rule = FaultRule::on(Endpoint::Token, fault).always();
        Self::new(format!("token: {name}"), exit, most, move |stage| {
            stage.play(rule.clone());
        })
    }

    /// From this page on.
    pub(super) fn from_page(name: String, page: u64, exit: i32, most: usize, fault: Fault) -> Self {
        let rule = FaultRule::on(Endpoint::List, fault).when(When::FromPage(page)).always();
        Self::new(name, exit, most, move |stage| stage.play(rule.clone()))
    }

    /// Sets a key for the run with the fault only.
    pub(super) fn with(self, key: &'static str, value: &'static str) -> Self {
        let play = self.play;
        Self {
            play: Box::new(move |stage| {
                stage.set(key, value);
                play(stage);
            }),
            ..self
        }
    }

    /// Short time-outs: the fault is silence.
    pub(super) fn impatient(self) -> Self {
        self.with("api.read_timeout", "400ms").with("api.request_timeout", "1500ms")
    }

    /// Two people are about to be recorded as removed.
    pub(super) fn leaving(self) -> Self {
        Self { start: Start::Leaving, ..self }
    }

    /// Two people were recorded as removed.
    pub(super) fn removed(self) -> Self {
        Self { start: Start::Removed, ..self }
    }

    /// On PostgreSQL too.
    pub(super) fn on_both(self) -> Self {
        Self { postgres: true, ..self }
    }

    /// Not exactly those who are listed are active after it, and that is right.
    pub(super) fn partial(self) -> Self {
        Self { complete: false, ..self }
    }

    /// What it tells of people is a change like any other.
    pub(super) fn edits(self) -> Self {
        Self { edits: true, ..self }
    }

    /// Something more must be so.
    pub(super) fn check(
        self,
        check: impl Fn(&After<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { check: Some(Box::new(check)), ..self }
    }
}
