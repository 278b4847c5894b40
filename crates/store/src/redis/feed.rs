//! `Feed` on Redis Streams.
//!
//! | topic | streams |
//! |---|---|
//! | events | `auth-events`, which has all of them, and `auth-events.TYPE` for each type |
//! | the others | one by the name of the topic |
//!
//! An entry has the fields `body`, and where there are such, `id` and `type`: one that is said again,
//! as after a lost answer, is there twice, and its `id` tells. The streams are bounded, by count. What
//! the server has confirmed can be lost with it, or in a failover, since replicas follow later; the
//! journal keeps every event.
//!
//! A topic is read on a connection of its own, once for all subscribers of this process, from the
//! moment of the first subscription. After each answer the reader looks whether the entry is still
//! there that it had read last: trimming and failovers take what is oldest, or all, so if it is gone,
//! what came after it may be gone, too, and every subscriber hears a
//! [`tegata_core::port::Heard::Gap`]. After a lost connection they hear one in any case, since the
//! server at its other end may be another.
//!
//! A Redis Cluster is refused: an event is written to two streams at once, which it would keep on two
//! servers.

use std::{sync::Arc, time::Duration};

use ::redis::{ErrorKind, RedisError, ServerErrorKind};
use tegata_core::{
    Feed, Node, StoreError, Subscription,
    port::{BoxFuture, Message, Topic},
};
use tokio::task::JoinSet;

use self::{address::Address, publisher::Publisher, reader::Reader};
use crate::fan::Fans;

mod address;
mod publisher;
mod reader;

const BACKEND: &str = "Redis";

/// Limits of a feed on Redis.
#[derive(Debug, Clone)]
pub struct RedisFeedConfig {
    /// How long the server may take to confirm a push.
    pub push: Duration,
    /// How long it may take to confirm an event, or to answer any other question, before it is given
    /// up.
    pub answer: Duration,
    /// How long connecting may take, for each address.
    pub connect: Duration,
    /// How many entries each stream keeps, at least.
    pub kept: u32,
    /// How many messages of a topic are kept for a slow subscriber of this process.
    pub waiting: usize,
}

impl Default for RedisFeedConfig {
    fn default() -> Self {
        Self {
            push: Duration::from_millis(250),
            answer: Duration::from_secs(2),
            connect: Duration::from_secs(2),
            kept: 10_000,
            waiting: 4096,
        }
    }
}

/// Why Redis cannot carry a feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisFeedRefused {
    /// The address is none, or names what cannot be used.
    #[error(
        "the address of Redis cannot be used for events: {detail}; write \
         `redis://USER:PASSWORD@HOST:PORT`, `rediss://…` where the server speaks TLS, or \
         `redis-sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME`"
    )]
    Address {
        /// What is wrong with it.
        detail: String,
    },
    /// The server does not let us in.
    #[error(
        "Redis refuses the user and password in its address: {detail}; write those of a user that \
         may read and write the streams `auth-*` and `cache-invalidation`"
    )]
    Login {
        /// What it said.
        detail: String,
    },
}

/// `Feed` on Redis Streams; see [the module](self). Clones are the same feed.
#[derive(Clone)]
pub struct RedisFeed(Arc<Inner>);

struct Inner {
    address: Arc<Address>,
    node: Node,
    publisher: Publisher,
    fans: Fans,
    config: RedisFeedConfig,
    /// Which topics are read, in the order of [`Topic::ALL`].
    heard: [tokio::sync::Mutex<bool>; Topic::ALL.len()],
    tasks: parking_lot::Mutex<JoinSet<()>>,
}

impl RedisFeed {
    /// Connects. A server that does not answer is no refusal: everything fails until it does, and
    /// [`Feed::outage`] says so.
    ///
    /// # Errors
    /// [`RedisFeedRefused`]: what no waiting mends.
    pub async fn open(
        url: &str,
        config: RedisFeedConfig,
        node: &Node,
    ) -> Result<Self, RedisFeedRefused> {
        let address = Arc::new(Address::read(url)?);
        let first = match address.connect(&config).await {
            Ok(connection) => Ok(connection),
            Err(error) if is_about_login(&error) => {
                return Err(RedisFeedRefused::Login { detail: error.to_string() });
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    "Redis at {} does not answer; going on without it until it does",
                    address.places()
                );
                Err(address.silence(&error))
            }
        };
        let mut tasks = JoinSet::new();
        let (publisher, keeping) =
            Publisher::new(first, Arc::clone(&address), config.clone(), node.clone());
        tasks.spawn(keeping);
        Ok(Self(Arc::new(Inner {
            address,
            node: node.clone(),
            publisher,
            fans: Fans::new(config.waiting),
            config,
            heard: Default::default(),
            tasks: parking_lot::Mutex::new(tasks),
        })))
    }
}

impl Inner {
    /// Begins to read a topic, from now on.
    async fn hear(&self, topic: Topic) -> Result<(), StoreError> {
        let at = Topic::ALL.iter().position(|it| *it == topic).and_then(|at| self.heard.get(at));
        let Some(heard) = at else { return Ok(()) };
        let mut heard = heard.lock().await;
        if *heard {
            return Ok(());
        }
        // Where it is known that nobody answers, nobody waits to learn it again.
        self.publisher.check()?;
        let reader = Reader::begin(
            topic.name(),
            self.fans.of(topic).clone(),
            Arc::clone(&self.address),
            self.config.clone(),
            self.node.clone(),
        );
        let reader = reader.await.map_err(|error| unavailable(error.to_string()))?;
        self.tasks.lock().spawn(reader.read());
        *heard = true;
        Ok(())
    }
}

impl Feed for RedisFeed {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.0.publisher.publish(message).await })
    }

    fn subscribe(&self, topic: Topic) -> BoxFuture<'_, Result<Box<dyn Subscription>, StoreError>> {
        Box::pin(async move {
            self.0.hear(topic).await?;
            Ok(self.0.fans.of(topic).subscribe())
        })
    }

    fn outage(&self) -> Option<String> {
        self.0.publisher.outage()
    }
}

fn unavailable(detail: impl Into<String>) -> StoreError {
    StoreError::Unavailable { backend: BACKEND, detail: detail.into() }
}

/// Whether no waiting mends it: the server is there, and does not want us.
fn is_about_login(error: &RedisError) -> bool {
    let kind = error.kind();
    kind == ErrorKind::AuthenticationFailed
        || kind == ErrorKind::Server(ServerErrorKind::NoPerm)
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
}
