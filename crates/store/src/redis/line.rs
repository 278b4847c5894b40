//! Connections to one server: the one that an address names, or the one that Sentinels name at the
//! moment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use redis::{Cmd, RedisResult, Value};

use super::{
    RedisConfig,
    address::Place,
    door::Door,
    fault::Fault,
    reach::{Limits, Open, Reach, Role},
};

/// How many commands in a row take the same connection: what is sent at the same time is written
/// together, and answered together.
const TOGETHER: usize = 32;

/// Connections that lead to the same server. They are made when they are needed, and anew when they
/// break.
pub(super) struct Lines {
    reach: Arc<Reach>,
    role: Role,
    lines: Arc<[Door<Open>]>,
    turn: AtomicUsize,
    limits: Limits,
    timeout: Duration,
}

impl Lines {
    /// Lines to a server of that role. Nothing is connected yet.
    pub(super) fn new(reach: &Arc<Reach>, role: Role, count: usize, config: &RedisConfig) -> Self {
        Self {
            reach: Arc::clone(reach),
            role,
            lines: (0..count.max(1)).map(|_| Door::new()).collect(),
            turn: AtomicUsize::new(0),
            limits: Limits { connect: config.connect, answer: Some(config.timeout) },
            timeout: config.timeout,
        }
    }

    /// The same for whoever keeps the time of each answer.
    pub(super) fn untimed(mut self) -> Self {
        self.limits.answer = None;
        self
    }

    /// Opens all lines, as far as they can be opened.
    ///
    /// # Errors
    /// Why the first one cannot.
    pub(super) async fn warm(&self) -> Result<(), Fault> {
        // Sentinels are asked, then a server is connected, then asked.
        let patience = self.limits.connect.saturating_mul(4);
        let mut lines = self.lines.iter();
        if let Some(first) = lines.next() {
            self.opened(first, patience).await?;
        }
        join_all(lines.map(|line| self.opened(line, patience))).await;
        Ok(())
    }

    /// Sends a command, and waits for the answer.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<RedisResult<Value>, Fault> {
        self.ask_someone(command).await.map(|(answer, _)| answer)
    }

    /// As [`Self::ask`], with the place of whoever answered.
    pub(super) async fn ask_someone(
        &self,
        command: &Cmd,
    ) -> Result<(RedisResult<Value>, Arc<Place>), Fault> {
        let mut open = self.open(self.turn(), self.timeout).await?;
        let answer = open.ask(command).await;
        Ok((answer, open.place))
    }

    /// Which line is the next.
    pub(super) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) / TOGETHER % self.lines.len()
    }

    /// The connection of a line, if it is there and leads to somebody.
    pub(super) fn ready(&self, line: usize) -> Option<Open> {
        self.lines.get(line)?.there().filter(Open::is_usable)
    }

    /// The connection of a line, made if it is not there.
    pub(super) async fn open(&self, line: usize, patience: Duration) -> Result<Open, Fault> {
        match self.lines.get(line) {
            Some(line) => self.opened(line, patience).await,
            None => Err(Fault::Unsent("there is no connection".to_owned())),
        }
    }

    /// The connection of a line: the one it has, or a new one that all who wait for it share.
    async fn opened(&self, line: &Door<Open>, patience: Duration) -> Result<Open, Fault> {
        let connect = || {
            let (reach, lines) = (Arc::clone(&self.reach), Arc::clone(&self.lines));
            let (role, limits) = (self.role, self.limits);
            async move {
                let connected = reach.connect(role, limits).await;
                let open = connected.map_err(|error| Fault::connecting(&error))?;
                if role == Role::Primary {
                    leave_others(&lines, &open);
                }
                Ok(open)
            }
        };
        line.open(Open::is_usable, patience, connect).await
    }
}

/// Leaves the primary of before: it may have been replaced without closing its connections, and may
/// not know it yet.
fn leave_others(lines: &[Door<Open>], open: &Open) {
    for other in lines.iter().filter_map(Door::there).filter(|other| other.place != open.place) {
        other.gone.store(true, Ordering::Release);
    }
}
