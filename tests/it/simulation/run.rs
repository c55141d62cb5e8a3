//! One run as sync.rs, sync/walk.rs and sync/ending.rs make it, over the simulated API and the twin, with whatever goes wrong.

mod end;

use std::collections::{BTreeMap, HashSet};

use understory_sync::config::{Removal, Retention};
use understory_sync::consent::{Item, Page, natural_key};
use understory_sync::hash::KnownItems;
use understory_sync::reconcile::{
    Answers, Batch, PendingReturns, RowWrite, Scan, ScanSettings, Tally, UpsertKind,
};
use understory_sync::store::{RunRow, Timestamp};
use understory_sync::sync::companies;

use super::check::{Checker, Step};
use super::model::Fenced;
use super::twin::Twin;
use super::world::{Entry, World, email, recognized, rejected, text};
use crate::bench::Dice;

/// What this run meets.
pub(super) struct Plan {
    pub(super) page_length: usize,
    /// Percent of pages after which the batch is written.
    pub(super) flush: u64,
    /// Percent of steps at which the process dies.
    pub(super) death: u64,
    /// Percent of pages at which the API fails for good.
    pub(super) failure: u64,
    /// Percent of pages whose cursor is refused.
    pub(super) refusal: u64,
    /// Percent of pages after which the list changes.
    pub(super) unrest: u64,
    /// Percent of pages before which another process takes the lease, and half the time forgets somebody.
    pub(super) robbery: u64,
    /// Percent of look-ups that give no clear answer.
    pub(super) unclear: u64,
    pub(super) accept: Option<u64>,
}

impl Plan {
    pub(super) fn peaceful(accept: Option<u64>) -> Self {
        Self {
            page_length: 5,
            flush: 50,
            death: 0,
            failure: 0,
            refusal: 0,
            unrest: 0,
            robbery: 0,
            unclear: 0,
            accept,
        }
    }
}

/// Why a run is over.
#[derive(Debug)]
pub(super) enum Over {
    Died,
    Fenced,
    Failed,
    OtherCompany,
    Refused,
}

impl From<Fenced> for Over {
    fn from(_: Fenced) -> Self {
        Self::Fenced
    }
}

/// Who the last walk listed, found without the program's own rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Listed {
    /// Ids of usable items.
    pub(super) ids: HashSet<String>,
    /// Ids of rejected items.
    pub(super) rejected_ids: HashSet<String>,
    /// Natural keys of usable items without id.
    pub(super) natural_keys: HashSet<String>,
    /// Usable items of ours that nobody asked to forget.
    pub(super) usable: u64,
}

/// The clock, which may stand still or go back.
pub(super) struct Clock {
    pub(super) at: i64,
}

impl Clock {
    pub(super) fn now(&mut self, dice: &mut Dice) -> Timestamp {
        self.at += match dice.below(20) {
            0 => -i64::try_from(dice.below(90_000_000)).unwrap(),
            1..=8 => 0,
            9 => i64::try_from(dice.below(200_000_000)).unwrap(),
            _ => i64::try_from(dice.below(5_000)).unwrap(),
        };
        Timestamp::default().plus_millis(1_700_000_000_000 + self.at)
    }
}

pub(super) struct Simulation<'a> {
    pub(super) dice: &'a mut Dice,
    pub(super) world: World,
    pub(super) twin: Twin,
    pub(super) clock: Clock,
    pub(super) check: Checker,
    pub(super) removal: Removal,
    pub(super) retention: Retention,
    pub(super) company: Option<String>,
    /// Batches written by the last run.
    pub(super) batches: u32,
    /// What happened how often, to know that everything does.
    pub(super) met: &'a mut BTreeMap<&'static str, u64>,
}

impl Simulation<'_> {
    fn now(&mut self) -> Timestamp {
        self.clock.now(self.dice)
    }

    fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    fn may_die(&mut self, plan: &Plan) -> Result<(), Over> {
        if self.dice.chance(plan.death) { Err(Over::Died) } else { Ok(()) }
    }

    /// One run from the lease to the last state of its row.
    pub(super) fn run(&mut self, plan: &Plan) -> Result<RunRow, Over> {
        let now = self.now();
        self.twin.begin(now);
        self.check.after(&self.twin.model, &Step::Begin);
        self.batches = 0;
        let over = match self.pass(plan) {
            Ok(row) => return Ok(row),
            Err(over) => over,
        };
        self.meet(match over {
            Over::Died => "the process died",
            Over::Fenced => "the lease was lost",
            Over::Failed => "the API failed",
            Over::OtherCompany => "another company's list",
            Over::Refused => "cursors refused for good",
        });
        if matches!(over, Over::Died | Over::Fenced) {
            self.twin.die();
            return Err(over);
        }
        let now = self.now();
        let mut row = self.twin.row().clone();
        "failed".clone_into(&mut row.outcome);
        (row.finished_at, row.error) = (Some(now), Some("something".to_owned()));
        self.twin.fail(&row, now);
        self.check.after(&self.twin.model, &Step::Fail);
        self.twin.die();
        Err(over)
    }

    fn pass(&mut self, plan: &Plan) -> Result<RunRow, Over> {
        for restarts in 0.. {
            self.may_die(plan)?;
            let loaded = self.twin.load();
            let active = loaded.known.active_before();
            if let Some(company) = &self.company
                && self.twin.knows_other_company(company)
            {
                return Err(Over::OtherCompany);
            }
            let blocked = loaded.blocked_in_a_row;
            let settings = ScanSettings {
                salt: loaded.salt,
                company_id: self.company.clone(),
                suppressed: loaded.suppressed,
                exhausted: loaded.exhausted,
            };
            let now = self.now();
            let due = now.plus_millis(-i64::try_from(self.removal.confirm_after.as_millis()).unwrap());
            let returns = PendingReturns::new(loaded.pending, due.millis());
            let pass = Scan::new(settings, loaded.known, loaded.rejects, returns);
            match self.walk(plan, pass, &loaded.items) {
                Ok((pass, listed)) => {
                    return self.end(plan, pass, &listed, active, blocked, restarts > 0);
                }
                Err(Over::Refused) if restarts < 2 => {
                    self.meet("a walk began anew");
                    self.twin.row().restart();
                }
                Err(over) => return Err(over),
            }
        }
        Err(Over::Refused)
    }

    fn walk(&mut self, plan: &Plan, mut pass: Scan, known: &KnownItems) -> Result<(Scan, Listed), Over> {
        let mut gather = Batch::default();
        let mut trusted = self.company.is_some();
        let mut listed = Listed::default();
        let mut from = Some(0);
        while let Some(start) = from {
            self.may_die(plan)?;
            let failed = self.dice.chance(plan.failure);
            if failed || (start > 0 && self.dice.chance(plan.refusal)) {
                self.flush(&mut gather, trusted)?;
                return Err(if failed { Over::Failed } else { Over::Refused });
            }
            self.rob(plan);
            let (page, entries, next) = self.world.page(start, plan.page_length);
            from = next;
            if self.dice.chance(plan.unrest) {
                self.world.change(self.dice);
            }
            self.twin.row().endpoint = Some("/v1/grow/consents".to_owned());
            let companies = companies(&page);
            if !trusted && !companies.is_empty() {
                if !self.twin.knows_company(&companies) {
                    return Err(Over::OtherCompany);
                }
                trusted = true;
            }
            self.note(&mut listed, &page.items, &entries);
            let is_respelt = self.dice.chance(5);
            let texts: Vec<Option<String>> = page.items.iter().map(|item| text(item, is_respelt)).collect();
            let items = page.items.into_iter().zip(&texts);
            let items = items.map(|(item, text)| recognized(item, text.as_deref(), known)).collect();
            let page = Page { items, next: None };
            for _ in page.items.iter().filter(|item| matches!(item, Item::Known(_))) {
                self.meet("items recognized");
            }
            let questions = pass.questions(&page);
            let namesakes = if questions.is_empty() {
                Answers::new()
            } else {
                self.flush(&mut gather, trusted)?;
                self.twin.namesakes(&questions)
            };
            let mut batch = pass.process_page(page, &namesakes);
            let repeats = std::mem::take(&mut batch.repeats);
            gather.append(batch);
            if !repeats.is_empty() {
                self.flush(&mut gather, trusted)?;
                let keys: Vec<String> = repeats.iter().map(|repeat| repeat.key.clone()).collect();
                let addresses = self.twin.addresses(&keys);
                for repeat in &repeats {
                    let stored = addresses.get(&repeat.key).map(String::as_str);
                    gather.append(if pass.is_other_address(repeat, stored) {
                        pass.process_repeat(rejected(&repeat.key, &repeat.address))
                    } else {
                        let tally = Tally { duplicates: 1, ..Tally::default() };
                        Batch { tally, ..Batch::default() }
                    });
                }
            }
            self.twin.row().active = Some(pass.known().active_now().cast_signed());
            if self.dice.chance(plan.flush) {
                self.may_die(plan)?;
                self.flush(&mut gather, trusted)?;
            }
        }
        self.may_die(plan)?;
        self.flush(&mut gather, true)?;
        Ok((pass, listed))
    }

    fn note(&mut self, listed: &mut Listed, items: &[Item<'_>], entries: &[Entry]) {
        for (item, entry) in items.iter().zip(entries) {
            let id = match item {
                Item::Rejected(rejected) => rejected.id.as_deref(),
                Item::Consent(consent) => consent.consent_id.as_deref(),
                Item::Known(known) => Some(known.id.as_ref()),
            };
            let address = match entry {
                Entry::Good { email, .. } | Entry::Bad { email, .. } => *email,
            };
            if self.check.is_suppressed(address, id) {
                continue;
            }
            match item {
                Item::Known(_) => unreachable!("all are read here"),
                Item::Rejected(rejected) => listed.rejected_ids.extend(rejected.id.clone()),
                Item::Consent(consent) => {
                    if self.company.as_ref().is_some_and(|ours| *ours != consent.company_id) {
                        continue;
                    }
                    listed.usable += 1;
                    match &consent.consent_id {
                        Some(id) => listed.ids.insert(id.clone().into_owned()),
                        None => listed.natural_keys.insert(natural_key(
                            &consent.company_id,
                            &consent.email,
                            consent.source.as_deref(),
                        )),
                    };
                }
            }
        }
    }

    fn flush(&mut self, gather: &mut Batch, trusted: bool) -> Result<(), Over> {
        if !trusted {
            return Ok(());
        }
        let batch = std::mem::take(gather);
        if batch.is_empty() {
            self.twin.row().count(&batch.tally);
            return Ok(());
        }
        for op in &batch.writes {
            match op {
                RowWrite::Upsert(put) if matches!(put.kind, UpsertKind::TakeOver { .. }) => {
                    self.meet("keys taken over");
                }
                RowWrite::Upsert(_) => {}
                RowWrite::MarkListed { .. } => self.meet("rows listed by others' items"),
            }
        }
        let now = self.now();
        let run = self.twin.row().id;
        let written = self.twin.write_batch(&batch, now);
        let step = if written.is_ok() { Step::Batch { run } } else { Step::Nothing };
        self.check.after(&self.twin.model, &step);
        self.batches += 1;
        Ok(written?)
    }

    /// A machine that slept: another process took over.
    fn rob(&mut self, plan: &Plan) {
        if !self.dice.chance(plan.robbery) {
            return;
        }
        if self.dice.chance(50) {
            let now = self.now();
            self.twin.seize(now);
            self.meet("another process took the lease");
        } else {
            let who = u8::try_from(self.dice.below(14)).unwrap();
            self.forget(who);
        }
    }

    pub(super) fn forget(&mut self, who: u8) {
        let now = self.now();
        let address = email(who, 1);
        let theirs = self.twin.model.rows_of(&address).filter_map(|row| row.id.clone());
        self.check.forgotten.entry(who).or_default().extend(theirs);
        self.meet("forgotten");
        self.twin.forget(&email(who, 0), now);
        self.check.after(&self.twin.model, &Step::Forget);
    }

    pub(super) fn unforget(&mut self, who: u8) {
        let now = self.now();
        self.check.forgotten.remove(&who);
        self.twin.unforget(&email(who, 0), now);
        self.check.after(&self.twin.model, &Step::Forget);
    }
}
