//! `Feed` that is sealed where nodes speak to each other.
//!
//! Whoever can write to a bus could otherwise revoke everybody's tokens, or vouch that nothing was
//! revoked. So revocations, changes of keys and heartbeats are sealed for their topic, and what does
//! not open is not heard. What is replayed opens: it says again what was true, and hearers are
//! prepared for repetitions; how often they read keys because of it they bound themselves.
//!
//! Events and invalidations are a promise to hearers outside, who have no keys, and stay readable.
//! Whoever can write to the bus can add to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tegata_core::{
    Feed, SinceBoot, StoreError, Subscription,
    port::{BoxFuture, Heard, Message, Topic},
};

use super::{envelope::Place, keys::Keys};

/// How often messages may make us read the data keys again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// How often the log says that messages were ignored.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// `Feed` whose revocations and changes of keys are encrypted and authentic. Made by
/// [`super::Sealed::feed`].
pub struct SealedFeed {
    inner: Arc<dyn Feed>,
    keys: Arc<Keys>,
    strangers: Arc<Strangers>,
}

/// What is known of messages that did not open.
#[derive(Default)]
struct Strangers {
    count: AtomicU64,
    read: Mutex<Option<SinceBoot>>,
    said: Mutex<Option<SinceBoot>>,
}

impl SealedFeed {
    pub(super) fn new(inner: Arc<dyn Feed>, keys: Arc<Keys>) -> Self {
        Self { inner, keys, strangers: Arc::default() }
    }

    /// How many messages were ignored because nobody with our data keys has sealed them.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.strangers.count.load(Ordering::Relaxed)
    }
}

/// Whether messages of a topic are sealed.
const fn is_sealed(topic: Topic) -> bool {
    match topic {
        Topic::Revocations | Topic::Keys | Topic::Heartbeats | Topic::TokenUpdates => true,
        Topic::Events | Topic::Invalidations => false,
    }
}

impl Feed for SealedFeed {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if !is_sealed(message.topic) {
                return self.inner.publish(message).await;
            }
            let body = self.keys.seal(&Place::message(message.topic), &message.body)?;
            self.inner.publish(Message { body, ..message }).await
        })
    }

    fn subscribe(&self, topic: Topic) -> BoxFuture<'_, Result<Box<dyn Subscription>, StoreError>> {
        Box::pin(async move {
            let inner = self.inner.subscribe(topic).await?;
            if !is_sealed(topic) {
                return Ok(inner);
            }
            let (keys, strangers) = (self.keys.clone(), self.strangers.clone());
            let opener = Opener { topic, keys, strangers };
            let opened = SealedSubscription { inner, opener, opening: None };
            Ok(Box::new(opened) as Box<dyn Subscription>)
        })
    }

    fn outage(&self) -> Option<String> {
        self.inner.outage()
    }
}

struct SealedSubscription {
    inner: Box<dyn Subscription>,
    opener: Opener,
    /// What is being opened: kept here, because whoever waits may give up.
    opening: Option<BoxFuture<'static, Option<Heard>>>,
}

#[derive(Clone)]
struct Opener {
    topic: Topic,
    keys: Arc<Keys>,
    strangers: Arc<Strangers>,
}

impl Opener {
    /// What a message says; nothing, where it is not ours.
    async fn open(self, sealed: Vec<u8>) -> Option<Heard> {
        let now = self.keys.node().since_boot();
        let may_read = || is_due(&self.strangers.read, now, READ_AGAIN);
        let place = Place::message(self.topic);
        match self.keys.unseal_heard(&place, &sealed, may_read).await {
            Ok(Some(body)) => Some(Heard::Message(body)),
            Ok(None) => {
                self.ignore(now);
                None
            }
            // Nobody can tell whether it was ours.
            Err(_unanswered) => Some(Heard::Gap),
        }
    }

    fn ignore(&self, now: SinceBoot) {
        let count = self.strangers.count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if is_due(&self.strangers.said, now, SAY_AGAIN) {
            tracing::warn!(
                "messages on `{}` are ignored, {count} so far, because they were not sealed with a \
                 data key of this installation: see who else may write to the bus",
                self.topic.name()
            );
        }
    }
}

/// Whether something that is done at most so often may be done now; then it counts as done.
fn is_due(last: &Mutex<Option<SinceBoot>>, now: SinceBoot, span: Duration) -> bool {
    let mut last = last.lock();
    let due = last.is_none_or(|last| now.since(last) >= span);
    if due {
        *last = Some(now);
    }
    due
}

impl Subscription for SealedSubscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>> {
        Box::pin(async move {
            loop {
                if let Some(opening) = &mut self.opening {
                    let heard = opening.await;
                    self.opening = None;
                    if heard.is_some() {
                        return heard;
                    }
                }
                match self.inner.next().await? {
                    Heard::Message(sealed) => {
                        self.opening = Some(Box::pin(self.opener.clone().open(sealed)));
                    }
                    Heard::Gap => return Some(Heard::Gap),
                }
            }
        })
    }
}
