//! Where to look for the policies that can match a request, by what their heads say of principal, action and
//! resource.
//!
//! A policy stands under one key for its resource, one for its principal, and one for each action that its
//! head names. A request is looked up under every key that it can match: so no policy is missed, and
//! those that are found for nothing are turned down by Cedar, which is asked about all of them.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, Policy, PolicySet, PrincipalConstraint,
    ResourceConstraint,
};

use super::{schema::Words, uses::Uses};
use crate::{method::METHODS, request::PrincipalKind};

/// Things under keys.
#[derive(Debug)]
pub(crate) struct Keyed<T> {
    any: Option<T>,
    types: HashMap<EntityTypeName, T>,
    uids: HashMap<EntityUid, T>,
}

/// Policies by their principals and actions.
pub(crate) type ByPrincipal = Keyed<Keyed<Leaf>>;

/// All policies that say the same of resources.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    policies: ByPrincipal,
    pub(crate) uses: Uses,
    pub(crate) touched: Touched,
}

/// Policies that say the same of all three.
#[derive(Debug, Default)]
pub(crate) struct Leaf {
    pub(crate) set: PolicySet,
    pub(crate) uses: Uses,
}

/// Which callers of services, with which methods, the policies of a bucket can match: asked before
/// anything is made for Cedar. Methods are bits ([`crate::method::place`]).
#[derive(Debug, Default)]
pub(crate) struct Touched {
    kinds: [u16; 4],
    ids: [HashMap<Box<str>, u16>; 4],
    roles: HashMap<Box<str>, u16>,
}

/// The policies of a bundle, by their resources.
#[derive(Debug, Default)]
pub(crate) struct Index(Keyed<Arc<Bucket>>);

/// A policy, and what it uses.
pub(super) struct Entry {
    pub(super) policy: Policy,
    pub(super) uses: Uses,
}

enum Key {
    Any,
    Type(EntityTypeName),
    Uid(EntityUid),
}

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self { any: None, types: HashMap::new(), uids: HashMap::new() }
    }
}

impl<T> Keyed<T> {
    /// What stands under the keys that match something of this type which is one of `uids`, or a member.
    pub(crate) fn matching<'k, 'u>(
        &'k self,
        of: &EntityTypeName,
        uids: impl IntoIterator<Item = &'u EntityUid>,
    ) -> impl Iterator<Item = &'k T> {
        let uids = uids.into_iter().filter(|_| !self.uids.is_empty());
        let typed = if self.types.is_empty() { None } else { self.types.get(of) };
        self.any.iter().chain(typed).chain(uids.filter_map(|uid| self.uids.get(uid)))
    }

    /// Everything, under whatever key.
    fn all(&self) -> impl Iterator<Item = &T> {
        self.any.iter().chain(self.types.values()).chain(self.uids.values())
    }

    fn at(&mut self, key: Key) -> &mut T
    where
        T: Default,
    {
        match key {
            Key::Any => self.any.get_or_insert_default(),
            Key::Type(name) => self.types.entry(name).or_default(),
            Key::Uid(uid) => self.uids.entry(uid).or_default(),
        }
    }

    fn map<U>(self, to: impl Fn(T) -> U) -> Keyed<U> {
        fn all<K: Eq + Hash, T, U>(from: HashMap<K, T>, to: impl Fn(T) -> U) -> HashMap<K, U> {
            from.into_iter().map(|(key, value)| (key, to(value))).collect()
        }
        let (types, uids) = (all(self.types, &to), all(self.uids, &to));
        Keyed { any: self.any.map(&to), types, uids }
    }
}

impl Index {
    pub(super) fn of<'e>(
        entries: impl IntoIterator<Item = &'e Entry>,
        words: &Words,
    ) -> Result<Self, String> {
        let mut buckets: Keyed<Bucket> = Keyed::default();
        for Entry { policy, uses } in entries {
            let uses = *uses;
            let resource = match policy.resource_constraint() {
                ResourceConstraint::Any => Key::Any,
                ResourceConstraint::Is(name) => Key::Type(name),
                ResourceConstraint::In(uid)
                | ResourceConstraint::Eq(uid)
                | ResourceConstraint::IsIn(_, uid) => Key::Uid(uid),
            };
            let actions = match policy.action_constraint() {
                ActionConstraint::Any => vec![Key::Any],
                ActionConstraint::Eq(uid) => vec![Key::Uid(uid)],
                ActionConstraint::In(uids) => {
                    let once: HashSet<_> = uids.into_iter().collect();
                    once.into_iter().map(Key::Uid).collect()
                }
            };
            let bucket = buckets.at(resource);
            bucket.uses = bucket.uses | uses;
            bucket.touched.take(policy, &actions, words);
            for action in actions {
                let principal = match policy.principal_constraint() {
                    PrincipalConstraint::Any => Key::Any,
                    PrincipalConstraint::Is(name) => Key::Type(name),
                    PrincipalConstraint::In(uid)
                    | PrincipalConstraint::Eq(uid)
                    | PrincipalConstraint::IsIn(_, uid) => Key::Uid(uid),
                };
                let leaf = bucket.policies.at(principal).at(action);
                leaf.uses = leaf.uses | uses;
                leaf.set.add(policy.clone()).map_err(|error| error.to_string())?;
            }
        }
        Ok(Self(buckets.map(Arc::new)))
    }

    /// The buckets of a resource: of its type, of itself, and of what it is a member of.
    pub(crate) fn buckets<'k, 'u>(
        &'k self,
        of: &EntityTypeName,
        uids: impl IntoIterator<Item = &'u EntityUid>,
    ) -> impl Iterator<Item = &'k Arc<Bucket>> {
        self.0.matching(of, uids)
    }

    /// Whether a policy asks for resources that are in something of a type.
    pub(crate) fn has_within(&self, of: &EntityTypeName) -> bool {
        self.0.uids.keys().any(|uid| uid.type_name() == of)
    }

    /// The bucket of whatever is in one thing.
    pub(crate) fn within(&self, uid: &EntityUid) -> Option<&Arc<Bucket>> {
        self.0.uids.get(uid)
    }
}

impl Bucket {
    /// All policies; one may be there several times.
    pub(crate) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.all().flat_map(Keyed::all).flat_map(|leaf| leaf.set.policies())
    }

    /// Adds the leaves of a principal and an action, each named with all of which it is a member.
    pub(crate) fn leaves<'k>(
        &'k self,
        of: &EntityTypeName,
        (principals, actions): (&[&EntityUid], &[&EntityUid]),
        leaves: &mut Vec<&'k Leaf>,
    ) {
        for by_action in self.policies.matching(of, principals.iter().copied()) {
            leaves.extend(&by_action.any);
            if !by_action.uids.is_empty() {
                leaves.extend(actions.iter().filter_map(|uid| by_action.uids.get(*uid)));
            }
        }
    }
}

impl Touched {
    /// Whether a caller of this kind and id, with one of these roles, is matched with a method.
    pub(crate) fn has<'n>(
        &self,
        (kind, id): (PrincipalKind, &str),
        roles: impl IntoIterator<Item = &'n str>,
        method: u16,
    ) -> bool {
        let of = |map: &HashMap<Box<str>, u16>, name: &str| {
            !map.is_empty() && map.get(name).is_some_and(|methods| methods & method != 0)
        };
        let place = kind as usize;
        self.kinds.get(place).is_some_and(|methods| methods & method != 0)
            || self.ids.get(place).is_some_and(|ids| of(ids, id))
            || (!self.roles.is_empty() && roles.into_iter().any(|role| of(&self.roles, role)))
    }

    /// Whether no caller of a service is matched at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.kinds == [0; 4] && self.roles.is_empty() && self.ids.iter().all(HashMap::is_empty)
    }

    fn take(&mut self, policy: &Policy, actions: &[Key], words: &Words) {
        let methods = actions.iter().fold(0, |all, key| all | methods_of(key, words));
        if methods == 0 {
            return;
        }
        let of = |name: &EntityTypeName| words.own.kind(name).map(|kind| kind as usize);
        match policy.principal_constraint() {
            PrincipalConstraint::Any => self.kinds.iter_mut().for_each(|all| *all |= methods),
            PrincipalConstraint::Is(name) => {
                if let Some(all) = of(&name).and_then(|place| self.kinds.get_mut(place)) {
                    *all |= methods;
                }
            }
            PrincipalConstraint::In(uid)
            | PrincipalConstraint::Eq(uid)
            | PrincipalConstraint::IsIn(_, uid) => {
                let id = uid.id().unescaped().into();
                if *uid.type_name() == words.own.role {
                    *self.roles.entry(id).or_default() |= methods;
                } else if let Some(ids) = of(uid.type_name()).and_then(|it| self.ids.get_mut(it)) {
                    *ids.entry(id).or_default() |= methods;
                }
            }
        }
    }
}

/// The methods that an action of a head stands for: itself, or those in a group.
fn methods_of(key: &Key, words: &Words) -> u16 {
    let matching = (0..METHODS.len()).filter(|place| match key {
        Key::Any => true,
        Key::Type(_) => false,
        Key::Uid(uid) => {
            words.method(*place).is_some_and(|act| act.uid == *uid || act.groups.contains(uid))
        }
    });
    matching.fold(0, |all, place| all | 1 << place)
}
