//! Whether a complete pass may take absence for withdrawal.

/// What a complete pass tells about absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Active rows before the run.
    pub active: u64,
    /// Of those, not listed by it.
    pub unlisted: u64,
    /// At least one item was stored or known: somebody is listed.
    pub lists_somebody: bool,
    /// An item without a usable id was rejected for the first time: it may be one of the unlisted.
    pub new_nameless_reject: bool,
    /// Complete runs in a row, up to now, that were blocked.
    pub blocked_in_a_row: u32,
    /// `--accept-removals`
    pub accepted: Option<u64>,
}

/// What becomes of the absence in a complete run (`sync_runs.absence`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Rows not listed are missing.
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

/// Decides (contract, sections 5.5 and 5.6). The guard comes first: where it holds, somebody has to look at the numbers,
/// whatever else the pass held.
pub fn evaluate_removals(evidence: &Evidence, max_percent: f64, min_count: u64) -> Absence {
    let accepted = evidence.accepted.is_some_and(|most| evidence.unlisted <= most);
    if !accepted && is_suspicious(evidence, max_percent, min_count) {
        return Absence::Withheld;
    }
    if evidence.new_nameless_reject && evidence.blocked_in_a_row < MAX_BLOCKED {
        return Absence::Blocked;
    }
    Absence::Judged
}

#[expect(clippy::cast_precision_loss, reason = "no table has 2^53 rows")]
fn is_suspicious(evidence: &Evidence, max_percent: f64, min_count: u64) -> bool {
    let nobody = !evidence.lists_somebody && evidence.active > 0;
    let many = evidence.unlisted > min_count
        && evidence.unlisted as f64 * 100.0 > evidence.active as f64 * max_percent;
    nobody || many
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(unlisted: u64, active: u64) -> Evidence {
        Evidence {
            active,
            unlisted,
            lists_somebody: true,
            new_nameless_reject: false,
            blocked_in_a_row: 0,
            accepted: None,
        }
    }

    #[test]
    fn the_guard_needs_both_percent_and_count() {
        for (unlisted, active, expected) in [
            (0, 0, Absence::Judged),
            (20, 20, Absence::Judged),
            (21, 21, Absence::Withheld),
            (21, 105, Absence::Judged),
            (21, 104, Absence::Withheld),
            (200, 1000, Absence::Judged),
            (201, 1000, Absence::Withheld),
        ] {
            assert_eq!(
                evaluate_removals(&evidence(unlisted, active), 20.0, 20),
                expected,
                "{unlisted} of {active}"
            );
        }
    }

    #[test]
    fn a_pass_that_lists_nobody_is_withheld_whatever_the_numbers() {
        let nobody = Evidence { lists_somebody: false, ..evidence(3, 3) };
        assert_eq!(evaluate_removals(&nobody, 100.0, 1000), Absence::Withheld);
        assert_eq!(evaluate_removals(&Evidence { accepted: Some(2), ..nobody }, 20.0, 20), Absence::Withheld);
        assert_eq!(evaluate_removals(&Evidence { accepted: Some(3), ..nobody }, 20.0, 20), Absence::Judged);
        let empty = Evidence { lists_somebody: false, ..evidence(0, 0) };
        assert_eq!(evaluate_removals(&empty, 20.0, 20), Absence::Judged);
    }

    #[test]
    fn a_nameless_reject_blocks_two_runs_in_a_row_and_not_a_third() {
        let blocked = Evidence { new_nameless_reject: true, ..evidence(1, 100) };
        assert_eq!(evaluate_removals(&blocked, 20.0, 20), Absence::Blocked);
        assert_eq!(
            evaluate_removals(&Evidence { blocked_in_a_row: 1, ..blocked }, 20.0, 20),
            Absence::Blocked
        );
        assert_eq!(
            evaluate_removals(&Evidence { blocked_in_a_row: 2, ..blocked }, 20.0, 20),
            Absence::Judged
        );
    }
}
