//! Where connections come in.

use std::{
    cell::Cell,
    net::{SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tegata_core::Places;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval},
};

use crate::{gate::Shared, worker::Accepted};

/// How often callers are forgotten who have their whole allowance again.
const FORGET: Duration = Duration::from_secs(10);
/// How long no connection is accepted after the system would not give one: it has no descriptors
/// left, and asking again at once only keeps it from finding some.
const BACK_OFF: Duration = Duration::from_millis(50);

/// How many connections are accepted at most after the gateway was told to stop.
const LAST: usize = 1024;

/// The workers, in turn.
struct Hands {
    all: Vec<mpsc::Sender<Accepted>>,
    turn: Cell<usize>,
    places: Arc<Places>,
}

/// Accepts connections until it is told to stop. The listeners are closed then.
pub(super) async fn keep(
    listeners: Vec<TcpListener>,
    hands: Vec<mpsc::Sender<Accepted>>,
    gate: &Shared,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::clone(&gate.places);
    let hands = Rc::new(Hands { all: hands, turn: Cell::new(0), places });
    let mut doors = JoinSet::new();
    for listener in listeners {
        doors.spawn_local(accept(listener, Rc::clone(&hands), stop.clone()));
    }
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
    let mut pause = interval(BACK_OFF);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Ok(stream) = stream.into_std() {
                    hands.give(stream, peer).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                pause.reset();
                pause.tick().await;
            }
        }
    }
    // Whoever stands before the door when it closes is let in, because clients take what the system
    // accepted for a promise; but not everybody who could come meanwhile. The system is asked
    // itself: the runtime may not have heard of the last ones yet.
    let Ok(listener) = listener.into_std() else { return };
    for accepted in listener.incoming().map_while(Result::ok).take(LAST) {
        if let Ok(peer) = accepted.peer_addr() {
            hands.give(accepted, peer).await;
        }
    }
}

impl Hands {
    /// Gives a connection to the next worker, and waits until that has room for it. Closes it where
    /// its client has all the connections that it may have.
    async fn give(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = self.places.take(peer.ip()) else { return };
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let next = turn.checked_rem(self.all.len()).and_then(|next| self.all.get(next));
        if let Some(hand) = next {
            // A worker that is gone takes its connections with it.
            let _ = hand.send(Accepted { stream, peer, place }).await;
        }
    }
}
