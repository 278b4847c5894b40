//! A cluster: which of its nodes is asked, and what is done when it is not the one, or is gone.
//!
//! A command goes to the node that has the slot of its key, as far as is known. A node that does not
//! have it says who does, and that one is asked at once; meanwhile, what is known is asked for anew
//! ([`learner`]). Where nobody can do it at the moment, as while a replica takes over, it waits a
//! little and tries again, as long as it may take. Only one thing ends it before: its connection breaks
//! after it was sent, and it may not be sent twice ([`Again`]).
//!
//! No command waits for another, nor for a connection to a node that is no longer the one to ask.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::{task::JoinHandle, time::timeout};

use self::{learner::Learner, map::Map, node::Node, slot::slot, told::Member};
use super::{
    RedisConfig, RedisRefused,
    address::{Address, Place},
    fault::{Elsewhere, Fault, elsewhere, is_broken, text},
    reach::{Open, Role},
    wire::{Again, Look, Server},
};

mod learner;
mod map;
mod node;
mod slot;
mod told;

/// How often a command is sent elsewhere without a pause: to who has the slot, to who is given it, and
/// once more if that has just changed.
const AT_ONCE: u32 = 3;

/// The first pause before a command is tried again; each is twice as long as the one before, up to
/// [`LONGEST`]. News end it.
const PAUSE: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(64);

/// The way to all nodes.
pub(super) struct Nodes {
    learner: Arc<Learner>,
    learning: JoinHandle<()>,
    connect: Duration,
    timeout: Duration,
}

/// How far a command has come.
#[derive(Default)]
struct Course {
    /// Where it waits for its answer.
    on: Option<Open>,
    /// Why it is not done yet.
    why: Option<Fault>,
    tries: u32,
}

impl Nodes {
    /// The way to the nodes, with so many connections that there are about as many to each as there
    /// should be. Nothing is connected yet.
    pub(super) fn new(address: &Address, config: &RedisConfig) -> Result<Self, RedisRefused> {
        let learner = Arc::new(Learner::new(address, config)?);
        let learning = tokio::spawn(Arc::clone(&learner).learn());
        Ok(Self { learner, learning, connect: config.connect, timeout: config.timeout })
    }

    /// Opens all connections, as far as they can be opened.
    ///
    /// # Errors
    /// No node says which there are.
    pub(super) async fn warm(&self) -> Result<(), Fault> {
        self.learner.refresh(self.connect).await?;
        let map = self.learner.map();
        join_all(map.roles().map(|(node, has_slots)| node.warm(has_slots))).await;
        Ok(())
    }

    /// Sends a command about a key to the node that has it, or to a replica of that one.
    pub(super) async fn ask(
        &self,
        role: Role,
        again: Again,
        key: &[u8],
        command: &Cmd,
    ) -> Result<RedisResult<Value>, Fault> {
        let (slot, mut course) = (slot(key), Course::default());
        let pursued = async {
            if role == Role::Replica
                && let Some(answer) = self.ask_replica(slot, command, &mut course).await
            {
                return Ok(Ok(answer));
            }
            self.pursue(slot, again, command, &mut course).await
        };
        let answer = timeout(self.timeout, pursued).await;
        answer.unwrap_or_else(|_elapsed| {
            self.learner.doubt();
            Err(course.late(self.timeout))
        })
    }

    /// Sends a command until it is done.
    async fn pursue(
        &self,
        slot: u16,
        again: Again,
        command: &Cmd,
        course: &mut Course,
    ) -> Result<RedisResult<Value>, Fault> {
        let mut redirect: Option<(Arc<Node>, Elsewhere)> = None;
        loop {
            let map = self.learner.map();
            let asking = matches!(redirect, Some((_, Elsewhere::Asking)));
            let to = redirect.as_ref().map(|(node, _)| node).or_else(|| map.primary(slot));
            let Some(node) = to else {
                let why = "no node of the cluster is known that has the key";
                self.pause(course, Fault::Unsent(why.to_owned()), &map).await;
                continue;
            };
            let opened = self.open(node, &map).await;
            redirect = None;
            let open = match opened {
                // There are news of who is to be asked.
                None => continue,
                Some(Err(barred @ Fault::Barred(_))) => return Err(barred),
                Some(Err(fault)) => {
                    self.pause(course, fault, &map).await;
                    continue;
                }
                Some(Ok(open)) => course.on.insert(open),
            };
            let answer = match asking {
                true => open.ask_asking(command).await,
                false => open.ask(command).await,
            };
            let (open, error) = match (course.on.take(), answer) {
                (Some(open), Err(error)) => (open, error),
                (_, answer) => return Ok(answer),
            };
            let detail = || text(&error);
            match elsewhere(&error) {
                Some(Elsewhere::Later) => {
                    self.pause(course, Fault::Refused(detail()), &map).await;
                }
                Some(elsewhere) => {
                    // Who is just being given a slot does not have it yet.
                    if elsewhere == Elsewhere::Moved {
                        self.learner.doubt();
                    }
                    redirect = self.named(&error, &open.place).map(|node| (node, elsewhere));
                    if redirect.is_none() || course.tries >= AT_ONCE {
                        self.pause(course, Fault::Refused(detail()), &map).await;
                    }
                    course.tries += 1;
                }
                None if again == Again::Yes && is_broken(&error) => {
                    self.pause(course, Fault::Lost(detail()), &map).await;
                }
                None => {
                    if is_broken(&error) {
                        self.learner.doubt();
                    }
                    return Ok(Err(error));
                }
            }
        }
    }

    /// What a replica answers; `None`: none does.
    async fn ask_replica(&self, slot: u16, question: &Cmd, course: &mut Course) -> Option<Value> {
        let map = self.learner.map();
        let replicas = map.replicas(slot);
        let turn = self.learner.turn();
        for n in 0..replicas.len() {
            let node = replicas.get((turn + n) % replicas.len())?;
            // One that is not connected soon, or does not answer soon, is not worth the whole time.
            let Ok(open) = node.open_aside(self.timeout / 4).await else {
                self.learner.doubt();
                continue;
            };
            let open = course.on.insert(open);
            let answer = timeout(self.timeout / 4, open.ask(question)).await;
            if answer.is_err() {
                open.leave();
            }
            course.on = None;
            match answer {
                Ok(Ok(answer)) => return Some(answer),
                _ => self.learner.doubt(),
            }
        }
        None
    }

    /// A connection to a node. `None`: there are news since the map was looked at.
    async fn open(&self, node: &Node, map: &Arc<Map>) -> Option<Result<Open, Fault>> {
        let line = node.lines.turn();
        if let Some(open) = node.lines.ready(line) {
            return Some(Ok(open));
        }
        self.learner.doubt();
        tokio::select! {
            biased;
            opened = node.lines.open(line, self.timeout) => Some(opened),
            () = self.learner.news(map) => None,
        }
    }

    /// Waits for news, or a little.
    async fn pause(&self, course: &mut Course, why: Fault, map: &Arc<Map>) {
        course.why = Some(why);
        self.learner.doubt();
        let pause = PAUSE.saturating_mul(1 << course.tries.min(8)).min(LONGEST);
        course.tries += 1;
        let _elapsed = timeout(pause, self.learner.news(map)).await;
    }

    /// The node that another one names.
    fn named(&self, error: &RedisError, answered: &Place) -> Option<Arc<Node>> {
        let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
        let host = match host.trim_matches(['[', ']']) {
            "" => &answered.0,
            // It has no name, and nothing else is said of it.
            "?" => return None,
            host => host,
        };
        Some(self.learner.node((host.to_owned(), port.parse().ok()?)))
    }

    /// What each node answers to `info`, of those that answer.
    ///
    /// # Errors
    /// None does.
    pub(super) async fn look(&self, info: &Cmd) -> Result<Look, Fault> {
        let (told, answered) = self.members().await?;
        let known = told.lines().filter(|line| !line.trim().is_empty()).count();
        let members: Vec<_> = told.lines().filter_map(Member::read).collect();
        // Replicas come and go without a command that meets them.
        if members.len() != self.learner.map().nodes().count() {
            self.learner.doubt();
        }
        let ask = async |member: Member| {
            let node = self.learner.member(member, &answered);
            Server::telling(&node.place, node.ask(info, self.timeout).await?)
        };
        let answers = join_all(members.into_iter().map(ask)).await;
        let (mut servers, mut fault) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(server) => servers.push(server),
                Err(silent) => fault = Some(silent),
            }
        }
        if servers.is_empty() {
            let none = || Fault::Unsent("the cluster knows no node that is there".to_owned());
            return Err(fault.unwrap_or_else(none));
        }
        let whole = servers.len() == known;
        Ok(Look { servers, whole })
    }

    /// The answer to `CLUSTER NODES` of whoever is first, and where that one is.
    async fn members(&self) -> Result<(String, String), Fault> {
        let mut question = redis::cmd("CLUSTER");
        question.arg("NODES");
        let ask = async |node: Arc<Node>| {
            let told = node.ask(&question, self.timeout).await?;
            let told = told.map_err(|error| Fault::answering(&error))?;
            let told = redis::from_redis_value::<String>(told);
            let told = told.map_err(|error| Fault::Refused(error.to_string()))?;
            Ok::<_, Fault>((told, node.place.0.clone()))
        };
        let mut silence = Fault::Unsent("no node of the cluster is known".to_owned());
        for nodes in [self.learner.some(), self.learner.all()] {
            let mut asked = nodes.into_iter().map(&ask).collect::<FuturesUnordered<_>>();
            while let Some(told) = asked.next().await {
                match told {
                    Ok(told) => return Ok(told),
                    Err(fault) => silence = silence.or(fault),
                }
            }
        }
        Err(silence)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.learning.abort();
    }
}

impl Course {
    /// Why it is not done in time.
    fn late(self, limit: Duration) -> Fault {
        let late = || format!("no answer after {} ms", limit.as_millis());
        match self.on {
            Some(open) => {
                open.leave();
                Fault::Lost(late())
            }
            None => self.why.unwrap_or_else(|| Fault::Unsent(late())),
        }
    }
}
