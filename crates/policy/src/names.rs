//! Roles and scopes as bits. A policy set numbers the names that its rules mention; the names that
//! a caller holds are looked up once, and each decision after that compares words.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use cedar_policy::{EntityTypeName, EntityUid};

use crate::ask::uid;

/// The numbers of the names that a policy set mentions.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    roles: Numbering,
    scopes: Numbering,
}

#[derive(Debug, Default)]
struct Numbering(HashMap<Box<str>, usize>);

/// A set of numbered names. Sets of one numbering have one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits(Box<[u64]>);

/// The roles and scopes of a caller, as a policy set recognised them. Kept with the verified token;
/// a set that did not make it looks the names up again.
#[derive(Debug, Clone)]
pub struct Held {
    vocabulary: Arc<Vocabulary>,
    pub(crate) roles: Bits,
    pub(crate) scopes: Bits,
    names: Arc<Names>,
}

/// Names of a caller as they were given.
#[derive(Debug)]
struct Names {
    roles: Vec<Box<str>>,
    scopes: Vec<Box<str>>,
    /// The roles as policies see them, once one was asked.
    uids: OnceLock<Box<[EntityUid]>>,
}

impl Vocabulary {
    /// Numbers every name; each keeps its first number.
    pub(crate) fn of<'a>(
        roles: impl Iterator<Item = &'a str>,
        scopes: impl Iterator<Item = &'a str>,
    ) -> Self {
        Self { roles: Numbering::of(roles), scopes: Numbering::of(scopes) }
    }

    pub(crate) fn roles<'a>(&self, names: impl Iterator<Item = &'a str>) -> Bits {
        self.roles.bits(names)
    }

    pub(crate) fn scopes<'a>(&self, names: impl Iterator<Item = &'a str>) -> Bits {
        self.scopes.bits(names)
    }

    /// The set of these roles; `None` where there are none, which asks for nothing.
    pub(crate) fn roles_asked(&self, names: &[String]) -> Option<Bits> {
        (!names.is_empty()).then(|| self.roles(names.iter().map(String::as_str)))
    }

    /// The set of these scopes; `None` where there are none, which asks for nothing.
    pub(crate) fn scopes_asked(&self, names: &[String]) -> Option<Bits> {
        (!names.is_empty()).then(|| self.scopes(names.iter().map(String::as_str)))
    }
}

impl Numbering {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut numbers = HashMap::new();
        for name in names {
            let next = numbers.len();
            numbers.entry(name.into()).or_insert(next);
        }
        Self(numbers)
    }

    /// The set of those names that have a number. A name that no rule mentions decides nothing.
    fn bits<'a>(&self, names: impl Iterator<Item = &'a str>) -> Bits {
        let mut words = vec![0_u64; self.0.len().div_ceil(64)];
        for number in names.filter_map(|name| self.0.get(name)) {
            if let Some(word) = words.get_mut(number / 64) {
                *word |= 1 << (number % 64);
            }
        }
        Bits(words.into_boxed_slice())
    }
}

impl Bits {
    pub(crate) fn intersects(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(left, right)| left & right != 0)
    }

    pub(crate) fn contains_all(&self, needed: &Self) -> bool {
        self.0.iter().zip(&needed.0).all(|(held, needed)| needed & !held == 0)
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(left, right)| left | right).collect())
    }
}

impl Held {
    pub(crate) fn recognise<'a>(
        vocabulary: &Arc<Vocabulary>,
        roles: impl IntoIterator<Item = &'a str>,
        scopes: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let names = Names {
            roles: roles.into_iter().map(Box::from).collect(),
            scopes: scopes.into_iter().map(Box::from).collect(),
            uids: OnceLock::new(),
        };
        Self::numbered(vocabulary, Arc::new(names))
    }

    /// The same caller in the numbers of `vocabulary`; `None` where these are its numbers already.
    pub(crate) fn translated(&self, vocabulary: &Arc<Vocabulary>) -> Option<Self> {
        let same = Arc::ptr_eq(&self.vocabulary, vocabulary);
        (!same).then(|| Self::numbered(vocabulary, Arc::clone(&self.names)))
    }

    fn numbered(vocabulary: &Arc<Vocabulary>, names: Arc<Names>) -> Self {
        Self {
            vocabulary: Arc::clone(vocabulary),
            roles: vocabulary.roles(names.roles.iter().map(AsRef::as_ref)),
            scopes: vocabulary.scopes(names.scopes.iter().map(AsRef::as_ref)),
            names,
        }
    }

    /// The roles as things that policies know. They are of one type in every bundle.
    pub(crate) fn role_uids(&self, role: &EntityTypeName) -> &[EntityUid] {
        self.names.uids.get_or_init(|| self.roles().map(|name| uid(role, name)).collect())
    }

    /// The roles, as they were given.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.names.roles.iter().map(AsRef::as_ref)
    }

    /// The scopes, as they were given.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.names.scopes.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_sets_of_more_names_than_a_word_has_bits() {
        let names: Vec<String> = (0..200).map(|n| format!("r{n}")).collect();
        let all = || names.iter().map(String::as_str);
        let vocabulary = Vocabulary::of(all(), std::iter::empty());
        for (index, name) in names.iter().enumerate() {
            let one = vocabulary.roles(std::iter::once(name.as_str()));
            assert!(one.intersects(&vocabulary.roles(all())));
            let others = all().enumerate().filter(|(n, _)| *n != index).map(|(_, name)| name);
            let others = vocabulary.roles(others);
            assert!(!one.intersects(&others) && !others.contains_all(&one));
            assert!(others.union(&one).contains_all(&vocabulary.roles(all())));
        }
    }

    #[test]
    fn a_name_without_a_number_is_in_no_set() {
        let vocabulary = Vocabulary::of(["a"].into_iter(), std::iter::empty());
        let nothing = vocabulary.roles(["b", "", "a "].into_iter());
        assert!(!nothing.intersects(&vocabulary.roles(["a"].into_iter())));
    }
}
