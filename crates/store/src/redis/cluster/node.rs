//! A node of a cluster.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, RedisResult, Value};
use tokio::time::timeout;

use super::told::Told;
use crate::redis::{
    RedisConfig,
    address::{Place, shown},
    fault::{Fault, is_about_login},
    line::Lines,
    reach::{Access, Open, Reach, Role},
};

/// After how many questions without an answer a node is no longer asked first.
const FEW: u32 = 10;

/// A node of the cluster, and the connections to it.
pub(super) struct Node {
    pub(super) place: Place,
    /// For what is about keys whose primary it is.
    pub(super) lines: Lines,
    /// For what any node answers: reading from replicas, and what it knows of all.
    aside: Lines,
    /// How many such questions there have been since the last answer.
    unanswered: AtomicU32,
}

impl Node {
    /// Connections to it. Nothing is connected yet.
    pub(super) fn new(
        access: &Arc<Access>,
        place: Place,
        count: usize,
        config: &RedisConfig,
    ) -> Self {
        let reach = Arc::new(Reach::node(access, place.clone()));
        let lines = Lines::new(&reach, Role::Primary, count, config).untimed();
        let aside = Lines::new(&reach, Role::Replica, 1, config).untimed();
        Self { place, lines, aside, unanswered: AtomicU32::new(0) }
    }

    /// Whether it is connected, and answers.
    pub(super) fn is_there(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) < FEW && self.aside.ready(0).is_some()
    }

    /// Opens all connections that are of use, as far as they can be opened.
    pub(super) async fn warm(&self, is_primary: bool) {
        let lines = async {
            if is_primary {
                // That it cannot be reached is seen by whoever needs it.
                let _warmed = self.lines.warm().await;
            }
        };
        tokio::join!(lines, async { drop(self.aside.warm().await) });
    }

    /// A connection for what any node answers.
    pub(super) async fn open_aside(&self, patience: Duration) -> Result<Open, Fault> {
        self.aside.open(0, patience).await
    }

    /// Asks what any node answers. It may take `patience` to connect, and as long to answer.
    pub(super) async fn ask(
        &self,
        question: &Cmd,
        patience: Duration,
    ) -> Result<RedisResult<Value>, Fault> {
        let mut open = self.open_aside(patience).await?;
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        let Ok(answer) = timeout(patience, open.ask(question)).await else {
            open.leave();
            let waited = patience.as_millis();
            let place = shown(&self.place);
            return Err(Fault::Lost(format!("no answer of {place} after {waited} ms")));
        };
        self.unanswered.store(0, Ordering::Relaxed);
        Ok(answer)
    }

    /// Asks what it knows of all.
    pub(super) async fn tell(&self, patience: Duration) -> Result<Told, Fault> {
        let (mut info, mut slots) = (redis::cmd("CLUSTER"), redis::cmd("CLUSTER"));
        info.arg("INFO");
        slots.arg("SLOTS");
        let (info, slots) = tokio::join!(self.ask(&info, patience), self.ask(&slots, patience));
        let slots = slots?.map_err(|error| Fault::answering(&error))?;
        // One whose user may not ask how it is can be asked for the slots all the same.
        let info = match info? {
            Err(error) if !is_about_login(&error) => return Err(Fault::answering(&error)),
            info => info.ok(),
        };
        let strange = || Fault::Refused("it does not say who has which slots".to_owned());
        Told::read(info, slots, &self.place.0).ok_or_else(strange)
    }
}
