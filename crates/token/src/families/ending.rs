//! Ending families: one, or all of a holder.

use serde_json::json;
use tegata_core::{
    Batch, BoxFuture, CommitRefused, Event, EventType, FamilyId, Realm, StoreError, Timestamp,
    UserId, Versioned, port::Page, repository,
};

use super::{Families, TRIES, contended};
use crate::{
    family::{Family, Verdict},
    revocation::{CLOCK_ERROR, Entry, Holder, Order, Tally, Target, Withdrawable},
    status::StatusIndex,
};

/// How many families of a holder end together: each is three rows of one batch.
const TOGETHER: u32 = 100;

/// How many are read together to count them.
const COUNTED_TOGETHER: u32 = 1000;

impl Families {
    /// Ends a family, if it is there and has not ended: all its tokens are refused from then on.
    /// Answers whether this ended it.
    ///
    /// # Errors
    /// What the store says: then it is not known to have ended.
    pub async fn revoke(
        &self,
        realm: &Realm,
        id: &FamilyId,
        order: &Order,
    ) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let found = repository::load(self.records.as_ref(), realm, id.as_str()).await?;
            let Some(found) = found.filter(|found: &Versioned<Family>| found.value.ended.is_none())
            else {
                return Ok(false);
            };
            match self.end(realm, &found, &order.reason, &order.actor, None).await {
                Ok(()) => return Ok(true),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    /// Takes back the tokens of a person that were issued with less `authority` than they have now, and
    /// say that they were issued after `up_to`: by a node whose clock is ahead.
    ///
    /// # Errors
    /// What the store says: then some of them may count.
    pub async fn overtake(
        &self,
        realm: &Realm,
        user: &UserId,
        (up_to, authority): (Timestamp, u64),
        order: &Order,
    ) -> Result<(), CommitRefused> {
        let mut page = Page { after: None, limit: TOGETHER };
        loop {
            let records = self.records.as_ref();
            let found =
                repository::find::<Family>(records, realm, "user", user.as_str(), page.clone());
            let found = found.await?;
            let Some(last) = found.last() else { return Ok(()) };
            page.after = Some(last.value.id.as_str().to_owned());
            let now = self.node.now();
            let older = found.iter().map(|found| &found.value);
            let older = older.filter(|it| it.ended.is_none() && it.authority < authority);
            let ahead = older.flat_map(|family| family.alive(now - CLOCK_ERROR));
            let ahead = ahead.filter(|access| access.iat > up_to.secs());
            let entries: Vec<_> = ahead
                .map(|access| {
                    let (target, places) = (Target::Token(access.jti.clone()), vec![access.status]);
                    let last = Timestamp::from_secs(access.exp);
                    self.entry(target, places, (now, last), &order.reason, &order.actor)
                })
                .collect();
            if !entries.is_empty() {
                self.revoker.commit(Batch::new(realm.clone()), entries).await?;
            }
        }
    }

    /// How many families have not ended that `index` names by `value`.
    async fn count(
        &self,
        realm: &Realm,
        index: &'static str,
        value: &str,
    ) -> Result<u64, StoreError> {
        let mut page = Page { after: None, limit: COUNTED_TOGETHER };
        let mut count = 0;
        loop {
            let records = self.records.as_ref();
            let found =
                repository::find::<Family>(records, realm, index, value, page.clone()).await?;
            count += found.iter().filter(|found| found.value.ended.is_none()).count();
            match found.last() {
                Some(last) => page.after = Some(last.value.id.as_str().to_owned()),
                None => return Ok(u64::try_from(count).unwrap_or(u64::MAX)),
            }
        }
    }

    /// Ends a family as it was read.
    pub(super) async fn end(
        &self,
        realm: &Realm,
        found: &Versioned<Family>,
        reason: &str,
        actor: &str,
        verdict: Option<Verdict>,
    ) -> Result<(), CommitRefused> {
        let batch = Batch::new(realm.clone());
        let (batch, entries) = self.ending(batch, found, reason, actor, verdict);
        self.revoker.commit(batch, entries).await
    }

    /// Ends families as they were read, in one batch. Answers how many had not ended before.
    async fn end_together(
        &self,
        realm: &Realm,
        found: &[Versioned<Family>],
        order: &Order,
    ) -> Result<u64, StoreError> {
        let alive = || found.iter().filter(|found| found.value.ended.is_none());
        let (mut batch, mut all) = (Batch::new(realm.clone()), Vec::new());
        for found in alive() {
            let entries;
            (batch, entries) = self.ending(batch, found, &order.reason, &order.actor, None);
            all.extend(entries);
        }
        let mut count = u64::try_from(alive().count()).unwrap_or(u64::MAX);
        if count == 0 {
            return Ok(0);
        }
        match self.revoker.commit(batch, all).await {
            Ok(()) => Ok(count),
            // One of them is being used: each by itself, as it is then.
            Err(CommitRefused::Conflict { .. }) => {
                count = 0;
                for found in alive() {
                    count += u64::from(self.revoke(realm, &found.value.id, order).await?);
                }
                Ok(count)
            }
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }

    /// What ends a family as it was read, added to a batch, and what takes back its tokens.
    fn ending(
        &self,
        batch: Batch,
        found: &Versioned<Family>,
        reason: &str,
        actor: &str,
        verdict: Option<Verdict>,
    ) -> (Batch, Vec<Entry>) {
        let now = self.node.now();
        // While this clock is ahead, the living look dead.
        let alive: Vec<_> = found.value.alive(now - CLOCK_ERROR).collect();
        let places = alive.iter().map(|access| access.status).collect();
        let last = alive.iter().map(|access| access.exp).max().unwrap_or_default();
        let last = Timestamp::from_secs(last);
        let ended = found.value.clone().end(reason, now);
        let mut event = Event::new(
            &self.node,
            &batch.realm,
            EventType::FamilyRevoked,
            [
                ("family", json!(ended.id)),
                ("user_id", json!(ended.user)),
                ("client_id", json!(ended.client)),
                ("session_id", json!(ended.session)),
                ("reason", json!(reason)),
                ("actor", json!(actor)),
            ],
        );
        if let Some(verdict) = verdict {
            event.data.insert("verdict".to_owned(), json!(verdict.name()));
        }
        // Refreshing asks the record; the entry is for the access tokens, and lives as long.
        let target = Target::Family(ended.id.clone());
        let mut entries = vec![self.entry(target, places, (now, last), reason, actor)];
        let mut batch = batch.with(found.replace(&ended)).journal(&event);
        // Somebody has a copy of what the browser had: its session is not to be trusted either.
        if let (Some(_), Some(sid)) = (verdict, &ended.session) {
            let target = Target::Session(sid.clone());
            let mut entry = self.entry(target, Vec::new(), (now, last), reason, actor);
            entry.until = entry.until.max(ended.ends + self.lifetimes.access);
            entries.push(entry);
            let data = [
                ("user_id", json!(ended.user)),
                ("session_id", json!(sid)),
                ("reason", json!(reason)),
            ];
            let kind = EventType::SessionEnded;
            let event = Event::new(&self.node, &batch.realm, kind, data);
            batch = batch.journal(&event);
        }
        (batch, entries)
    }

    /// What takes back tokens of which the last dies at `last`.
    pub(super) fn entry(
        &self,
        target: Target,
        places: Vec<StatusIndex>,
        (at, last): (Timestamp, Timestamp),
        reason: &str,
        actor: &str,
    ) -> Entry {
        // Twice the life of an access token: clocks may differ, and it is cheap. No less than what
        // the tokens say themselves, which may have been issued when they lived longer.
        let until = last.max(at) + self.lifetimes.access * 2;
        let (reason, actor) = (reason.to_owned(), actor.to_owned());
        Entry { target, places, at, until, reason, actor }
    }
}

impl Withdrawable for Families {
    fn kind(&self) -> &'static str {
        "families"
    }

    fn withdraw<'a>(
        &'a self,
        realm: &'a Realm,
        holder: &'a Holder,
        order: &'a Order,
        tally: &'a Tally,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        let (index, value) = holder.index();
        Box::pin(async move {
            let mut page = Page { after: None, limit: TOGETHER };
            let mut count = 0;
            loop {
                let records = self.records.as_ref();
                let found =
                    repository::find::<Family>(records, realm, index, value, page.clone()).await?;
                if page.after.is_none() && found.len() == TOGETHER as usize && tally.is_watched() {
                    tally.expect(self.count(realm, index, value).await?);
                }
                let ended = self.end_together(realm, &found, order).await?;
                tally.add(ended);
                count += ended;
                match found.last() {
                    Some(last) => page.after = Some(last.value.id.as_str().to_owned()),
                    None => return Ok(count),
                }
            }
        })
    }
}
