//! `Feed` on NATS.
//!
//! | topic | on NATS |
//! |---|---|
//! | events | the JetStream stream `auth-events`, subjects `auth-events.TYPE` |
//! | the others | core NATS, subjects by the names of the topics, nothing stored |
//!
//! Events are for whoever subscribes outside, and outsiders replay: they are kept in a stream, bounded
//! by age and size, and one is published only when the server has confirmed that it keeps it. Said
//! twice, as after a lost answer, it is kept once: its id is the `Nats-Msg-Id`. How much such a
//! confirmation is worth is up to the server, which by default writes to disk every two minutes; the
//! journal keeps every event whatever becomes of the server.
//!
//! The others are pushes. Whoever missed one must look at the log itself, which is right also when
//! the server has lost everything, so a stream of them would only delay them by a confirmation and
//! tell old news to whoever comes back.
//!
//! The connection comes back by itself, for ever. Whenever something may have been missed, because
//! the connection was lost or somebody here did not keep up, every subscriber hears a
//! [`tegata_core::port::Heard::Gap`]; after a lost connection only when the server has taken the
//! subscriptions again, so that what is published after the gap is heard.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectErrorKind,
    connection::State,
    jetstream::{self, context::PublishErrorKind, message::PublishMessage},
};
use tegata_core::{
    Feed, Node, StoreError, Subscription,
    port::{BoxFuture, Message, Topic},
};
use tokio::{task::JoinSet, time::timeout};

use self::{address::Address, keeper::Keeper};
use crate::fan::Fans;

mod address;
mod keeper;
mod stream;

const BACKEND: &str = "NATS";

/// Limits of a connection to NATS, and of the stream of events where this makes it.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// How long a push may wait for its place in the queue to the server.
    pub push: Duration,
    /// How long the server may take to confirm an event, or to answer a question.
    pub answer: Duration,
    /// How long connecting may take, for each address.
    pub connect: Duration,
    /// How often a silent server is asked whether it is there. After two that it owes, it is given up.
    pub probe: Duration,
    /// How many messages of a topic are kept for a slow subscriber of this process.
    pub waiting: usize,
    /// How long events are kept in the stream.
    pub age: Duration,
    /// How many bytes of events are kept in the stream. The server sets them aside at once.
    pub bytes: u64,
    /// On how many servers the stream is kept: more than 1 needs a cluster.
    pub replicas: u8,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            push: Duration::from_millis(250),
            answer: Duration::from_secs(2),
            connect: Duration::from_secs(2),
            probe: Duration::from_secs(2),
            waiting: 4096,
            age: Duration::from_secs(7 * 86_400),
            bytes: 256 * 1024 * 1024,
            replicas: 1,
        }
    }
}

/// Why NATS cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NatsRefused {
    /// The address is none, or names what cannot be used.
    #[error(
        "the address of NATS cannot be used: {detail}; write \
         `nats://USER:PASSWORD@HOST:PORT,HOST:PORT`, with `tls://` where the server speaks TLS"
    )]
    Address {
        /// What is wrong with it.
        detail: String,
    },
    /// The server does not let us in.
    #[error(
        "NATS refuses the user and password, or the token, in its address: {detail}; write those of \
         a user that may publish and subscribe to `auth-events`, `auth-events.>`, \
         `auth-revocations`, `auth-keys`, `auth-heartbeats`, `cache-invalidation`, `token_update` and \
         `_INBOX.>`, and publish to `$JS.API.>`"
    )]
    Login {
        /// What it said.
        detail: String,
    },
    /// The server has no JetStream, so it could not keep an event.
    #[error(
        "NATS has no JetStream, which keeps the events: {detail}; start it with `nats-server -js` and \
         a directory that lasts (`-sd`), and enable JetStream for our account where there are several"
    )]
    NoJetStream {
        /// What it said.
        detail: String,
    },
    /// The stream of events can be neither found nor made.
    #[error(
        "NATS cannot keep the stream `auth-events`: {detail}; give its JetStream more room, or make \
         the stream yourself, for the subjects `auth-events` and `auth-events.>`"
    )]
    Stream {
        /// What it said.
        detail: String,
    },
}

/// `Feed` on NATS; see [the module](self). Clones are the same feed.
#[derive(Clone)]
pub struct NatsFeed(Arc<Inner>);

struct Inner {
    client: Client,
    jetstream: jetstream::Context,
    keeper: Arc<Keeper>,
    fans: Fans,
    config: NatsConfig,
    /// Which topics the server sends us, in the order of [`Topic::ALL`].
    heard: [tokio::sync::Mutex<bool>; Topic::ALL.len()],
    tasks: parking_lot::Mutex<JoinSet<()>>,
}

impl NatsFeed {
    /// Connects, and makes the stream of events where there is none; bounds of one that is there stay
    /// as they are. A server that does not answer is no refusal: pushes and events fail until it does,
    /// and [`Feed::outage`] says so.
    ///
    /// # Errors
    /// [`NatsRefused`]: what no waiting mends.
    pub async fn open(url: &str, config: NatsConfig, node: &Node) -> Result<Self, NatsRefused> {
        let address = Address::read(url)?;
        let fans = Fans::new(config.waiting);
        let keeper = Arc::new(Keeper::new(address.places()));
        let options = || address.options(&config, node, keeper.ear());
        let client = match options().connect(address.servers()).await {
            Ok(client) => client,
            Err(error) => match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    return Err(NatsRefused::Login { detail: error.to_string() });
                }
                ConnectErrorKind::ServerParse | ConnectErrorKind::Tls => {
                    return Err(NatsRefused::Address { detail: error.to_string() });
                }
                _ if is_about_trust(&error) => {
                    return Err(NatsRefused::Address { detail: error.to_string() });
                }
                _ => {
                    tracing::warn!(
                        %error,
                        "NATS at {} does not answer; going on without it until it does",
                        address.places()
                    );
                    let later = options().retry_on_initial_connect();
                    let later = later.connect(address.servers()).await;
                    later.map_err(|error| NatsRefused::Address { detail: error.to_string() })?
                }
            },
        };
        let builder = jetstream::context::ContextBuilder::new().timeout(config.answer);
        let jetstream = builder.build(client.clone());
        if client.connection_state() == State::Connected {
            match stream::ensure(&jetstream, &config).await {
                Ok(()) => keeper.confirmed(),
                Err(stream::Fault::Refused(refused)) => return Err(refused),
                Err(stream::Fault::Silent(detail)) => keeper.in_trouble(detail),
            }
        }
        let mut tasks = JoinSet::new();
        let kept = (client.clone(), jetstream.clone(), fans.clone(), config.clone());
        tasks.spawn(Arc::clone(&keeper).keep(kept.0, kept.1, kept.2, kept.3));
        let (heard, tasks) = (Default::default(), parking_lot::Mutex::new(tasks));
        Ok(Self(Arc::new(Inner { client, jetstream, keeper, fans, config, heard, tasks })))
    }
}

impl Inner {
    /// Whether there is any sense in asking the server for something.
    fn connected(&self) -> Result<(), StoreError> {
        match self.keeper.disconnection(&self.client) {
            None => Ok(()),
            Some(detail) => Err(unavailable(detail)),
        }
    }

    async fn keep_event(&self, name: String, message: Message) -> Result<(), StoreError> {
        let publish = PublishMessage::build().payload(message.body.into());
        let publish = match message.id {
            Some(id) => publish.message_id(id.to_string()),
            None => publish,
        };
        let confirmed = async { self.jetstream.send_publish(name, publish).await?.await };
        // The client's own limits are for the queue and the confirmation each.
        let error = match timeout(self.config.answer, confirmed).await {
            Ok(Ok(_kept_or_known)) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_elapsed) => {
                self.keeper.doubt();
                return Err(unconfirmed("an event was not confirmed in time"));
            }
        };
        Err(match error.kind() {
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
                // Where somebody else hears events, nobody says that no stream does.
                self.keeper.doubt();
                unconfirmed(error.to_string())
            }
            PublishErrorKind::MaxPayloadExceeded => too_large(&self.client),
            PublishErrorKind::StreamNotFound => {
                self.keeper.in_trouble("the stream `auth-events` is not there".to_owned());
                unavailable("nothing there keeps events; the stream is made anew")
            }
            _ => unavailable(error.to_string()),
        })
    }

    async fn push(&self, name: String, body: Vec<u8>) -> Result<(), StoreError> {
        let pushed = timeout(self.config.push, self.client.publish(name, body.into())).await;
        match pushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == async_nats::PublishErrorKind::MaxPayloadExceeded => {
                Err(too_large(&self.client))
            }
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_elapsed) => Err(unavailable("what is to be said to it waits in line")),
        }
    }

    /// Has the server send what is published on a topic, and waits until it does.
    async fn hear(&self, topic: Topic) -> Result<(), StoreError> {
        let at = Topic::ALL.iter().position(|it| *it == topic).and_then(|at| self.heard.get(at));
        let Some(heard) = at else { return Ok(()) };
        let mut heard = heard.lock().await;
        if *heard {
            return Ok(());
        }
        self.connected()?;
        let subject = match topic {
            Topic::Events => format!("{}.>", topic.name()),
            _ => topic.name().to_owned(),
        };
        let asked = async {
            let whole = match topic {
                Topic::Events => Some(self.client.subscribe(topic.name()).await),
                _ => None,
            };
            let parts = self.client.subscribe(subject).await;
            whole.into_iter().chain([parts]).collect::<Result<Vec<_>, _>>()
        };
        let subscribers = match timeout(self.config.answer, asked).await {
            Ok(Ok(subscribers)) => subscribers,
            Ok(Err(error)) => return Err(unavailable(error.to_string())),
            Err(_elapsed) => return Err(unavailable("what is to be said to it waits in line")),
        };
        // Whoever answers this has heard what we said before.
        stream::round_trip(&self.client, self.config.answer).await.map_err(unavailable)?;
        let mut tasks = self.tasks.lock();
        for subscriber in subscribers {
            tasks.spawn(keeper::pump(subscriber, self.fans.of(topic).clone()));
        }
        *heard = true;
        Ok(())
    }
}

impl Feed for NatsFeed {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let name = message.name()?;
            self.0.connected()?;
            match message.topic {
                Topic::Events => self.0.keep_event(name, message).await,
                _ => self.0.push(name, message.body).await,
            }
        })
    }

    fn subscribe(&self, topic: Topic) -> BoxFuture<'_, Result<Box<dyn Subscription>, StoreError>> {
        Box::pin(async move {
            self.0.hear(topic).await?;
            Ok(self.0.fans.of(topic).subscribe())
        })
    }

    fn outage(&self) -> Option<String> {
        self.0.keeper.outage(&self.0.client)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.keeper.close();
    }
}

fn unavailable(detail: impl Into<String>) -> StoreError {
    StoreError::Unavailable { backend: BACKEND, detail: detail.into() }
}

fn unconfirmed(detail: impl Into<String>) -> StoreError {
    StoreError::Indeterminate { backend: BACKEND, detail: detail.into() }
}

fn too_large(client: &Client) -> StoreError {
    let most = client.max_payload();
    let detail = format!("a message is larger than the {most} bytes that NATS takes");
    StoreError::Misused { detail }
}

/// Whether the driver says that the server is not the one that is meant.
fn is_about_trust(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if io.is_some_and(|error| error.is::<rustls::Error>()) {
            return true;
        }
        cause = inner.source();
    }
    false
}
