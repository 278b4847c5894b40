//! What is told of a stream itself: that it works, and that we hold it back.

use tegata_core::{CommitRefused, EventId, StoreError};

use super::{
    stream::{Notable, Notice, Status, Stream},
    streams::{StreamRefused, Streams},
};
use crate::client::Client;

/// How many notices of a stream wait at most.
const MOST: usize = 16;
/// The longest state of a verification.
const LONGEST_STATE: usize = 1024;

impl Streams {
    /// Orders a verification (SSF 1.0 §8.1.4.2).
    ///
    /// # Errors
    /// [`StreamRefused`].
    pub async fn verify(
        &self,
        client: &Client,
        id: &str,
        state: Option<&str>,
    ) -> Result<Stream, StreamRefused> {
        if state.is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(StreamRefused::Invalid("`state` must be at most 1024 bytes long"));
        }
        let (node, apart) = (self.provider.node(), self.rules.min_verification);
        let now = node.now();
        self.edit(client, id, "stream_verification", |stream| {
            let since = stream.verified.map(|at| now.since(at));
            if let Some(since) = since.filter(|since| *since < apart) {
                return Err(StreamRefused::TooSoon(apart.saturating_sub(since)));
            }
            if stream.notices.len() >= MOST {
                return Err(StreamRefused::TooSoon(apart));
            }
            stream.verified = Some(now);
            let state = state.map(str::to_owned);
            stream.notices.push(self.notice(stream, Notable::Verification { state }));
            Ok(())
        })
        .await
    }

    /// Pauses a stream whose receiver has not been heard of for long, and says so on it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn pause_if_silent(&self, stream: &Stream) -> Result<(), StoreError> {
        let is_silent = |stream: &Stream| {
            let silence = self.provider.node().now().since(stream.active);
            stream.status == Status::Enabled && silence > self.rules.inactivity
        };
        if !is_silent(stream) {
            return Ok(());
        }
        // What was listed may be another by now.
        let found = self.load(&stream.id).await?.filter(|found| is_silent(&found.value));
        let Some(found) = found else { return Ok(()) };
        let mut next = found.value.clone();
        let reason = "inactivity".to_owned();
        (next.status, next.reason) = (Status::Paused, Some(reason.clone()));
        next.notices.push(self.notice(stream, Notable::Updated { status: Status::Paused, reason }));
        let event = self.event(&next, "stream_paused");
        let batch = self.batch().with(found.replace(&next)).journal(&event);
        match self.records().commit(batch).await {
            // Whoever changed it was there.
            Ok(()) | Err(CommitRefused::Conflict { .. }) => Ok(()),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }

    fn notice(&self, stream: &Stream, what: Notable) -> Notice {
        let node = self.provider.node();
        let jti = format!("{}.{}", stream.id, EventId::generate(node.entropy()));
        Notice { jti, what, at: node.now().secs() }
    }
}
