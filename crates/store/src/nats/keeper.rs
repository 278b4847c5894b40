//! Who watches the connection: what becomes of it, and what that means to subscribers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_nats::{Client, Event, ServerError, Subscriber, connection::State, jetstream::Context};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tegata_core::port::Heard;
use tokio::{
    sync::Notify,
    time::{Duration, MissedTickBehavior, interval},
};

use super::{NatsConfig, stream};
use crate::fan::{Fan, Fans};

/// How often a stream that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of the connection beside what the driver knows.
pub(super) struct Keeper {
    places: String,
    signs: Arc<Signs>,
    /// Why events are not kept although the server is there. `None`: they are.
    trouble: Mutex<Option<String>>,
    closed: AtomicBool,
    closing: Notify,
}

/// What the driver told.
#[derive(Default)]
struct Signs {
    changed: Notify,
    /// Messages were dropped here, because nobody took them.
    dropped: AtomicBool,
    /// The stream may be gone.
    doubted: AtomicBool,
    /// What the server refused last.
    refused: Mutex<Option<String>>,
}

/// The end of it that the driver speaks to.
pub(super) struct Ear(Arc<Signs>);

impl Ear {
    /// Hears what became of the connection. Nothing here waits: the driver forgets what it cannot
    /// tell at once.
    pub(super) fn hear(&self, event: &Event) {
        match event {
            Event::Connected => *self.0.refused.lock() = None,
            Event::SlowConsumer(_) => self.0.dropped.store(true, Ordering::SeqCst),
            Event::ServerError(ServerError::Other(said)) => {
                *self.0.refused.lock() = Some(said.clone());
            }
            _ => {}
        }
        self.0.changed.notify_one();
    }
}

impl Keeper {
    pub(super) fn new(places: &str) -> Self {
        Self {
            places: places.to_owned(),
            signs: Arc::default(),
            trouble: Mutex::new(Some("it has not been asked for its streams yet".to_owned())),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
        }
    }

    pub(super) fn ear(&self) -> Ear {
        Ear(Arc::clone(&self.signs))
    }

    /// Events are kept.
    pub(super) fn confirmed(&self) {
        *self.trouble.lock() = None;
    }

    /// Events are not kept.
    pub(super) fn in_trouble(&self, detail: String) {
        *self.trouble.lock() = Some(detail);
        self.signs.changed.notify_one();
    }

    /// Events may not be kept.
    pub(super) fn doubt(&self) {
        self.signs.doubted.store(true, Ordering::SeqCst);
        self.signs.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.closing.notify_one();
    }

    /// Why there is no sense in asking the server for something.
    pub(super) fn disconnection(&self, client: &Client) -> Option<String> {
        let there = client.connection_state() == State::Connected;
        (!there).then(|| format!("nobody answers at `{}`", self.places))
    }

    /// Why not everything can be published.
    pub(super) fn outage(&self, client: &Client) -> Option<String> {
        let of_events = || self.trouble.lock().clone();
        let of_rights = || self.signs.refused.lock().clone();
        self.disconnection(client)
            .or_else(|| of_events().map(|it| format!("NATS keeps no events: {it}")))
            .or_else(|| of_rights().map(|it| format!("NATS refuses: {it}")))
    }

    /// Watches until it is closed.
    pub(super) async fn keep(
        self: Arc<Self>,
        client: Client,
        jetstream: Context,
        fans: Fans,
        config: NatsConfig,
    ) {
        let statistics = client.statistics();
        // A connection is counted when it is made, so what the driver could not tell is seen, too.
        let connects = || statistics.connects.load(Ordering::SeqCst);
        let mut seen = connects();
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.closed.load(Ordering::SeqCst) {
            tokio::select! {
                () = self.closing.notified() => return,
                () = self.signs.changed.notified() => {}
                _ = again.tick() => {}
            }
            let mut missed = self.signs.dropped.swap(false, Ordering::SeqCst);
            if client.connection_state() == State::Connected {
                let now = connects();
                let troubled = self.trouble.lock().is_some();
                let doubted = self.signs.doubted.swap(false, Ordering::SeqCst);
                if now != seen || troubled || doubted {
                    missed |= now != seen;
                    // By answering, the server has also taken our subscriptions.
                    match stream::ensure(&jetstream, &config).await {
                        Ok(()) => {
                            if troubled {
                                missed = true;
                                tracing::info!("NATS keeps events");
                            }
                            self.confirmed();
                            seen = now;
                        }
                        Err(fault) => {
                            if matches!(fault, stream::Fault::Refused(_)) {
                                seen = now;
                            }
                            self.note(fault);
                        }
                    }
                }
            }
            if missed {
                fans.gap();
            }
        }
    }

    /// Notes why events are not kept, and says so when that begins.
    fn note(&self, fault: stream::Fault) {
        let detail = match fault {
            stream::Fault::Refused(refused) => refused.to_string(),
            stream::Fault::Silent(detail) => detail,
        };
        let mut trouble = self.trouble.lock();
        if trouble.as_ref() != Some(&detail) {
            tracing::warn!("NATS keeps no events: {detail}");
        }
        *trouble = Some(detail);
    }
}

/// Carries what the server sends to the subscribers here. It is always faster than they are, so what
/// is missed is missed in their ring, which says so.
pub(super) async fn pump(mut subscriber: Subscriber, fan: Fan) {
    while let Some(message) = subscriber.next().await {
        fan.say(Heard::Message(message.payload.to_vec()));
    }
}
