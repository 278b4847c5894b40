//! Where Envoy connects. Its connections go to the workers in turn: there are few, and they live long.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use tegata_core::Secret;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::worker::Handed;

/// How many connections there are at a time; others wait in the system's queue. Envoy has one for each of its
/// threads, and more only where there is much to ask.
const PLACES: usize = 1024;

/// How long nobody is let in after the system would not give a connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// A connection of somebody who asks.
pub(crate) struct Asking {
    pub(crate) stream: std::net::TcpStream,
    /// What it must show with every question, where that was said.
    pub(crate) secret: Option<Arc<Secret<String>>>,
    /// Its place, which comes free when it ends.
    pub(crate) place: OwnedSemaphorePermit,
}

/// Accepts connections until it is told to stop, and hands them to the workers.
pub(crate) async fn keep(
    listeners: Vec<TcpListener>,
    hands: Vec<mpsc::Sender<Handed>>,
    secret: Option<Arc<Secret<String>>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut doors = JoinSet::new();
    let places = Arc::new(Semaphore::new(PLACES));
    for listener in listeners {
        let (hands, secret, places) = (hands.clone(), secret.clone(), Arc::clone(&places));
        doors.spawn_local(accept(listener, hands, secret, places));
    }
    // Whoever could tell it to stop is gone: it stops.
    let _ = stop.wait_for(|stop| *stop).await;
    // The doors are closed with it.
    doors.shutdown().await;
}

async fn accept(
    listener: TcpListener,
    hands: Vec<mpsc::Sender<Handed>>,
    secret: Option<Arc<Secret<String>>>,
    places: Arc<Semaphore>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the listener for Envoy cannot be used");
            return;
        }
    };
    let mut pause = interval(EXHAUSTED);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turns = (0..hands.len()).cycle();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                let hand = turns.next().and_then(|turn| hands.get(turn));
                let handed = Handed::Asking(Asking { stream, secret: secret.clone(), place });
                // One that does not come to take it loses it: Envoy connects again.
                let _ = hand.map(|hand| hand.try_send(handed));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "a connection of Envoy was not accepted");
                pause.reset();
                pause.tick().await;
            }
        }
    }
}
