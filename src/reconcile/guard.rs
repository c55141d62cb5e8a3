//! The removal guard: whether a complete run may take absence for withdrawal.

/// What a complete run says about absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Active rows when its scan began.
    pub active: u64,
    /// Of those, the ones that it did not list and that no rejected item keeps.
    pub own: u64,
    /// Rows marked missing by runs of the last 24 hours, neither by their page nor by an acceptance, and not listed since.
    pub back: u64,
    /// At least one item was neither rejected, foreign nor suppressed.
    pub lists_somebody: bool,
    /// An item without a usable id was rejected for the first time since the last complete run: it may be one of `own`.
    pub new_nameless_reject: bool,
    /// Complete runs in a row, up to now, that were blocked.
    pub blocked_in_a_row: u32,
}

/// `removal.max_percent` and `removal.min_count`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RemovalGuard {
    pub max_percent: f64,
    pub min_count: u64,
}

/// What becomes of the absence in a complete run (`sync_runs.absence`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    Judged,
    /// The guard keeps them active.
    Withheld,
    /// A rejected item stands in the way.
    Blocked,
}

impl Absence {
    /// As in `sync_runs.absence`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Judged => "judged",
            Self::Withheld => "withheld",
            Self::Blocked => "blocked",
        }
    }
}

/// Complete runs in a row that a rejected item may block: one broken row upstream must not keep withdrawn people active
/// for ever.
const MAX_BLOCKED: u32 = 2;

/// Complete runs in a row for which a rejected item keeps its row active (contract, section 5.5).
pub const MAX_REJECTED_RUNS: i64 = 2;

impl RemovalGuard {
    /// Whether the guard's rule holds (contract, section 5.6.2).
    #[expect(clippy::cast_precision_loss, reason = "no table has 2^53 rows")]
    pub fn holds(self, evidence: &Evidence) -> bool {
        let missing = evidence.own + evidence.back;
        let of = evidence.active + evidence.back;
        let many = missing > self.min_count && missing as f64 * 100.0 > of as f64 * self.max_percent;
        evidence.own > 0 && (many || !evidence.lists_somebody)
    }

    /// Decides (contract, sections 5.5 and 5.6). The guard comes first: where it holds, somebody has to look at the numbers,
    /// whatever else the scan held. `accepted`: an acceptance lets its rule pass.
    pub fn evaluate(self, evidence: &Evidence, accepted: bool) -> Absence {
        if !accepted && self.holds(evidence) {
            return Absence::Withheld;
        }
        if evidence.own > 0 && evidence.new_nameless_reject && evidence.blocked_in_a_row < MAX_BLOCKED {
            return Absence::Blocked;
        }
        Absence::Judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: RemovalGuard = RemovalGuard { max_percent: 20.0, min_count: 5 };

    fn evidence(own: u64, back: u64, active: u64) -> Evidence {
        Evidence { active, own, back, lists_somebody: true, new_nameless_reject: false, blocked_in_a_row: 0 }
    }

    #[test]
    fn the_guard_needs_both_percent_and_count_and_looks_back_a_day() {
        for (own, back, active, expected) in [
            (0, 0, 0, Absence::Judged),
            (5, 0, 5, Absence::Judged),
            (6, 0, 6, Absence::Withheld),
            (6, 0, 30, Absence::Judged),
            (6, 0, 29, Absence::Withheld),
            (200, 0, 1000, Absence::Judged),
            (201, 0, 1000, Absence::Withheld),
            // 20 % an hour is more than 20 % a day.
            (160, 200, 800, Absence::Withheld),
            (1, 200, 800, Absence::Withheld),
            (1, 199, 801, Absence::Judged),
            (1, 5, 24, Absence::Withheld),
            (1, 4, 1, Absence::Judged),
            // Nobody left since: nothing to hold.
            (0, 500, 500, Absence::Judged),
        ] {
            let found = GUARD.evaluate(&evidence(own, back, active), false);
            assert_eq!(found, expected, "{own} and {back} of {active}");
            assert_eq!(GUARD.evaluate(&evidence(own, back, active), true), Absence::Judged);
        }
    }

    #[test]
    fn a_run_that_lists_nobody_is_withheld_whatever_the_numbers() {
        let guard = RemovalGuard { max_percent: 100.0, min_count: 1000 };
        let nobody = Evidence { lists_somebody: false, ..evidence(3, 0, 3) };
        assert_eq!(guard.evaluate(&nobody, false), Absence::Withheld);
        assert_eq!(guard.evaluate(&nobody, true), Absence::Judged);
        // Rows of the run's own first scan, none of which its second one listed.
        let restarted = Evidence { active: 0, ..nobody };
        assert_eq!(guard.evaluate(&restarted, false), Absence::Withheld);
        let empty = Evidence { lists_somebody: false, ..evidence(0, 0, 0) };
        assert_eq!(guard.evaluate(&empty, false), Absence::Judged);
    }

    #[test]
    fn a_nameless_reject_blocks_two_runs_in_a_row_where_somebody_is_unlisted() {
        let blocked = Evidence { new_nameless_reject: true, ..evidence(1, 0, 100) };
        for (blocked_in_a_row, expected) in
            [(0, Absence::Blocked), (1, Absence::Blocked), (2, Absence::Judged)]
        {
            assert_eq!(GUARD.evaluate(&Evidence { blocked_in_a_row, ..blocked }, false), expected);
        }
        assert_eq!(GUARD.evaluate(&Evidence { own: 0, ..blocked }, false), Absence::Judged);
        // The guard comes first; what an acceptance lets pass is still blocked.
        let held = Evidence { own: 50, ..blocked };
        assert_eq!(GUARD.evaluate(&held, false), Absence::Withheld);
        assert_eq!(GUARD.evaluate(&held, true), Absence::Blocked);
    }
}
