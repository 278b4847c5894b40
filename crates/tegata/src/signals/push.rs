//! Who has signals pushed gets them (RFC 8935): a task for each stream, so that one that is slow or
//! away delays no other.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tegata_core::{Log, StoreError};
use tegata_oauth::signals::{
    Delivery, Handled, RefusedSet, Status, Stream, StreamRefused, Streams,
};
use tegata_server::metrics::Signals as Counts;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::lease::Lease;
use crate::{background::Rounds, compose::Composed};

mod send;

pub(super) use send::Sender;
use send::Sent;

/// How often it is looked whether the journal has grown.
const LOOKS: Duration = Duration::from_millis(200);
/// So many looks later, the streams are looked at too.
const STREAMS_LOOK: u32 = 5;
/// How many signals are given to a receiver before it is written down what arrived.
const TOGETHER: usize = 20;
/// How long is waited for news before it is looked without them.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long is waited at most before a receiver that did not answer is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How often a signal is sent that its receiver refuses.
const ATTEMPTS: u32 = 5;

/// What the task of a stream was started for. Where that changes, it is started anew.
#[derive(PartialEq, Eq)]
struct Meant {
    delivery: Delivery,
    status: Status,
}

/// The tasks of streams.
#[derive(Default)]
struct Workers {
    tasks: JoinSet<()>,
    of: HashMap<String, (AbortHandle, Meant)>,
}

/// Delivers what is due on all streams that are pushed.
pub(super) async fn deliver(
    composed: Arc<Composed>,
    streams: Streams,
    sender: Sender,
    counts: Counts,
) {
    let fails = "signals cannot be delivered; what they tell waits in the journal";
    let mut rounds = Rounds::every(LOOKS, fails);
    let (mut workers, mut lease, mut look) = (Workers::default(), Lease::of("push"), 0_u32);
    let (grown, growth) = watch::channel(0);
    let worker = |id: &str| {
        let (streams, sender, counts) = (streams.clone(), sender.clone(), counts.clone());
        work(id.to_owned(), streams, sender, growth.clone(), counts)
    };
    loop {
        rounds.next().await;
        let round = async {
            if look.is_multiple_of(STREAMS_LOOK) {
                let wanted = if lease.is_ours(&composed).await? {
                    pushed(&streams).await?
                } else {
                    BTreeMap::new()
                };
                workers.become_those(wanted, worker);
            }
            if !workers.of.is_empty() {
                // Nothing is so far behind; what is asked for is the end.
                let head = composed.records.pull(Log::Journal, u64::MAX >> 1, 1).await?.head;
                grown.send_if_modified(|known| std::mem::replace(known, head) != head);
            }
            Ok::<_, StoreError>(())
        };
        rounds.ended(&round.await);
        look = look.wrapping_add(1);
    }
}

/// The streams that are to be pushed. Those whose receivers are silent are paused on the way.
async fn pushed(streams: &Streams) -> Result<BTreeMap<String, Meant>, StoreError> {
    let mut wanted = BTreeMap::new();
    let mut after = None;
    loop {
        let page = streams.page(after).await?;
        let Some(last) = page.last() else { return Ok(wanted) };
        after = Some(last.id.clone());
        for stream in page {
            streams.pause_if_silent(&stream).await?;
            let Stream { id, delivery, status, .. } = stream;
            if matches!(delivery, Delivery::Push { .. }) && status != Status::Disabled {
                wanted.insert(id, Meant { delivery, status });
            }
        }
    }
}

impl Workers {
    /// Stops and starts tasks until there are those that are wanted.
    fn become_those<F>(&mut self, mut wanted: BTreeMap<String, Meant>, worker: impl Fn(&str) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.tasks.try_join_next().is_some() {}
        self.of.retain(|id, (task, meant)| {
            let stays = !task.is_finished() && wanted.get(id) == Some(meant);
            if stays {
                wanted.remove(id);
            } else {
                task.abort();
            }
            stays
        });
        for (id, meant) in wanted {
            let task = self.tasks.spawn(worker(&id));
            self.of.insert(id, (task, meant));
        }
    }
}

/// Delivers one stream until it is gone or no longer pushed.
async fn work(
    id: String,
    streams: Streams,
    sender: Sender,
    mut growth: watch::Receiver<u64>,
    counts: Counts,
) {
    let mut batch = Batch { handled: Handled::default(), attempts: HashMap::new() };
    let mut pause = Pause::default();
    loop {
        growth.mark_unchanged();
        // What cannot be written down stays in hand, and is written down next time.
        let given = match streams.exchange(&id, &batch.handled, TOGETHER).await {
            Ok(given) => given,
            Err(StreamRefused::Store(error)) => {
                tracing::warn!(stream = %id, %error, "what was delivered cannot be written down");
                pause.wait().await;
                continue;
            }
            Err(_) => return,
        };
        batch.handled = Handled::default();
        let Delivery::Push { endpoint, authorization } = &given.stream.delivery else { return };
        if given.due.is_empty() && !given.more {
            // An error is that nobody looks any more, and then this ends too.
            let _ = timeout(LONGEST_WAIT, growth.changed()).await;
            continue;
        }
        let mut failed = None;
        for due in &given.due {
            let sent = sender.send(endpoint, authorization.as_ref(), &due.set).await;
            failed = batch.note(&due.jti, sent, &counts).err();
            if failed.is_some() {
                break;
            }
        }
        match failed {
            None => pause.over(&id),
            Some(why) => {
                pause.told(&id, &why);
                // Written down before a wait that may be long.
                if streams.exchange(&id, &batch.handled, 0).await.is_ok() {
                    batch.handled = Handled::default();
                }
                pause.wait().await;
            }
        }
    }
}

/// What became of signals that were sent.
struct Batch {
    handled: Handled,
    /// How often those were sent that were refused.
    attempts: HashMap<String, u32>,
}

impl Batch {
    /// Notes what became of a signal, or says why it is to be sent again.
    fn note(&mut self, jti: &str, sent: Sent, counts: &Counts) -> Result<(), String> {
        match sent {
            Sent::Accepted => {
                self.attempts.remove(jti);
                self.handled.acked.push(jti.to_owned());
                counts.delivered("push", "delivered", 1);
                Ok(())
            }
            Sent::Refused(err) => {
                let attempts = self.attempts.entry(jti.to_owned()).or_insert(0);
                *attempts += 1;
                if *attempts < ATTEMPTS {
                    return Err(format!("it refuses a signal: {err:?}"));
                }
                self.attempts.remove(jti);
                tracing::warn!(%jti, ?err, "a receiver refused a signal, which is not sent again");
                self.handled.refused.push(RefusedSet { jti: jti.to_owned(), err });
                counts.delivered("push", "refused", 1);
                Ok(())
            }
            Sent::Failed(why) => {
                counts.delivered("push", "failed", 1);
                Err(why)
            }
        }
    }
}

/// Waiting longer and longer while a receiver is away, and saying so twice.
#[derive(Default)]
struct Pause {
    times: u32,
}

impl Pause {
    fn told(&mut self, stream: &str, why: &str) {
        if self.times == 0 {
            tracing::warn!(%stream, %why, "signals cannot be sent; they wait in the journal");
        }
    }

    fn over(&mut self, stream: &str) {
        if self.times > 0 {
            tracing::info!(%stream, "signals are sent again");
            self.times = 0;
        }
    }

    /// A second at first, then twice as long each time.
    async fn wait(&mut self) {
        let pause = Duration::from_secs(1 << self.times.min(9)).min(LONGEST_PAUSE);
        self.times = self.times.saturating_add(1);
        // A tick that does not come is a wait that ends.
        let _ = timeout(pause, std::future::pending::<()>()).await;
    }
}
