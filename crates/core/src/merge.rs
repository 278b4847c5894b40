//! State that merges: what several nodes note about one thing, each by itself, and that comes to be the
//! same everywhere, in whatever order and however often they hear of each other (state-based CRDTs,
//! Shapiro et al., 2011).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{clock::Hybrid, id::NodeId};

/// State that merges: in any order, in any grouping, any number of times, to the same.
pub trait Merge {
    /// Takes over what `other` knows. Answers whether that was anything new.
    fn merge(&mut self, other: &Self) -> bool;
}

/// Something that becomes true, and stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flag(bool);

impl Flag {
    /// Makes it true.
    pub const fn raise(&mut self) {
        self.0 = true;
    }

    /// Whether it is true.
    #[must_use]
    pub const fn is_raised(self) -> bool {
        self.0
    }
}

impl Merge for Flag {
    fn merge(&mut self, other: &Self) -> bool {
        let news = other.0 && !self.0;
        self.0 |= other.0;
        news
    }
}

/// The greatest of all values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Greatest<T>(Option<T>);

impl<T: Ord + Clone> Greatest<T> {
    /// Takes a value into account.
    pub fn note(&mut self, value: T) {
        self.merge(&Self(Some(value)));
    }

    /// The greatest, if there was any.
    pub const fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T: Ord + Clone> Merge for Greatest<T> {
    fn merge(&mut self, other: &Self) -> bool {
        let news = other.0 > self.0;
        if news {
            self.0.clone_from(&other.0);
        }
        news
    }
}

/// A count to which each process adds for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(BTreeMap<NodeId, u64>);

impl Count {
    /// Adds. `node` is a process: one that is started again counts as another, because it does not know
    /// how far it had come.
    pub fn add(&mut self, node: NodeId, many: u64) {
        let own = self.0.entry(node).or_default();
        *own = own.saturating_add(many);
    }

    /// What all have added.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, own| sum.saturating_add(*own))
    }

    /// By how many processes.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.0.len()
    }
}

impl Merge for Count {
    fn merge(&mut self, other: &Self) -> bool {
        let mut news = false;
        for (node, theirs) in &other.0 {
            let known = self.0.entry(*node).or_default();
            news |= *theirs > *known;
            *known = (*known).max(*theirs);
        }
        news
    }
}

/// A value of which the last to be written stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Register<T>(Option<(Hybrid, NodeId, T)>);

impl<T: Ord + Clone> Register<T> {
    /// Writes it. `at` is a reading of the writer's hybrid clock, so that it is later than all that the
    /// writer had heard of.
    pub fn write(&mut self, at: Hybrid, by: NodeId, value: T) {
        self.merge(&Self(Some((at, by, value))));
    }

    /// What was written last.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(_, _, value)| value)
    }

    /// When it was written.
    #[must_use]
    pub fn at(&self) -> Option<Hybrid> {
        self.0.as_ref().map(|(at, ..)| *at)
    }
}

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Ord + Clone> Merge for Register<T> {
    fn merge(&mut self, other: &Self) -> bool {
        // Of two at one reading the greater node's stands, and of one node's, which no honest node
        // writes, the greater value: any order would do, as long as all have the same.
        let news = other.0 > self.0;
        if news {
            self.0.clone_from(&other.0);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One of each.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    struct All(Flag, Greatest<u64>, Count, Register<u64>);

    impl Merge for All {
        fn merge(&mut self, other: &Self) -> bool {
            let news = [self.0.merge(&other.0), self.1.merge(&other.1), self.2.merge(&other.2)];
            self.3.merge(&other.3) || news.contains(&true)
        }
    }

    fn node(number: u64) -> NodeId {
        NodeId::generate(&crate::SeededEntropy::new(number))
    }

    /// What one of three nodes does: it writes, or hears another's state.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Raise,
        Note(u64),
        Add(u64),
        Write(u64, u64),
        Hear(usize),
    }

    fn step() -> impl Strategy<Value = (usize, Step)> {
        let one = prop_oneof![
            1 => Just(Step::Raise),
            3 => (0..50_u64).prop_map(Step::Note),
            3 => (1..9_u64).prop_map(Step::Add),
            3 => (0..20_u64, 0..9_u64).prop_map(|(at, value)| Step::Write(at, value)),
            4 => (0..3_usize).prop_map(Step::Hear),
        ];
        (0..3_usize, one)
    }

    fn merged(one: &All, other: &All) -> All {
        let mut both = one.clone();
        both.merge(other);
        both
    }

    /// Three nodes after these steps, and how much was added in all.
    fn played(steps: &[(usize, Step)]) -> ([All; 3], u64) {
        let (mut all, mut added) = <([All; 3], u64)>::default();
        for (at, step) in steps {
            let id = node(*at as u64);
            let heard = match step {
                Step::Hear(other) => Some(all[*other].clone()),
                _ => None,
            };
            let own = &mut all[*at];
            match step {
                Step::Raise => own.0.raise(),
                Step::Note(value) => own.1.note(*value),
                Step::Add(many) => {
                    own.2.add(id, *many);
                    added += many;
                }
                Step::Write(when, value) => own.3.write(Hybrid::from_bits(*when), id, *value),
                Step::Hear(_) => {
                    own.merge(&heard.unwrap());
                }
            }
        }
        (all, added)
    }

    proptest! {
        #[test]
        fn order_grouping_and_repetition_do_not_matter(steps in prop::collection::vec(step(), 0..60)) {
            let ([a, b, c], added) = played(&steps);
            let all = merged(&merged(&a, &b), &c);
            prop_assert_eq!(&all, &merged(&a, &merged(&b, &c)));
            prop_assert_eq!(&all, &merged(&merged(&c, &a), &b));
            prop_assert_eq!(&all, &merged(&all, &a));
            prop_assert_eq!(&merged(&a, &a), &a);
            // Nothing is counted twice, and nothing is lost.
            prop_assert_eq!(all.2.total(), added);
            prop_assert_eq!(all.0.is_raised(), steps.iter().any(|(_, it)| matches!(it, Step::Raise)));
        }

        #[test]
        fn it_is_news_if_and_only_if_it_changes_something(steps in prop::collection::vec(step(), 0..60)) {
            let ([a, b, _], _) = played(&steps);
            let mut both = a.clone();
            let news = both.merge(&b);
            prop_assert_eq!(news, both != a);
            prop_assert!(!both.merge(&b) && !both.merge(&a));
        }
    }
}
