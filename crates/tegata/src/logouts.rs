//! Clients hear that sessions have ended (OpenID Connect Back-Channel Logout 1.0): one that is slow or
//! away delays no other.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tegata_core::{ClientId, StoreError, Timestamp};
use tegata_oauth::backchannel::{Attempt, RelyingParty};
use tegata_server::metrics::Logouts as Counts;
use tokio::task::JoinSet;

use crate::{
    background::Rounds,
    command::Failed,
    compose::Composed,
    signals::{lease::Lease, way},
    supervisor::{Tasks, Weight},
};

mod send;

use send::Sender;

/// How often it is looked whether a session has ended.
const LOOKS: Duration = Duration::from_millis(200);
/// So many looks later, it is looked for what was left behind, too.
const LEFT_LOOK: u32 = 150;
/// How many messages to one client are kept in mind; the others wait in the store.
const IN_MIND: usize = 1000;
/// An answer that takes longer counts as none when it is decided how many more are sent there.
const SLOW: Duration = Duration::from_secs(2);
/// How many messages are under way at once.
const TOGETHER: usize = 256;
/// How many of them to one client.
const TO_ONE: usize = 4;
/// How long a client is left alone at most that did not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Starts telling clients.
pub(crate) fn start(
    tasks: &mut Tasks,
    composed: &Arc<Composed>,
    counts: Counts,
) -> Result<(), Failed> {
    let sender = Sender::new(way::to_clients(&composed.config)?);
    let all = Arc::clone(composed);
    tasks.keep("logouts", Weight::Helpful, move || {
        deliver(Arc::clone(&all), sender.clone(), counts.clone())
    });
    Ok(())
}

async fn deliver(composed: Arc<Composed>, sender: Sender, counts: Counts) {
    let fails = "clients cannot be told of sessions that ended; what they are told waits";
    let mut rounds = Rounds::every(LOOKS, fails);
    let (mut lease, mut desk) = (Lease::of("logouts"), None::<Desk>);
    let mut look = 0_u32;
    loop {
        rounds.next().await;
        look = look.wrapping_add(1);
        let round = async {
            if !lease.is_ours(&composed).await? {
                desk = None;
                return Ok(());
            }
            let desk = desk.get_or_insert_default();
            desk.clear(composed.node.now());
            // What was left behind by whoever did this before, or was written down without an answer
            // that said so.
            if desk.looks_again || look.is_multiple_of(LEFT_LOOK) {
                desk.look_for_left(&composed).await?;
            }
            loop {
                let found = composed.provider.find_logouts().await;
                let (found, more) = found.inspect_err(|_| desk.looks_again = true)?;
                found.into_iter().for_each(|party| desk.take_in(party));
                if !more {
                    break;
                }
            }
            desk.send(&composed, &sender, &counts);
            Ok::<_, StoreError>(())
        };
        rounds.ended(&round.await);
    }
}

/// What is to be sent, and what is under way.
struct Desk {
    queues: HashMap<ClientId, Queue>,
    under_way: JoinSet<Sent>,
    /// What waits or is under way.
    known: HashSet<String>,
    looks_again: bool,
}

impl Default for Desk {
    fn default() -> Self {
        let (queues, under_way, known) = Default::default();
        Self { queues, under_way, known, looks_again: true }
    }
}

/// What is to be sent to one client.
#[derive(Default)]
struct Queue {
    /// By when it is due, the earliest first.
    due: BinaryHeap<Reverse<(Timestamp, String)>>,
    waiting: HashMap<String, RelyingParty>,
    under_way: usize,
    /// How often it did not answer since it did the last time.
    silent: u32,
    /// Until when it is left alone.
    pause: Timestamp,
}

/// What came of a message.
struct Sent {
    key: String,
    client: ClientId,
    arrived: bool,
    /// What is to be sent again.
    again: Option<RelyingParty>,
}

impl Desk {
    /// Takes in what is to be sent and not known here.
    async fn look_for_left(&mut self, composed: &Composed) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = composed.provider.due_logouts(after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key().to_owned());
            page.into_iter().for_each(|party| self.take_in(party));
        }
        self.looks_again = false;
        Ok(())
    }

    fn take_in(&mut self, party: RelyingParty) {
        let Some(at) = party.due() else { return };
        let queue = self.queues.entry(party.client.clone()).or_default();
        if queue.waiting.len() >= IN_MIND || !self.known.insert(party.key().to_owned()) {
            return;
        }
        queue.due.push(Reverse((at, party.key().to_owned())));
        queue.waiting.insert(party.key().to_owned(), party);
    }

    /// Clears away what has ended.
    fn clear(&mut self, now: Timestamp) {
        while let Some(ended) = self.under_way.try_join_next() {
            let Ok(Sent { key, client, arrived, again }) = ended else { continue };
            self.known.remove(&key);
            let queue = self.queues.entry(client).or_default();
            queue.under_way = queue.under_way.saturating_sub(1);
            queue.silent = if arrived { 0 } else { queue.silent.saturating_add(1) };
            if queue.silent > 0 {
                let pause = Duration::from_secs(1 << queue.silent.min(6)).min(LONGEST_PAUSE);
                queue.pause = now + pause;
            }
            again.into_iter().for_each(|party| self.take_in(party));
        }
        self.queues.retain(|_, queue| queue.under_way > 0 || !queue.waiting.is_empty());
    }

    /// Sends what is due. A client that did not answer is asked with one message, after a while.
    fn send(&mut self, composed: &Arc<Composed>, sender: &Sender, counts: &Counts) {
        let now = composed.node.now();
        for queue in self.queues.values_mut() {
            while self.under_way.len() < TOGETHER
                && let Some(party) = queue.next(now)
            {
                let (composed, sender) = (Arc::clone(composed), sender.clone());
                let counts = counts.clone();
                self.under_way.spawn(async move { tell(&composed, &sender, &counts, party).await });
            }
        }
    }
}

impl Queue {
    /// What can be sent now.
    fn next(&mut self, now: Timestamp) -> Option<RelyingParty> {
        let places = if self.silent > 0 { 1 } else { TO_ONE };
        if self.under_way >= places || (self.silent > 0 && now < self.pause) {
            return None;
        }
        let Reverse((at, _)) = self.due.peek()?;
        if *at > now {
            return None;
        }
        let Reverse((_, key)) = self.due.pop()?;
        let party = self.waiting.remove(&key)?;
        self.under_way += 1;
        Some(party)
    }
}

async fn tell(composed: &Composed, sender: &Sender, counts: &Counts, party: RelyingParty) -> Sent {
    let (key, client) = (party.key().to_owned(), party.client.clone());
    let began = composed.node.since_boot();
    let attempt = match composed.provider.logout_message(&party).await {
        Ok(Some(message)) => sender.send(&message).await,
        Ok(None) => Attempt::Refused("it has no address for it any more".to_owned()),
        Err(refused) => Attempt::Failed(format!("the message cannot be made: {refused:?}")),
    };
    let is_slow = composed.node.elapsed(began) > SLOW;
    let arrived = !matches!(attempt, Attempt::Failed(_)) && !is_slow;
    counts.noted(match &attempt {
        Attempt::Accepted => "delivered",
        Attempt::Refused(_) => "refused",
        Attempt::Failed(_) => "failed",
    });
    if let Attempt::Refused(why) | Attempt::Failed(why) = &attempt {
        tracing::info!(client = %client, %why, "a client was not told that a session has ended");
    }
    let again = composed.provider.note_logout(&party, attempt).await.unwrap_or_else(|error| {
        tracing::warn!(%client, %error, "what came of a message cannot be written down");
        // Sent again, perhaps: a client can be told twice.
        Some(party)
    });
    Sent { key, client, arrived, again }
}

#[cfg(test)]
mod tests {
    use tegata_oauth::backchannel::Told;

    use super::*;

    fn party(client: &str, number: u64) -> RelyingParty {
        let session = format!("1.20000.s{number}").parse().unwrap();
        let party =
            RelyingParty::new(&session, &client.parse().unwrap(), &"usr_1".parse().unwrap());
        let told = Told::Due { at: Timestamp::from_secs(number), attempts: 0, last: None };
        party.being(told)
    }

    fn ended(desk: &mut Desk, client: &str, arrived: bool, now: Timestamp) {
        let client: ClientId = client.parse().unwrap();
        desk.under_way.spawn(std::future::ready(Sent {
            key: String::new(),
            client,
            arrived,
            again: None,
        }));
        while !desk.under_way.is_empty() {
            desk.clear(now);
            std::thread::yield_now();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_client_that_is_away_keeps_no_places() {
        let (mut desk, now) = (Desk::default(), Timestamp::from_secs(100));
        (0..20).for_each(|number| desk.take_in(party("dead", number)));
        let next = |desk: &mut Desk, now| {
            let queue = desk.queues.get_mut(&"dead".parse().unwrap()).unwrap();
            std::iter::from_fn(|| queue.next(now)).count()
        };
        assert_eq!(next(&mut desk, now), TO_ONE);
        for _ in 0..TO_ONE {
            ended(&mut desk, "dead", false, now);
        }
        // It is left alone for a while, then asked with one message.
        assert_eq!(next(&mut desk, now + Duration::from_secs(15)), 0);
        assert_eq!(next(&mut desk, now + Duration::from_secs(16)), 1);
        ended(&mut desk, "dead", true, now + Duration::from_secs(17));
        assert_eq!(next(&mut desk, now + Duration::from_secs(17)), TO_ONE);
    }

    #[test]
    fn what_is_not_due_waits() {
        let mut queue = Queue::default();
        let party = party("web", 50);
        queue.due.push(Reverse((Timestamp::from_secs(50), party.key().to_owned())));
        queue.waiting.insert(party.key().to_owned(), party);
        assert!(queue.next(Timestamp::from_secs(49)).is_none());
        assert!(queue.next(Timestamp::from_secs(50)).is_some());
    }
}
