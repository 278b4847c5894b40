//! What follows when a cookie is presented: the record alone decides.

use tegata_core::Timestamp;

use super::{Handover, Limits, Session};
use crate::{
    binding::{Binding, Part},
    fingerprint::Fingerprint,
};

/// The part of a handover, from its beginning, in which an earlier value after a rise is taken for
/// a request that was already on its way; later, it means that the answer was lost. 10 s of 60 s.
const SETTLING: u32 = 6;

/// A cookie that is genuine, and about to be judged.
#[derive(Debug, Clone)]
pub struct Shown<'a> {
    /// Which generation.
    pub generation: u32,
    /// By which browser.
    pub binding: &'a Binding,
    /// What the browser says of itself.
    pub fingerprint: &'a Fingerprint,
    /// When.
    pub at: Timestamp,
    /// Whether the listener can replace the cookie.
    pub rotates: bool,
    /// Whether something else shows that it is the browser's own, and that an answer was lost: then an
    /// earlier value works until its successor is used, however long that takes.
    pub vouched: bool,
}

/// What follows when a cookie is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Served; the record stays as it is.
    Serve,
    /// Served; it is the first use of the current generation, which ends the handover.
    Confirm,
    /// Served; the next generation is made and given.
    Rotate,
    /// Served; the current generation is given once more.
    Repeat,
    /// Served with what could be done before the rise; nothing is given.
    Hold,
    /// Served; the rise is withdrawn, and the current generation given.
    Lower,
    /// Refused; the session stays as it is.
    Refuse(Verdict),
    /// Refused, and the session is to be ended: somebody has a copy.
    Replay,
}

/// Why a cookie was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Verdict {
    /// It is no session's, or is not genuine.
    #[error("the session is not known")]
    Unknown,
    /// The session was ended.
    #[error("the session has ended")]
    Ended,
    /// The session has reached its end, or has gone unused for too long.
    #[error("the session has expired")]
    Expired,
    /// The browser has been given a newer value. It may have sent this before that arrived, so the
    /// same request made again can succeed: the cookie must not be taken from it.
    #[error("the session's cookie has been replaced by a newer one")]
    Superseded,
    /// The browser is another than the one that signed in.
    #[error("the session belongs to another browser")]
    Bound(Part),
    /// It was replaced by a newer value that has been used, and another browser presents it: the
    /// session has been ended.
    #[error("a copy of the session's cookie was used, so the session has been ended")]
    Replayed,
}

impl Verdict {
    /// What all of them are called.
    pub const NAMES: [&str; 6] = [
        Self::Unknown.name(),
        Self::Ended.name(),
        Self::Expired.name(),
        Self::Superseded.name(),
        Self::Bound(Part::Network).name(),
        Self::Replayed.name(),
    ];

    /// The verdict in a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Bound(_) => "bound",
            Self::Replayed => "replayed",
        }
    }

    /// Whether the browser's cookie is of no more use and can be taken from it. After the other
    /// verdicts its true owner may still need it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Unknown | Self::Ended | Self::Expired | Self::Replayed => true,
            Self::Superseded | Self::Bound(_) => false,
        }
    }
}

impl Session {
    /// What follows when its cookie is presented. Changes nothing. Whether it has gone unused for
    /// too long is judged elsewhere.
    #[must_use]
    pub fn judge(&self, shown: &Shown<'_>, limits: &Limits) -> Judgement {
        if self.ended.is_some() {
            return Judgement::Refuse(Verdict::Ended);
        }
        if self.is_over(shown.at, limits) {
            return Judgement::Refuse(Verdict::Expired);
        }
        if shown.generation > self.generation {
            // Genuine, but not reached: the record has gone back in time, and which generations
            // were replaced since cannot be known.
            return Judgement::Replay;
        }
        let differs = self
            .binding
            .difference(shown.binding)
            .or_else(|| self.fingerprint.difference(shown.fingerprint));
        if shown.generation < self.generation {
            let handover = self.handover.as_ref().filter(|it| it.from <= shown.generation);
            return match (handover, differs) {
                (None, Some(_)) => Judgement::Replay,
                (Some(_), Some(part)) => Judgement::Refuse(Verdict::Bound(part)),
                (Some(handover), None) => handover.judge(shown, limits),
                (None, None) => Judgement::Refuse(Verdict::Superseded),
            };
        }
        if let Some(part) = differs {
            Judgement::Refuse(Verdict::Bound(part))
        } else if shown.rotates && shown.at.since(self.made) >= limits.rotation {
            Judgement::Rotate
        } else if self.handover.is_some() {
            Judgement::Confirm
        } else {
            Judgement::Serve
        }
    }
}

impl Handover {
    fn judge(&self, shown: &Shown<'_>, limits: &Limits) -> Judgement {
        let age = shown.at.since(self.since);
        if age > limits.handover && !shown.vouched {
            Judgement::Refuse(Verdict::Superseded)
        } else if self.before.is_none() {
            Judgement::Repeat
        } else if age <= limits.handover / SETTLING || !shown.rotates {
            Judgement::Hold
        } else {
            Judgement::Lower
        }
    }
}
