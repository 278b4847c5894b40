//! The register: who is in the circle, as the store has it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tegata_core::{Kind, Lifetime, NodeId, Stored};

/// Where the register is kept: one record.
pub static CIRCLE: Kind =
    Kind { name: "circle", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// The key of the one record.
pub(super) const KEY: &str = "this";

/// Who is in the circle, and who wants to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Register {
    key: String,
    /// Raised whenever the circle changes.
    pub(super) epoch: u64,
    members: Vec<Member>,
}

/// A process that is in the circle, or wants to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    /// What no two processes use at the same time: the name of a data directory.
    place: String,
    /// The process.
    pub(super) run: NodeId,
    /// Whether it is in the circle.
    admitted: bool,
    /// Whether the others hear it.
    speaks: bool,
    /// Raised again and again while it lives.
    pub(super) renewed: u64,
}

/// Who looks at the register.
#[derive(Debug, Clone)]
pub(super) struct Me {
    pub(super) place: String,
    pub(super) run: NodeId,
    pub(super) speaks: bool,
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
    pub(super) fn circle(&self) -> impl Iterator<Item = NodeId> {
        self.members.iter().filter(|member| member.admitted).map(|member| member.run)
    }

    /// Whether nobody can believe the circle, because it is empty, or one of it is not heard.
    fn is_silent(&self) -> bool {
        let mut admitted = self.members.iter().filter(|member| member.admitted).peekable();
        admitted.peek().is_none() || admitted.any(|member| !member.speaks)
    }

    /// The register with `me` in it. What ran in its place before has ended, so its place in the
    /// circle is free.
    pub(super) fn entered(&self, me: &Me) -> Self {
        let mut next = self.clone();
        match next.members.iter_mut().find(|member| member.place == me.place) {
            Some(member) if member.run == me.run => {}
            Some(member) => {
                *member = Member { admitted: member.admitted, ..Member::new(me) };
            }
            None => next.members.push(Member::new(me)),
        }
        next.counted_after(self)
    }

    /// The register without those whose lease is over.
    pub(super) fn without(&self, lapsed: impl Fn(&Member) -> bool) -> Self {
        let mut next = self.clone();
        next.members.retain(|member| !lapsed(member));
        next.counted_after(self)
    }

    /// The register with all candidates in the circle, if `me` may admit them: whoever is in the
    /// circle may, since what it says from then on tells of them. Where nobody can be believed that
    /// does not know of them, a candidate may itself.
    pub(super) fn admitted(&self, me: &Me) -> Self {
        let mut next = self.clone();
        let listed = self.listed(me);
        if listed == Listed::Member || (listed == Listed::Candidate && self.is_silent()) {
            next.members.iter_mut().for_each(|member| member.admitted = true);
        }
        next.counted_after(self)
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

    /// Counts the epoch up where the circle is another than before.
    fn counted_after(mut self, before: &Self) -> Self {
        let of = |register: &Self| register.circle().collect::<BTreeSet<_>>();
        if of(&self) != of(before) {
            self.epoch = before.epoch.saturating_add(1);
        }
        self
    }
}

impl Member {
    fn new(me: &Me) -> Self {
        let Me { place, run, speaks } = me.clone();
        Self { place, run, admitted: false, speaks, renewed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(place: &str, run: u64) -> Me {
        Me { place: place.to_owned(), run: NodeId(run), speaks: true }
    }

    /// A register whose circle is so.
    fn of(members: &[&Me]) -> Register {
        let mut register = Register::default();
        for (nth, member) in members.iter().enumerate() {
            let by = if nth == 0 { member } else { members[0] };
            register = register.entered(member).admitted(by);
        }
        register
    }

    #[test]
    fn who_is_alone_admits_itself_and_nobody_else_does() {
        let (first, second) = (me("a", 1), me("b", 2));
        let register = Register::default().entered(&first);
        assert_eq!(register.listed(&first), Listed::Candidate);
        let register = register.admitted(&first);
        assert_eq!((register.listed(&first), register.epoch), (Listed::Member, 1));
        // A candidate is no change of the circle, and does not admit itself.
        let register = register.entered(&second);
        assert_eq!(register.epoch, 1);
        assert_eq!(register.admitted(&second), register);
        let register = register.admitted(&first);
        assert_eq!((register.listed(&second), register.epoch), (Listed::Member, 2));
    }

    #[test]
    fn whoever_is_not_in_the_register_admits_nobody() {
        let (first, second, stranger) = (me("a", 1), me("b", 2), me("c", 3));
        let register = Register::default().entered(&first).entered(&second);
        assert_eq!(register.admitted(&stranger), register);
    }

    #[test]
    fn who_comes_again_to_its_place_stands_where_it_stood() {
        let (first, second) = (me("a", 1), me("b", 2));
        let register = of(&[&first, &second]);
        let again = me("b", 22);
        let register = register.entered(&again);
        assert_eq!((register.listed(&again), register.epoch), (Listed::Member, 3));
        assert_eq!(register.listed(&second), Listed::Replaced);
        // And who was a candidate is one.
        let register = of(&[&first]).entered(&second).entered(&again);
        assert_eq!((register.listed(&again), register.epoch), (Listed::Candidate, 1));
    }

    #[test]
    fn where_one_of_the_circle_is_not_heard_a_candidate_admits_itself() {
        let silent = Me { speaks: false, ..me("a", 1) };
        let second = me("b", 2);
        let register = of(&[&silent]).entered(&second).admitted(&second);
        assert_eq!(register.listed(&second), Listed::Member);
    }

    #[test]
    fn who_leaves_or_lapses_is_out_and_that_counts() {
        let (first, second) = (me("a", 1), me("b", 2));
        let register = of(&[&first, &second]);
        let left = register.left(&second);
        assert_eq!((left.listed(&second), left.epoch), (Listed::Nowhere, 3));
        assert_eq!(left.left(&second), left);
        let lapsed = register.without(|member| member.run == NodeId(1));
        assert_eq!((lapsed.listed(&first), lapsed.epoch), (Listed::Nowhere, 3));
        // What runs in its place by now stays.
        let again = me("b", 22);
        let register = register.entered(&again);
        assert_eq!(register.left(&second), register);
    }

    #[test]
    fn a_sign_of_life_changes_no_circle() {
        let first = me("a", 1);
        let register = of(&[&first]);
        let renewed = register.renewed(&first);
        assert_ne!(renewed, register);
        assert_eq!(renewed.epoch, register.epoch);
    }
}
