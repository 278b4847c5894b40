//! `Members`: who is in the cluster, as this node sees it.

use std::net::SocketAddr;

use super::BoxFuture;
use crate::{clock::Timestamp, id::NodeId};

/// What a node tells the others about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The version of the program that it runs. At most [`Facts::LONGEST`] bytes count.
    pub version: String,
    /// The position of the revocation log that it has applied.
    pub revocations: u64,
    /// Whether it is about to end, and takes nothing new.
    pub draining: bool,
}

impl Facts {
    /// How many bytes of a text are told.
    pub const LONGEST: usize = 64;
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which process it is; another one after a restart.
    pub id: NodeId,
    /// What operators call it.
    pub name: String,
    /// Where it hears the others. `None`: nowhere.
    pub address: Option<SocketAddr>,
    /// When it started, on its own clock.
    pub since: Timestamp,
    /// What is to be thought of it.
    pub standing: Standing,
    /// What it said about itself last.
    pub facts: Facts,
}

/// What is to be thought of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is heard as often as usual, from itself or through others.
    Alive,
    /// It is not. It may have ended, be cut off from us, or be slow: from here all look the same.
    Suspected {
        /// Since when, on this node's clock.
        since: Timestamp,
    },
}

impl Member {
    /// Whether it is heard as often as usual.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        matches!(self.standing, Standing::Alive)
    }
}

/// Who is in the cluster, as this node sees it: other nodes may see otherwise, and what is seen is
/// always a little late. For showing, and for deciding whom to ask; what must not happen twice is
/// decided by the store.
pub trait Members: Send + Sync {
    /// All members, this node among them, the eldest first. A node that was not heard of for long
    /// is none any more.
    fn members(&self) -> Vec<Member>;

    /// Tells the others this about the node, from now on.
    fn publish(&self, facts: Facts);

    /// Hears of changes from now on.
    fn watch(&self) -> Box<dyn Changes>;
}

/// The hearing end of [`Members`].
pub trait Changes: Send {
    /// All members, as soon as something about them is otherwise than when this was last asked.
    /// `None`: there will be no more changes. Giving up waiting loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Option<Vec<Member>>>;
}
