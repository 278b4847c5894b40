//! What a node keeps in memory to know what was taken back.

use tegata_token::{
    revocation::GRACE,
    status::{BLOCK, LIST_LENGTH, SLOT_SECS},
};

use super::{
    assumed::Figures,
    count::Count,
    load::{Load, Rates},
};

/// For how long after they could last be used lists and names are kept, in seconds.
pub(crate) fn grace_secs() -> f64 {
    GRACE.as_secs_f64()
}

/// Lists and names, in each node. Every list counts as one in which something was taken back, which
/// is the most that it can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StatusMemory {
    /// How many quarters of an hour there are lists of.
    pub(crate) quarters: f64,
    /// How many tokens are put on the lists of one quarter, in the busiest hour.
    pub(crate) tokens_of_quarter: f64,
    /// How many places the nodes lease of a quarter, and leave empty, at most.
    pub(crate) left_empty: f64,
    /// How many lists there are.
    pub(crate) lists: f64,
    /// Names of sessions and of families that have ended.
    pub(crate) names: f64,
    /// Bytes of lists.
    pub(crate) list_bytes: f64,
    /// Bytes of names.
    pub(crate) name_bytes: f64,
}

impl StatusMemory {
    /// That of a load on so many nodes.
    pub(crate) fn of(load: &Load, rates: &Rates, figures: &Figures, nodes: Count) -> Self {
        let slot = Count::rounded_up(f64::from(u32::try_from(SLOT_SECS).unwrap_or(u32::MAX)));
        let slot = slot.unwrap_or_default().number();
        let quarters = ((slot + grace_secs()) / slot).ceil();
        let tokens_of_quarter = rates.tokens.peak * slot;
        let left_empty = nodes.number() * f64::from(BLOCK);
        let taken_back = rates.revoked.peak + rates.sign_outs.peak > 0.0;
        let each = ((tokens_of_quarter + left_empty) / f64::from(LIST_LENGTH)).ceil();
        let lists = if taken_back { quarters * each } else { 0.0 };
        let sessions = rates.sign_outs.average * (load.session.as_secs_f64() + grace_secs());
        let families = rates.sign_outs.peak * (load.access.as_secs_f64() + grace_secs());
        let names = sessions + families;
        Self {
            quarters,
            tokens_of_quarter,
            left_empty,
            lists,
            names,
            list_bytes: lists * figures.list_bytes.get(),
            name_bytes: names * figures.name_bytes.get(),
        }
    }

    /// All of it, in bytes.
    pub(crate) fn bytes(&self) -> f64 {
        self.list_bytes + self.name_bytes
    }
}
