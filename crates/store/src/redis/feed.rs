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

use ::redis::RedisError;
use tegata_core::{
    Feed, Node, StoreError, Subscription,
    port::{BoxFuture, Message, Topic},
};
use tokio::task::JoinSet;

use self::{
    publisher::Publisher,
    reader::{Deaf, Reader},
};
use super::{
    RedisRefused,
    address::{Address, Shape},
    fault::is_about_login,
    reach::{Limits, Reach, Role},
};
use crate::{fan::Fans, url::is_here};

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

impl RedisFeedConfig {
    /// Answers have limits of their own, by what is asked.
    const fn limits(&self) -> Limits {
        Limits { connect: self.connect, answer: None }
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
    reach: Arc<Reach>,
    node: Node,
    publisher: Publisher,
    fans: Fans,
    deaf: Deaf,
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
        let reach = Arc::new(reach(url)?);
        let first = match reach.connect(Role::Primary, config.limits()).await {
            Ok(open) => Ok(open.connection),
            Err(error) if is_about_login(&error) => {
                return Err(RedisFeedRefused::Login { detail: error.to_string() });
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    "Redis at {} does not answer; going on without it until it does",
                    reach.places()
                );
                Err(silence(&reach, &error))
            }
        };
        let mut tasks = JoinSet::new();
        let (publisher, keeping) =
            Publisher::new(first, Arc::clone(&reach), config.clone(), node.clone());
        tasks.spawn(keeping);
        Ok(Self(Arc::new(Inner {
            reach,
            node: node.clone(),
            publisher,
            fans: Fans::new(config.waiting),
            deaf: Deaf::default(),
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
            self.deaf.clone(),
            Arc::clone(&self.reach),
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
        self.0.publisher.outage().or_else(|| self.0.deaf.outage())
    }
}

fn unavailable(detail: impl Into<String>) -> StoreError {
    StoreError::Unavailable { backend: BACKEND, detail: detail.into() }
}

/// The way to the server that the address names.
fn reach(url: &str) -> Result<Reach, RedisFeedRefused> {
    let unusable = |refused| match refused {
        RedisRefused::Address { detail } => RedisFeedRefused::Address { detail },
        other => RedisFeedRefused::Address { detail: other.to_string() },
    };
    let address = Address::read(url).map_err(unusable)?;
    if address.shape == Shape::Cluster {
        let detail = "a Redis Cluster keeps the streams of an event on different servers; use a \
                      Redis of its own for events, or `nats://`, while everything else stays on the \
                      cluster";
        return Err(RedisFeedRefused::Address { detail: detail.to_owned() });
    }
    if !address.tls && !address.places.iter().all(|(host, _)| is_here(host)) {
        tracing::warn!(
            "the connection to Redis is not encrypted: events and passwords can be read on the \
             way; write `rediss://` or `rediss-sentinel://`, or keep the network to yourself"
        );
    }
    Reach::new(&address).map_err(unusable)
}

/// Why nobody is there.
fn silence(reach: &Reach, error: &RedisError) -> String {
    format!("no primary answers at `{}`: {error}", reach.places())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_address_and_shows_nothing_of_it() {
        for bad in [
            "",
            "hunter2",
            "nats://u:hunter2@bus",
            "redis://u:hunter2@",
            "redis://u:hunter2@cache/hunter2",
            "redis://u:hunter2@cache?hunter=2",
            "rediss://u:hunter2@cache/#insecure",
            "rediss://u:hunter2@cache?sslrootcert=/none/hunter2",
            "redis-sentinel://u:hunter2@one,two",
            "redis-sentinel://u:hunter2@one,/main",
            "redis-sentinel://u:hunter2@one:hunter2/main",
            "redis-sentinel://u:hunter2@one/main/hunter2",
            "redis-sentinel://u:hunter2%zz@one/main",
            "redis-cluster://u:hunter2@one,two",
        ] {
            let error = reach(bad).err().unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }

    #[test]
    fn takes_what_operators_write() {
        for (url, places) in [
            ("redis://u:p@cache", "cache:6379"),
            ("redis://cache:7000/3", "cache:7000"),
            ("rediss://u:p@cache:6380/0", "cache:6380"),
            ("redis-sentinel://u:p@one,two:5,[::1]:7/main", "one:26379,two:5,[::1]:7/main"),
            ("rediss-sentinel://one/main/2", "one:26379/main"),
        ] {
            assert_eq!(reach(url).map_err(|it| it.to_string()).unwrap().places(), places);
        }
    }
}
