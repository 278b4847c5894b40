//! What is due on a stream, and what was acknowledged: the same for who pushes and for who is polled.
//!
//! A stream keeps a position in the journal, up to which all was delivered, and the names of what was
//! acknowledged beyond it. Nothing is queued: what is due is read from the journal, where it stays for
//! as long as any family of tokens can live, and a day. So a signal is delivered at least once, under
//! the same name each time, and in the order of the journal.

use tegata_core::{Batch, CommitRefused, Versioned};

use super::{
    kind::SignalKind,
    stream::{Delivery, RefusedOnce, Stream},
    streams::{ACTIVE_TO, StreamRefused, Streams, TRIES, contended},
    walk::Walk,
};

/// A position that moved by less, over what concerns nobody, is not written.
const WORTH_WRITING: u64 = 100;

/// What became of signals that were given.
#[derive(Debug, Clone, Default)]
pub struct Handled {
    /// The names of those that arrived.
    pub acked: Vec<String>,
    /// Those that their receiver cannot use. They are not given again.
    pub refused: Vec<RefusedSet>,
}

/// A signal that its receiver cannot use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSet {
    /// Its name.
    pub jti: String,
    /// What is wrong with it, in the receiver's word.
    pub err: String,
}

/// A signal that is due.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Its name.
    pub jti: String,
    /// What it tells.
    pub kind: SignalKind,
    /// The signed token.
    pub set: String,
}

/// What is due on a stream.
#[derive(Debug)]
pub struct Exchanged {
    /// The stream.
    pub stream: Stream,
    /// What is due, in order.
    pub due: Vec<Outgoing>,
    /// Whether there is more.
    pub more: bool,
    /// How many of those that were handled were due.
    pub handled: usize,
}

impl Handled {
    /// Whether a name is among them.
    #[must_use]
    pub fn has(&self, jti: &str) -> bool {
        self.acked.iter().any(|one| one == jti) || self.refused.iter().any(|one| one.jti == jti)
    }
}

impl Streams {
    /// Notes what was handled, and answers what is due, at most so much. Whoever is not told that
    /// this was done may do it again.
    ///
    /// # Errors
    /// [`StreamRefused::Unknown`]; what the store says.
    pub async fn exchange(
        &self,
        id: &str,
        handled: &Handled,
        most: usize,
    ) -> Result<Exchanged, StreamRefused> {
        for _ in 0..TRIES {
            let found = self.load(id).await?.ok_or(StreamRefused::Unknown)?;
            let realm = self.provider.realm();
            let client = self.provider.clients().load(realm, &found.value.client).await?;
            let Some(client) = client.map(|client| client.value) else {
                // Whoever removed the client did not come to its streams.
                self.remove(&found).await?;
                return Err(StreamRefused::Unknown);
            };
            // Nobody is taken for it. What is due waits, until it is a client again.
            if client.disabled {
                return Err(StreamRefused::Unknown);
            }
            let walk = self.walk(&found.value, &client, handled, most).await?;
            let noticed = found.value.notices.iter().filter(|it| handled.has(&it.jti)).count();
            let next = self.after(&found.value, &walk, handled);
            match self.keep(&found, &next).await {
                Ok(()) => {}
                // Somebody else was faster, and what is due is no longer the same.
                Err(CommitRefused::Conflict { .. }) => continue,
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
            let (handled, more) = (walk.handled + noticed, walk.more);
            let due = self.write(&next, &client, walk.due, most).await?;
            return Ok(Exchanged { stream: next, due, more, handled });
        }
        Err(contended().into())
    }

    /// The stream after what was handled.
    fn after(&self, stream: &Stream, walk: &Walk, handled: &Handled) -> Stream {
        let mut next = stream.clone();
        let now = self.provider.node().now();
        if walk.handled > 0
            || walk.acked != stream.acked
            || walk.reached >= stream.position + WORTH_WRITING
        {
            next.position = walk.reached.max(stream.position);
            next.acked.clone_from(&walk.acked);
        }
        next.notices.retain(|notice| !handled.has(&notice.jti));
        if let Some(last) = handled.refused.last() {
            next.refused += u64::try_from(handled.refused.len()).unwrap_or(u64::MAX);
            let (jti, err) = (shortened(&last.jti), shortened(&last.err));
            next.last_refused = Some(RefusedOnce { jti, err, at: now });
        }
        // Who takes what it is given is there, and who is given nothing; who polls is there whatever it
        // is given.
        let is_there = matches!(stream.delivery, Delivery::Poll)
            || walk.handled > 0
            || next.notices.len() < stream.notices.len()
            || (walk.due.is_empty() && next.notices.is_empty());
        if is_there && now.since(stream.active) > ACTIVE_TO {
            next.active = now;
        }
        next
    }

    async fn keep(&self, found: &Versioned<Stream>, next: &Stream) -> Result<(), CommitRefused> {
        let before = &found.value;
        let same = before.position == next.position
            && before.acked == next.acked
            && before.notices == next.notices
            && before.active == next.active
            && before.last_refused == next.last_refused;
        if same {
            return Ok(());
        }
        let batch = Batch::new(self.provider.realm().clone());
        self.records().commit(batch.with(found.replace(next))).await
    }
}

/// What a receiver said, as it is kept: bounded and printable.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect::<String>().escape_debug().to_string()
}
