//! What the console sees of an installation, beside what administrators ask for.

use std::time::Duration;

use tegata_core::{BoxFuture, SinceBoot, Timestamp};
use tegata_token::revocation::Taken;
use tokio::sync::watch;

use crate::operations::Severity;

/// Sees how the node is, and who refuses what was taken back.
pub trait Lookout: Send + Sync {
    /// How the node is, and what it hears of the others. Answers at once, with what was found last.
    fn sighted(&self) -> Sighted;

    /// What was taken back last, the newest first. It is followed while somebody [looks](Self::look).
    fn taken_back(&self) -> Vec<TakenBack>;

    /// Somebody looks: what is taken back is followed for some seconds from now on. Answers when what was
    /// taken back until now is seen.
    fn look(&self) -> BoxFuture<'_, ()>;

    /// Follows what was taken back here since `began`. Answers a name for it.
    fn follow(&self, began: SinceBoot, taken: Taken) -> BoxFuture<'_, u64>;

    /// Who refuses what is followed under this name. `None`: this node does not know it any more.
    fn followed(&self, order: u64) -> Option<Confirmed>;

    /// Sign-ins and refusals of each of the last seconds, the oldest first.
    fn pulse(&self) -> Vec<Beat>;

    /// Changes whenever there is something new to see of revocations.
    fn news(&self) -> watch::Receiver<u64>;

    /// Changes whenever a session, or all that a person has, was ended, at this node or another.
    fn endings(&self) -> watch::Receiver<u64>;
}

/// A node, as it sees itself and the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sighted {
    /// What operators call it.
    pub node: String,
    /// Of which version its program is.
    pub version: &'static str,
    /// Since when it runs.
    pub since: Timestamp,
    /// What listens where.
    pub listeners: Vec<(&'static str, String)>,
    /// What was looked at, and what was found.
    pub checks: Vec<Checked>,
    /// What keeps calls from what does not answer, and how it stands.
    pub breakers: Vec<(String, &'static str)>,
    /// All who refuse what was taken back, this node first.
    pub points: Vec<Sight>,
    /// Sessions in use at this node.
    pub sessions: usize,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its name, in a word.
    pub name: &'static str,
    /// What follows from something being wrong. `None`: it is well.
    pub severity: Option<Severity>,
    /// What is wrong: for operators, without secrets.
    pub detail: String,
}

/// A node that refuses what was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// What operators call it.
    pub name: String,
    /// Whether it is the one that is asked.
    pub own: bool,
    /// Up to which position it knows the log.
    pub position: u64,
    /// For how long something could have been taken back without its knowing. Nodes know it of
    /// themselves alone.
    pub stale: Option<Duration>,
    /// How long ago it was heard. `None`: it was not.
    pub heard: Option<Duration>,
}

/// Something that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenBack {
    /// Its place in the log.
    pub position: u64,
    /// What kind of thing it is, in a word: `token`, `session`, `user` and others.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// Why, in a word.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// Who refuses it.
    pub confirmed: Confirmed,
}

/// Who refuses something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// Those who say so.
    pub by: Vec<String>,
    /// Those who have not said so yet.
    pub pending: Vec<String>,
    /// Those who have not, and serve nothing that they would have to know it for.
    pub fenced: Vec<String>,
    /// How long it took until the last of [`Self::by`] did, where that was seen.
    pub after: Option<Duration>,
    /// Until when those that are pending may accept it.
    pub until: Option<Timestamp>,
    /// Whether routes that are `available` are served without asking meanwhile.
    pub unchecked: bool,
}

impl Confirmed {
    /// Whether nobody may accept it any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.pending.is_empty()
    }
}

/// What happened in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beat {
    /// People who proved who they are.
    pub sign_ins: u64,
    /// Who was refused: at the listeners, and by the gateway.
    pub refusals: u64,
}
