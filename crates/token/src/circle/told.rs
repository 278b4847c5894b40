//! What is told of the circle: how a process stands in it, what was heard, who knows what.

use std::{fmt, time::Duration};

use tegata_core::NodeId;

/// What a process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not entered the circle.
    Outside,
    /// It has asked to be admitted.
    Candidate,
    /// It may take things back.
    Member,
    /// It may not any more: another process has its place, because it runs on a copy of its data
    /// directory.
    Replaced,
    /// It has left.
    Left,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "this process has not entered it",
            Self::Candidate => {
                "this process waits to be admitted by another node; where none runs that was not \
                 ended cleanly, that takes up to seven minutes"
            }
            Self::Member => "this process is in it",
            Self::Replaced => {
                "another process runs on a copy of this data directory; give each its own"
            }
            Self::Left => "this process has left it, because it ends",
        })
    }
}

/// What came of hearing a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heard {
    /// Whether somebody spoke of whom the register did not tell: it is to be looked at.
    pub stranger: bool,
    /// Whether the speaker waits for what is in the log beyond where it has been followed here: it is
    /// to be read, and a heartbeat to be made.
    pub awaited: bool,
    /// How long it took until the speaker knew what was taken back here, for each entry of which it
    /// has just said so.
    pub confirmed: Vec<Duration>,
}

/// A process that is to know something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Which.
    pub run: NodeId,
    /// What operators call it.
    pub name: String,
}

/// A process in the circle, as another one hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// What operators call it.
    pub name: String,
    /// Up to which position it says that it has followed the log.
    pub position: u64,
    /// How long ago it was heard. `None`: it was not, or says nothing.
    pub heard: Option<Duration>,
}

/// What is to be known everywhere, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub(super) of: Of,
    /// All other processes in the circle.
    pub points: Vec<Point>,
}

/// What is to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// What was taken back here, up to this number.
    Number(u64),
    /// What the log says, whoever took it back, up to this position.
    Position(u64),
}

/// How a [`Point`] stands to a [`Receipt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// It knows.
    Confirmed,
    /// It is not in the circle any more, so it has ended, or knows that it knows nothing.
    Gone,
    /// It has not said so yet.
    Pending,
}
