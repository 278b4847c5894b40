//! What clients were promised, and whether it was kept.
//!
//! A promise is an answer: that a token was taken back, that a refresh token is the next one. Errors of
//! the server promise nothing, and where no answer came, whoever asked may ask again.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::{
    http::{Answer, Client, NoAnswer},
    progress::Progress,
    stage::{self, Access, ROUTES, Stage},
    time::{Stopwatch, let_pass},
};

/// How long it may take until a revocation is known to every node, where all of them are well.
pub const LEARNT: Duration = Duration::from_secs(1);

/// Promises, and what was found to be broken.
#[derive(Debug, Default)]
pub struct Ledger {
    revoked: Mutex<Vec<Access>>,
    families: Mutex<Vec<Arc<Mutex<Family>>>>,
    broken: Mutex<BTreeSet<String>>,
}

/// What a client knows of a family of refresh tokens.
#[derive(Debug, Clone)]
pub struct Family {
    /// Every token that it was given, the newest last.
    pub tokens: Vec<String>,
    /// Whether it was told that the family has ended.
    pub ended: bool,
}

/// How a refresh went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// A successor.
    Next(String),
    /// `invalid_grant`: the family has ended, as far as the client knows.
    Ended,
    /// Nothing is known, or nothing was done: ask again with the same token.
    Again,
}

impl Refreshed {
    /// What an answer means.
    #[must_use]
    pub fn of(asked: &Result<Answer, NoAnswer>) -> Self {
        match asked {
            Ok(answer) if answer.status == 200 => {
                answer.member("refresh_token").map_or(Self::Again, Self::Next)
            }
            Ok(answer) if answer.status == 400 => Self::Ended,
            _ => Self::Again,
        }
    }
}

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many promises there were.
    pub promises: usize,
    /// How often one was looked at, on any node and listener.
    pub looks: usize,
}

impl Ledger {
    /// A revocation was acknowledged.
    pub fn revoked(&self, access: Access) {
        lock(&self.revoked).push(access);
    }

    /// How many revocations were acknowledged.
    #[must_use]
    pub fn revocations(&self) -> usize {
        lock(&self.revoked).len()
    }

    /// The tokens whose revocation was acknowledged.
    #[must_use]
    pub fn all_revoked(&self) -> Vec<Access> {
        lock(&self.revoked).clone()
    }

    /// Families that somebody begins to use.
    pub fn begin(&self, tokens: Vec<String>) -> Vec<Arc<Mutex<Family>>> {
        let family = |token| Arc::new(Mutex::new(Family { tokens: vec![token], ended: false }));
        let begun: Vec<_> = tokens.into_iter().map(family).collect();
        lock(&self.families).extend(begun.iter().cloned());
        begun
    }

    /// Something did not hold.
    pub fn broken(&self, what: impl Into<String>) {
        let mut broken = lock(&self.broken);
        // A thousand of a kind say no more than a few.
        if broken.len() < 50 {
            broken.insert(what.into());
        }
    }

    /// What did not hold.
    #[must_use]
    pub fn all_broken(&self) -> Vec<String> {
        lock(&self.broken).iter().cloned().collect()
    }

    /// Looks at every promise, on every node. Revocations first: what they end must not come back.
    ///
    /// Afterwards all families are used up, because whether an old token counts is only known when it
    /// is presented, and then the family ends.
    #[must_use]
    pub fn check(&self, stage: &Stage) -> Checked {
        let revoked = self.check_revoked(stage);
        let families = self.check_families(stage);
        Checked {
            promises: revoked.promises + families.promises,
            looks: revoked.looks + families.looks,
        }
    }

    /// Whether every token that was taken back is refused by every provider and every gateway, as soon
    /// as nodes may take to learn it.
    #[must_use]
    pub fn check_revoked(&self, stage: &Stage) -> Checked {
        self.check_revoked_telling(stage, Progress::default())
    }

    /// The same, telling how far it is: there may be very many.
    #[must_use]
    pub fn check_revoked_telling(&self, stage: &Stage, progress: Progress) -> Checked {
        let_pass(LEARNT);
        let revoked = std::mem::take(&mut *lock(&self.revoked));
        let promises = revoked.len();
        let watch = Stopwatch::start();
        let looks: usize = thread::scope(|scope| {
            let each = (0..stage.nodes()).map(|node| {
                let (revoked, watch) = (&revoked, &watch);
                let look = move |(n, access): (usize, &Access)| {
                    // One of them tells; the others are about as far.
                    if node == 0 && n % 100 == 0 {
                        progress.at(watch, n, promises, "revocations looked at");
                    }
                    self.look(stage, node, access)
                };
                scope.spawn(move || revoked.iter().enumerate().map(look).sum())
            });
            let each: Vec<_> = each.collect();
            each.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
        });
        Checked { promises, looks }
    }

    fn look(&self, stage: &Stage, node: usize, access: &Access) -> usize {
        let (mut public, mut gateway) = (stage.public(node), stage.gateway(node));
        match stage::introspect(&mut public, &access.token) {
            Ok(false) => {}
            Ok(true) => self.broken(format!("node {node} says that a revoked token is active")),
            Err(error) => self.broken(format!("node {node} cannot be asked afterwards: {error}")),
        }
        for route in ROUTES {
            match stage::call(&mut gateway, route, &access.token) {
                Ok(answer) if answer.status == 401 => {}
                Ok(answer) => self.broken(format!(
                    "the gateway of node {node} answers a revoked token {} at {route}",
                    answer.status
                )),
                Err(error) => {
                    self.broken(format!("the gateway of node {node} cannot be asked: {error}"));
                }
            }
        }
        1 + ROUTES.len()
    }

    /// Whether of each family the newest token counts, and no other.
    #[must_use]
    pub fn check_families(&self, stage: &Stage) -> Checked {
        let families = std::mem::take(&mut *lock(&self.families));
        let mut checked = Checked::default();
        for (number, family) in families.iter().enumerate() {
            let family = lock(family).clone();
            checked.promises += family.tokens.len();
            let node = number % stage.nodes().max(1);
            checked.looks += self.check_family(&mut stage.public(node), &family);
        }
        checked
    }

    fn check_family(&self, client: &mut Client, family: &Family) -> usize {
        let Some((newest, older)) = family.tokens.split_last() else { return 0 };
        // A family that ended for its holder must have ended for everybody.
        if family.ended {
            if Refreshed::of(&stage::refresh(client, newest)) != Refreshed::Ended {
                self.broken("a family that was said to have ended goes on");
            }
            return 1;
        }
        let successor = match Refreshed::of(&stage::refresh(client, newest)) {
            Refreshed::Next(successor) => successor,
            other => {
                self.broken(format!("a refresh token that was given does not count: {other:?}"));
                return 1;
            }
        };
        // Its predecessor is answered again for a few seconds; one further back never is.
        let Some(old) = older.last() else { return 1 };
        if let Refreshed::Next(_) = Refreshed::of(&stage::refresh(client, old)) {
            self.broken("a refresh token counts that was spent two generations ago");
        }
        if Refreshed::of(&stage::refresh(client, &successor)) != Refreshed::Ended {
            self.broken("a family goes on in which a spent token was presented");
        }
        3
    }
}

/// Refreshes, asking again as long as nothing is known, at one node after the other. Answers how it
/// went in the end; the family is brought up to date.
pub fn refresh_until_known(
    stage: &Stage,
    family: &Mutex<Family>,
    first: usize,
    patience: Duration,
) -> Refreshed {
    let watch = Stopwatch::start();
    let token = lock(family).tokens.last().cloned().unwrap_or_default();
    let mut node = first;
    while watch.read() < patience {
        let mut client = stage.public(node % stage.nodes().max(1));
        let refreshed = Refreshed::of(&stage::refresh(&mut client, &token));
        keep(family, &refreshed);
        if refreshed != Refreshed::Again {
            return refreshed;
        }
        node += 1;
        let_pass(Duration::from_millis(20));
    }
    Refreshed::Again
}

/// Brings what a client knows of a family up to date.
pub fn keep(family: &Mutex<Family>, refreshed: &Refreshed) {
    let mut family = lock(family);
    match refreshed {
        Refreshed::Next(token) => family.tokens.push(token.clone()),
        Refreshed::Ended => family.ended = true,
        Refreshed::Again => {}
    }
}

/// What is in a mutex, also where whoever held it died.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
