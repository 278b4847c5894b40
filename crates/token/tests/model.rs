//! Small models of what must never happen, of which every state is looked at.
//!
//! The simulation in `tests/circle.rs` and the walks in `tests/interleavings.rs` run the real code; they see
//! the worlds that seeds and a few actors lead to. A model is an abstract of the design, so small that
//! **all** that can happen within its bounds does: messages lost, repeated and late, answers lost, processes
//! that die and come back, leases that end, a sequencer that moves, a store that fails over.
//!
//! - [`log`](model::log): entries are left by two writers, positioned by a sequencer, and read. Whatever was
//!   acknowledged stays (R1), and a reader misses nothing of which it says that it knows it.
//! - [`circle`](model::circle): the word of others, while who is in the circle changes. Nobody believes to
//!   know more than it does.
//! - [`family`](model::family): a refresh token is spent at two nodes while its family is taken back. One
//!   successor for each generation, and none is served after the revocation was acknowledged (R3).
//!
//! Each model can have one of its rules taken out. That what the rule protects then breaks, within the same
//! bounds, shows that the check can fail.
//!
//! A moment is told by what was durable then: a set of entries, which only grows. So "whoever says to know
//! everything until then does" is a comparison of two sets, no clock is needed, and moments between which
//! nothing became durable are one.

#![cfg(test)]

use std::{collections::BTreeSet, fmt::Debug, hash::Hash};

use stateright::{Checker as _, HasDiscoveries, Model};

mod model {
    pub(crate) mod log;
}

/// Looks at every state: all that must hold does, and all that should be seen was.
fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} states, {} steps deep", checker.max_depth());
    checker.assert_properties();
}

/// Looks for what breaks a property. That it is found is what is asked for.
fn breaks<M>(name: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = model.checker().threads(2).finish_when(found).spawn_bfs().join();
    let Some(path) = checker.discovery(property) else {
        panic!("{name}: `{property}` holds in all {} states", checker.unique_state_count());
    };
    println!("{name} breaks `{property}`: {:?}", path.into_actions());
}

mod log {
    use super::{breaks, holds};
    use crate::model::log::{CURSOR, DURABLE, FRESH, Log, ORDER, Rule};

    #[test]
    fn what_was_acknowledged_stays_and_nobody_misses_it() {
        holds("log", Log::default());
    }

    #[test]
    fn each_rule_is_needed() {
        for (rule, property) in [
            (Rule::AnswerAfterCommit, DURABLE),
            (Rule::StandbyHasItFirst, DURABLE),
            (Rule::PositionsAreGiven, CURSOR),
            (Rule::OnePositionsAtATime, ORDER),
            (Rule::OnePositionsAtATime, CURSOR),
            (Rule::WaitingCounts, FRESH),
            (Rule::OneSnapshot, FRESH),
        ] {
            breaks(&format!("log without {rule:?}"), Log::without(rule), property);
        }
    }
}
