//! The publishing end: one connection for all who publish, kept by one task.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ::redis::{ErrorKind, Pipeline, RedisError, ServerErrorKind, aio::MultiplexedConnection, pipe};
use tegata_core::{
    Node, StoreError,
    port::{Message, Topic},
};
use tokio::{
    sync::{Notify, watch},
    time::{Duration, MissedTickBehavior, interval},
};

use super::{
    super::reach::{Reach, Role, check, within},
    BACKEND, RedisFeedConfig, silence, unavailable,
};
use crate::pause::{pause, wait};

/// How often a silent server is asked whether it is there.
const PROBE: Duration = Duration::from_secs(1);

/// What publishes.
pub(super) struct Publisher {
    link: watch::Receiver<Link>,
    doubts: Arc<Doubts>,
    config: RedisFeedConfig,
}

#[derive(Clone)]
enum Link {
    Up(MultiplexedConnection),
    /// Why there is none.
    Down(String),
}

/// What those who publish tell the one who keeps the connection.
#[derive(Default)]
struct Doubts {
    raised: Notify,
    /// Whether there is more than doubt.
    broken: AtomicBool,
}

impl Publisher {
    /// A publisher on a first connection, or without one, and what keeps it connected as long as it
    /// runs.
    pub(super) fn new(
        first: Result<MultiplexedConnection, String>,
        reach: Arc<Reach>,
        config: RedisFeedConfig,
        node: Node,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, link) = watch::channel(first.map_or_else(Link::Down, Link::Up));
        let doubts = Arc::<Doubts>::default();
        let keeping = keep(sender, Arc::clone(&doubts), reach, config.clone(), node);
        (Self { link, doubts, config }, keeping)
    }

    /// Whether there is any sense in asking the server for something.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.outage().map_or(Ok(()), |detail| Err(unavailable(detail)))
    }

    pub(super) fn outage(&self) -> Option<String> {
        match &*self.link.borrow() {
            Link::Up(_) => None,
            Link::Down(detail) => Some(detail.clone()),
        }
    }

    pub(super) async fn publish(&self, message: Message) -> Result<(), StoreError> {
        let name = message.name()?;
        let mut connection = match &*self.link.borrow() {
            Link::Up(connection) => connection.clone(),
            Link::Down(detail) => return Err(unavailable(detail.clone())),
        };
        let patience = match message.topic {
            Topic::Events => self.config.answer,
            _ => self.config.push,
        };
        let entries = entries(&name, &message, self.config.kept);
        let said = within(patience, entries.exec_async(&mut connection)).await;
        said.map_err(|error| self.doubt(&error))
    }

    /// Notes what an error means for the connection, and says what it means for the message.
    fn doubt(&self, error: &RedisError) -> StoreError {
        let detail = error.to_string();
        let lost = error.is_io_error() || error.kind() == ErrorKind::Parse;
        let elsewhere = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        );
        // One that is only late may answer yet, so it is asked first.
        if elsewhere || (lost && !error.is_timeout()) {
            self.doubts.broken.store(true, Ordering::SeqCst);
        }
        if elsewhere || lost {
            self.doubts.raised.notify_one();
        }
        if lost {
            StoreError::Indeterminate { backend: BACKEND, detail }
        } else if error.code() == Some("OOM") {
            StoreError::Full { backend: BACKEND, detail }
        } else {
            unavailable(detail)
        }
    }
}

/// What is written for a message: all of it, or nothing.
fn entries(name: &str, message: &Message, kept: u32) -> Pipeline {
    let mut entries = pipe();
    let topic = message.topic.name();
    let streams: &[&str] = if name == topic { &[topic] } else { &[topic, name] };
    if streams.len() > 1 {
        entries.atomic();
    }
    for stream in streams {
        let entry = entries.cmd("XADD").arg(stream).arg("MAXLEN").arg("~").arg(kept).arg("*");
        if let Some(id) = &message.id {
            entry.arg("id").arg(id.to_string());
        }
        if let Some(kind) = &message.kind {
            entry.arg("type").arg(kind);
        }
        entry.arg("body").arg(message.body.as_slice());
    }
    entries
}

/// Keeps a connection to whoever is the primary.
async fn keep(
    link: watch::Sender<Link>,
    doubts: Arc<Doubts>,
    reach: Arc<Reach>,
    config: RedisFeedConfig,
    node: Node,
) {
    let mut probes = interval(PROBE);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut attempts = 1;
    loop {
        let now = link.borrow().clone();
        match now {
            Link::Up(mut connection) => {
                tokio::select! {
                    () = doubts.raised.notified() => {}
                    _ = probes.tick() => {}
                }
                let broken = doubts.broken.swap(false, Ordering::SeqCst);
                let checked = match broken {
                    true => Err((ErrorKind::Io, "the connection broke").into()),
                    false => check(&mut connection, Role::Primary, config.answer).await,
                };
                match checked {
                    Ok(()) => attempts = 1,
                    Err(error) => {
                        let detail = silence(&reach, &error);
                        tracing::warn!("events are not carried: {detail}");
                        link.send_replace(Link::Down(detail));
                    }
                }
            }
            Link::Down(_) => {
                attempts += 1;
                wait(pause(&node, attempts)).await;
                match reach.connect(Role::Primary, config.limits()).await {
                    Ok(open) => {
                        tracing::info!("Redis at {} carries events", reach.places());
                        doubts.broken.store(false, Ordering::SeqCst);
                        link.send_replace(Link::Up(open.connection));
                    }
                    Err(error) => {
                        link.send_replace(Link::Down(silence(&reach, &error)));
                    }
                }
            }
        }
    }
}
