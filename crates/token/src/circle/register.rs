//! The register: who is in the circle, as the store has it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tegata_core::{
    Expect, Kind, Lifetime, NodeId, Stored,
    port::{Body, Change},
};

/// Where the register is kept: one record.
pub static CIRCLE: Kind =
    Kind { name: "circle", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// Where each process that is in the circle has a record of its own, as long as it is in it. What it
/// takes back requires that record, so that the store itself lets nobody else.
pub static CIRCLE_PLACES: Kind =
    Kind { name: "circle_place", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// The key of the one record.
pub(super) const KEY: &str = "this";

/// Who is in the circle, and who wants to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Register {
    key: String,
    /// The name of the circle as it is: another, by chance, whenever it changes, so that a store that
    /// was set back does not bring one back that meant others.
    pub(super) epoch: u64,
    members: Vec<Member>,
}

/// A process that is in the circle, or wants to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    /// What no two processes use at the same time: the name of a data directory.
    place: String,
    /// What operators call it.
    pub(super) name: String,
    /// The process.
    pub(super) run: NodeId,
    /// Whether it is in the circle.
    pub(super) admitted: bool,
    /// Whether the others hear it.
    pub(super) speaks: bool,
    /// Raised again and again while it lives, from a number that another life does not begin with.
    pub(super) renewed: u64,
    /// Which kinds of targets it [knows](crate::revocation::KNOWS). A version that does not say, says it of
    /// nobody when it writes the register; who is in it says so again.
    #[serde(default)]
    pub(super) knows: u32,
}

/// Who looks at the register.
#[derive(Debug, Clone)]
pub(super) struct Me {
    pub(super) place: String,
    pub(super) name: String,
    pub(super) run: NodeId,
    pub(super) speaks: bool,
    pub(super) knows: u32,
}

/// What a process may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// In the circle.
    Member,
    /// Not yet.
    Candidate,
    /// Not in the register.
    Nowhere,
    /// Another process has come in its place.
    Replaced,
}

impl Default for Register {
    fn default() -> Self {
        Self { key: KEY.to_owned(), epoch: 0, members: Vec::new() }
    }
}

impl Stored for Register {
    const KIND: &'static Kind = &CIRCLE;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

impl Register {
    /// What a process is.
    pub(super) fn listed(&self, me: &Me) -> Listed {
        match self.members.iter().find(|member| member.place == me.place) {
            Some(member) if member.run != me.run => Listed::Replaced,
            Some(member) if member.admitted => Listed::Member,
            Some(_) => Listed::Candidate,
            None => Listed::Nowhere,
        }
    }

    /// All processes that are in the register.
    pub(super) fn all(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// The processes that are in the circle.
    pub(super) fn circle(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.admitted)
    }

    /// Whether nobody can believe the circle, because it is empty, or one of it is not heard.
    fn is_silent(&self) -> bool {
        let mut circle = self.circle().peekable();
        circle.peek().is_none() || circle.any(|member| !member.speaks)
    }

    /// The register with `me` in it. What ran in its place before has ended, so its place in the
    /// circle is free. `renewed` is what the signs of life of this process begin with.
    pub(super) fn entered(&self, me: &Me, renewed: u64) -> Self {
        let mut next = self.clone();
        match next.members.iter_mut().find(|member| member.place == me.place) {
            Some(member) if member.run == me.run => member.knows = me.knows,
            Some(member) => {
                *member = Member { admitted: member.admitted, ..Member::new(me, renewed) };
            }
            None => next.members.push(Member::new(me, renewed)),
        }
        next
    }

    /// The register without those whose lease is over.
    pub(super) fn without(&self, lapsed: impl Fn(&Member) -> bool) -> Self {
        let mut next = self.clone();
        next.members.retain(|member| !lapsed(member));
        next
    }

    /// The register with those candidates in the circle that are `there`, if `me` may admit them:
    /// whoever is in the circle may, since what it says from then on tells of them. Where nobody can
    /// be believed that does not know of them, a candidate may itself.
    pub(super) fn admitted(&self, me: &Me, there: impl Fn(&Member) -> bool) -> Self {
        let mut next = self.clone();
        let listed = self.listed(me);
        if listed == Listed::Member || (listed == Listed::Candidate && self.is_silent()) {
            for member in next.members.iter_mut().filter(|it| it.run == me.run || there(it)) {
                member.admitted = true;
            }
        }
        next
    }

    /// The register without `me`.
    pub(super) fn left(&self, me: &Me) -> Self {
        self.without(|member| member.place == me.place && member.run == me.run)
    }

    /// The register with a sign of life of `me`.
    pub(super) fn renewed(&self, me: &Me) -> Self {
        let mut next = self.clone();
        for member in next.members.iter_mut().filter(|member| member.run == me.run) {
            member.renewed = member.renewed.wrapping_add(1);
        }
        next
    }

    /// The changes that make the register be this one, and everybody in its circle have a record.
    pub(super) fn changes_from(&self, before: &Self, expect: Expect) -> Vec<Change> {
        let of = |register: &Self| register.circle().map(|it| it.run).collect::<BTreeSet<_>>();
        let (now, then) = (of(self), of(before));
        let added = now.difference(&then).map(|run| Change::Put {
            kind: &CIRCLE_PLACES,
            key: run.to_string(),
            expect: Expect::Absent,
            body: Body::Plain(Vec::new()),
            indexes: Vec::new(),
        });
        let removed = then.difference(&now).map(|run| Change::Remove {
            kind: &CIRCLE_PLACES,
            key: run.to_string(),
            expect: Expect::Any,
        });
        [self.put(expect)].into_iter().chain(added).chain(removed).collect()
    }

    /// The register, with another name where the circle is another than `before`.
    pub(super) fn named_after(mut self, before: &Self, fresh: u64) -> Self {
        let of = |register: &Self| register.circle().map(|it| it.run).collect::<BTreeSet<_>>();
        self.epoch = if of(&self) == of(before) { before.epoch } else { fresh };
        self
    }
}

/// That the register is as it was read.
pub(super) fn unchanged(expect: Expect) -> Change {
    Change::Require { kind: &CIRCLE, key: KEY.to_owned(), expect }
}

/// That a process is in the circle when something is committed.
pub(super) fn requires(run: NodeId) -> Change {
    // Written once, and never again.
    let expect = Expect::Version(1);
    Change::Require { kind: &CIRCLE_PLACES, key: run.to_string(), expect }
}

impl Member {
    fn new(me: &Me, renewed: u64) -> Self {
        let Me { place, name, run, speaks, knows } = me.clone();
        Self { place, name, run, admitted: false, speaks, renewed, knows }
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::repository;

    use super::*;

    fn me(place: &str, run: u64) -> Me {
        let (place, name) = (place.to_owned(), format!("node {run}"));
        Me { place, name, run: NodeId(run), speaks: true, knows: 1 }
    }

    /// The register after `me` has entered.
    fn entered(register: &Register, me: &Me) -> Register {
        register.entered(me, 7).named_after(register, me.run.0)
    }

    /// The register after `me` has admitted whom it may.
    fn admitted(register: &Register, me: &Me) -> Register {
        register.admitted(me, |_| true).named_after(register, 100 + me.run.0)
    }

    /// A register whose circle is so.
    fn of(members: &[&Me]) -> Register {
        let mut register = Register::default();
        for member in members {
            register = admitted(&entered(&register, member), members[0]);
        }
        register
    }

    #[test]
    fn who_is_alone_admits_itself_and_nobody_else_does() {
        let (first, second) = (me("a", 1), me("b", 2));
        let register = entered(&Register::default(), &first);
        assert_eq!(register.listed(&first), Listed::Candidate);
        let register = admitted(&register, &first);
        assert_eq!((register.listed(&first), register.epoch), (Listed::Member, 101));
        // A candidate is no change of the circle, and does not admit itself.
        let register = entered(&register, &second);
        assert_eq!(register.epoch, 101);
        assert_eq!(admitted(&register, &second), register);
        // Nobody admits who is not there any more.
        assert_eq!(register.admitted(&first, |_| false), register);
        let register = register.admitted(&first, |it| it.run == second.run);
        assert_eq!(register.listed(&second), Listed::Member);
    }

    #[test]
    fn whoever_is_not_in_the_register_admits_nobody() {
        let (first, second, stranger) = (me("a", 1), me("b", 2), me("c", 3));
        let register = entered(&entered(&Register::default(), &first), &second);
        assert_eq!(admitted(&register, &stranger), register);
    }

    #[test]
    fn who_comes_again_to_its_place_stands_where_it_stood() {
        let (first, second) = (me("a", 1), me("b", 2));
        let register = of(&[&first, &second]);
        let again = me("b", 22);
        let register = entered(&register, &again);
        assert_eq!((register.listed(&again), register.epoch), (Listed::Member, 22));
        assert_eq!(register.listed(&second), Listed::Replaced);
        // And who was a candidate is one.
        let register = entered(&entered(&of(&[&first]), &second), &again);
        assert_eq!((register.listed(&again), register.epoch), (Listed::Candidate, 101));
    }

    #[test]
    fn where_one_of_the_circle_is_not_heard_a_candidate_admits_itself() {
        let silent = Me { speaks: false, ..me("a", 1) };
        let second = me("b", 2);
        let register = admitted(&entered(&of(&[&silent]), &second), &second);
        assert_eq!(register.listed(&second), Listed::Member);
    }

    #[test]
    fn who_leaves_or_lapses_is_out_and_that_has_another_name() {
        let (first, second) = (me("a", 1), me("b", 2));
        let register = of(&[&first, &second]);
        let left = register.left(&second).named_after(&register, 9);
        assert_eq!((left.listed(&second), left.epoch), (Listed::Nowhere, 9));
        assert_eq!(left.left(&second), left);
        let lapsed = register.without(|member| member.run == NodeId(1)).named_after(&register, 9);
        assert_eq!((lapsed.listed(&first), lapsed.epoch), (Listed::Nowhere, 9));
        // What runs in its place by now stays.
        let again = me("b", 22);
        let register = entered(&register, &again);
        assert_eq!(register.left(&second), register);
    }

    #[test]
    fn what_an_older_version_writes_says_of_nobody_what_it_knows_until_they_say_so_again() {
        #[derive(Serialize, Deserialize)]
        struct Older {
            key: String,
            epoch: u64,
            members: Vec<OlderMember>,
        }
        #[derive(Serialize, Deserialize)]
        struct OlderMember {
            place: String,
            name: String,
            run: NodeId,
            admitted: bool,
            speaks: bool,
            renewed: u64,
        }
        let first = me("a", 1);
        let register = of(&[&first]);
        let knows = |register: &Register| register.all().map(|it| it.knows).collect::<Vec<_>>();
        assert_eq!(knows(&register), [1]);
        // It reads it, and writes it.
        let bytes = repository::encode(1, &register);
        let read: Older = repository::decode_bytes(1, &bytes).unwrap();
        let bytes = repository::encode(1, &read);
        let stripped: Register = repository::decode_bytes(1, &bytes).unwrap();
        assert_eq!(knows(&stripped), [0]);
        let again = entered(&stripped, &first);
        assert_eq!((knows(&again), again.epoch), (vec![1], register.epoch));
    }

    #[test]
    fn a_sign_of_life_changes_no_circle() {
        let first = me("a", 1);
        let register = of(&[&first]);
        let renewed = register.renewed(&first).named_after(&register, 9);
        assert_ne!(renewed, register);
        assert_eq!(renewed.epoch, register.epoch);
    }
}
