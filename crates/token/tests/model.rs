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
    pub(crate) mod circle;
    pub(crate) mod family;
    pub(crate) mod log;
}

/// Looks at every state: all that must hold does, all that should be seen was, and not less can happen
/// than when the model was made.
fn holds<M>(name: &str, model: M, at_least: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} states, {} steps deep", checker.max_depth());
    checker.assert_properties();
    assert!(states >= at_least, "{name}: the model has become smaller: {states} states");
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
        holds("log", Log::default(), 600_000);
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

mod circle {
    use super::{breaks, holds};
    use crate::model::circle::{Circle, FRESH, Rule};

    /// Two are in the circle, one of them the listener; a third may come, and one may leave.
    const COMES: Circle = Circle {
        members: 0b011,
        changes: 1,
        entries: 2,
        crashes: false,
        leases: false,
        late: false,
        without: None,
    };
    /// Who comes may leave again, and who leaves may come.
    const CHANGES: Circle = Circle { changes: 2, entries: 1, ..COMES };
    /// Three are in it. One may die and come back in its place.
    const CRASHES: Circle = Circle { members: 0b111, entries: 1, crashes: true, ..COMES };
    const LEASES: Circle = Circle { entries: 1, leases: true, ..COMES };
    const LATE: Circle = Circle { entries: 1, late: true, ..COMES };

    #[test]
    fn a_listener_knows_what_it_says_that_it_knows() {
        for (name, circle) in [
            ("one comes", COMES),
            ("two changes", CHANGES),
            ("one dies", CRASHES),
            ("leases end", LEASES),
            ("all is late", LATE),
        ] {
            holds(&format!("circle, {name}"), circle, 90_000);
        }
    }

    #[test]
    fn each_rule_is_needed() {
        for (rule, circle) in [
            (Rule::NumberFirst, COMES),
            (Rule::UnknownIsNotVoid, COMES),
            (Rule::AdmittedByMember, COMES),
            (Rule::SilentWhileItChanges, COMES),
            (Rule::LogAfterRegister, COMES),
            (Rule::AllOthers, COMES),
            (Rule::StoreRequires, COMES),
            (Rule::LeaseIsKept, LEASES),
            (Rule::EchoTellsWhen, LATE),
            (Rule::WaitingCounts, COMES),
            (Rule::AskedNotAnswered, LATE),
        ] {
            breaks(&format!("circle without {rule:?}"), circle.without(rule), FRESH);
        }
    }
}

mod family {
    use super::{breaks, holds};
    use crate::model::family::{ENDED, Family, ONE, Rule, SERVED};

    #[test]
    fn a_token_is_spent_once_and_what_ended_is_over() {
        holds("family", Family::default(), 30_000);
    }

    #[test]
    fn each_rule_is_needed() {
        for (rule, property) in [
            (Rule::Compares, ONE),
            (Rule::Compares, ENDED),
            (Rule::NoCopyIsRead, SERVED),
            (Rule::StandbyHasItFirst, ONE),
            (Rule::StandbyHasItFirst, ENDED),
            (Rule::AnswerAfterCommit, ENDED),
        ] {
            breaks(&format!("family without {rule:?}"), Family::without(rule), property);
        }
    }
}
