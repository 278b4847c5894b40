//! Journaling that a session was presented by somebody it is not bound to.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use serde_json::json;
use tegata_core::{Batch, Event, EventType, Node, Realm, SessionId, StoreError, Timestamp};

use super::Sessions;
use crate::{
    binding::Part,
    session::{Session, Verdict},
};

/// For how long the same suspicion is not journaled again by this node. Whoever has a copy of a
/// cookie could otherwise fill the journal with it.
const QUIET: Duration = Duration::from_secs(60);

/// How many suspicions a node remembers. Beyond that each is journaled.
const MOST: usize = 10_000;

/// What this node has journaled lately.
#[derive(Default)]
pub(super) struct Alarm(Mutex<HashMap<(Realm, SessionId, Part), Timestamp>>);

impl Alarm {
    /// Whether this suspicion has not been journaled lately.
    fn is_new(&self, realm: &Realm, sid: &SessionId, part: Part, now: Timestamp) -> bool {
        let recent = self.0.lock();
        let last = recent.get(&(realm.clone(), sid.clone(), part));
        last.is_none_or(|last| now.since(*last) >= QUIET)
    }

    fn remember(&self, realm: &Realm, sid: &SessionId, part: Part, now: Timestamp) {
        let mut recent = self.0.lock();
        if recent.len() >= MOST {
            recent.retain(|_, last| now.since(*last) < QUIET);
        }
        if recent.len() < MOST {
            recent.insert((realm.clone(), sid.clone(), part), now);
        }
    }
}

impl Sessions {
    /// Journals a refusal that may mean a thief.
    pub(super) async fn suspect(
        &self,
        realm: &Realm,
        session: &Session,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let part = match verdict {
            Verdict::Bound(part) => part,
            Verdict::Superseded => Part::Generation,
            _ => return Ok(()),
        };
        if !self.alarm.is_new(realm, &session.id, part, now) {
            return Ok(());
        }
        let batch =
            Batch::new(realm.clone()).journal(&suspicion(&self.node, realm, &session.id, part));
        match self.records.commit(batch).await {
            Ok(()) => self.alarm.remember(realm, &session.id, part, now),
            Err(tegata_core::CommitRefused::Store(error)) => return Err(error),
            // A batch that expects nothing has no conflict.
            Err(tegata_core::CommitRefused::Conflict { .. }) => {}
        }
        Ok(())
    }
}

/// The event that tells of a suspicion.
pub(super) fn suspicion(node: &Node, realm: &Realm, sid: &SessionId, part: Part) -> Event {
    let data = [("session_id", json!(sid)), ("part", json!(part.name()))];
    Event::new(node, realm, EventType::SuspiciousSessionAccess, data)
}
