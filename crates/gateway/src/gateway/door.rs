//! Where connections come in. The door waits for nobody: whoever it cannot hand to a worker it turns away.

use std::{
    cell::Cell,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval},
};

use super::turned::{self, Once};
use crate::{
    gate::Gates,
    metrics::OfService,
    shed::Reason,
    trace::Names,
    worker::{Accepted, Handed},
};

/// How often callers are forgotten who have their whole allowance again.
const FORGET: Duration = Duration::from_secs(10);
/// How long no connection is accepted after the system would not give one: it has no descriptors
/// left, and asking again at once only keeps it from finding some.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How many idle connections each worker closes then, so that some come free.
const SPARE: usize = 8;
/// How often it is said that the system does not give one.
const SAID: Duration = Duration::from_secs(10);

/// How many connections are accepted at most after the gateway was told to stop.
const LAST: usize = 1024;
/// How many clients are told at a time that there is no room for them. More are hung up on.
const TOLD: usize = 256;

/// The workers, in turn.
pub(super) struct Hands {
    all: Vec<mpsc::Sender<Handed>>,
    turn: Cell<usize>,
    gate: Arc<Gates>,
    secure: bool,
    names: Names,
    here: Arc<OfService>,
    hsts: Option<http::HeaderValue>,
    told: Cell<usize>,
    scarce: Once,
}

impl Hands {
    pub(super) fn new(gate: &Arc<Gates>, secure: bool, all: Vec<mpsc::Sender<Handed>>) -> Self {
        let hsts = gate.now().config.hsts;
        Self {
            all,
            turn: Cell::new(0),
            secure,
            names: Names::new(&gate.node),
            here: gate.metrics.service("gateway"),
            hsts: hsts.and_then(|age| format!("max-age={}", age.as_secs()).try_into().ok()),
            told: Cell::new(0),
            scarce: Once::default(),
            gate: Arc::clone(gate),
        }
    }
}

/// Accepts connections until it is told to stop. The listeners are closed then.
pub(super) async fn keep(
    listeners: Vec<TcpListener>,
    hands: Hands,
    mut stop: watch::Receiver<bool>,
) {
    let hands = Rc::new(hands);
    let mut doors = JoinSet::new();
    for listener in listeners {
        doors.spawn_local(accept(listener, Rc::clone(&hands), stop.clone()));
    }
    let gate = &hands.gate;
    let mut ticks = interval(FORGET);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => gate.tally.forget(),
            Some(ended) = doors.join_next() => go_on_with_panic(ended),
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    // A door that ends otherwise than by closing is closed all the same.
    while doors.join_next().await.is_some() {}
}

/// A door that fell out of its frame takes the house with it: nobody comes in any more, and whoever runs the
/// gateway is to know.
fn go_on_with_panic(ended: Result<(), JoinError>) {
    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
        std::panic::resume_unwind(panic);
    }
}

async fn accept(listener: TcpListener, hands: Rc<Hands>, mut stop: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener of the gateway cannot be used");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Ok(stream) = stream.into_std() {
                    hands.give(stream, peer);
                }
            }
            // That one client has gone again says nothing about the next.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                hands.is_scarce(&error);
                tokio::select! {
                    () = turned::rest(BACK_OFF) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            }
        }
    }
    // Whoever stands before the door when it closes is let in, because clients take what the system
    // accepted for a promise; but not everybody who could come meanwhile. The system is asked
    // itself: the runtime may not have heard of the last ones yet.
    let Ok(listener) = listener.into_std() else { return };
    for accepted in listener.incoming().map_while(Result::ok).take(LAST) {
        if let Ok(peer) = accepted.peer_addr() {
            hands.give(accepted, peer);
        }
    }
}

impl Hands {
    /// Gives a connection to the next worker that has room for it. Closes it where its client has all the
    /// connections that it may have, and tells it where there is no room.
    fn give(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = self.gate.places.take(peer.ip()) else { return };
        let Some((worker, hand, instead)) = self.choose() else {
            self.turn_away(stream);
            return;
        };
        let seat = self.gate.load.seat(worker);
        let accepted = Accepted { stream, peer, place, seat, instead };
        // A worker that is gone takes its connections with it. Nobody else hands them any, so that there is
        // still room where there was.
        let _ = hand.try_send(Handed::Client(accepted));
    }

    /// The worker whose turn it is, where it has room; otherwise the one that has the fewest connections;
    /// otherwise the one that has the most on which nothing is asked for, one of which is closed then.
    fn choose(&self) -> Option<(usize, &mpsc::Sender<Handed>, bool)> {
        let (load, limit) = (&self.gate.load, self.gate.now().config.limits.connections);
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        // One that does not come to take what it is handed is full, too.
        let takes = |(_, hand): &(usize, &mpsc::Sender<Handed>)| hand.capacity() > 0;
        let all = || self.all.iter().enumerate().filter(takes);
        if !load.memory.is_full() {
            let has_room =
                |(worker, _): &(usize, &mpsc::Sender<Handed>)| load.of(*worker).0 < limit;
            let next = turn.checked_rem(self.all.len())?;
            let next = all().filter(has_room).find(|(worker, _)| *worker == next);
            let least = || all().filter(has_room).min_by_key(|(worker, _)| load.of(*worker).0);
            if let Some((worker, hand)) = next.or_else(least) {
                return Some((worker, hand, false));
            }
        }
        let can_have = |(worker, _): &(usize, &mpsc::Sender<Handed>)| {
            let (taken, idle) = load.of(*worker);
            idle > 0 && taken < limit.saturating_add(idle)
        };
        let most = all().filter(can_have).max_by_key(|(worker, _)| load.of(*worker).1);
        most.map(|(worker, hand)| (worker, hand, true))
    }

    fn turn_away(self: &Rc<Self>, stream: TcpStream) {
        self.gate.metrics.shed().count(Reason::Connections);
        // What is said with TLS takes a handshake, which costs more than to serve somebody.
        if self.secure || self.told.get() >= TOLD {
            return;
        }
        let Ok(stream) =
            stream.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(stream))
        else {
            return;
        };
        self.told.set(self.told.get() + 1);
        let hands = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let (turn, own) = (hands.turn.get(), (&hands.names, &*hands.here));
            turned::excuse(stream, turn, own, hands.hsts.as_ref()).await;
            hands.told.set(hands.told.get().saturating_sub(1));
        });
    }

    /// The system does not give a connection.
    fn is_scarce(&self, error: &io::Error) {
        if self.scarce.in_a(SAID, self.gate.node.since_boot().0) {
            tracing::warn!(%error, "connections cannot be accepted; idle ones are closed");
        }
        self.gate.load.spare(SPARE);
    }
}
