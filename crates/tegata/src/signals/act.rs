//! What follows from a signal is done, once, by the same ways as when an operator orders it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tegata_core::{
    Batch, CommitRefused, Event, EventType, Expect, SessionId, StoreError, Stored as _, UserId,
    port::Page, repository,
};
use tegata_identity::Username;
use tegata_oauth::{
    client::Sector,
    signals::{
        SignalKind,
        heard::{Follows, Heard, Whom},
        subject::Named,
    },
};
use tegata_server::NotHeard;
use tegata_session::Session;
use tegata_token::{Holder, Order, SecurityEventToken, Tally};

use super::{inlet::Ear, transmitter::Transmitter};
use crate::operate;

/// The longest payload that is written down.
const LONGEST_NOTE: usize = 2048;

/// What became of a signal that was believed.
pub(super) enum Outcome {
    /// It was acted on before.
    Repeated,
    /// It is about nobody of ours.
    NobodyOfOurs,
    /// This followed.
    Done(Follows),
}

/// Whom a signal means here.
struct Meant {
    users: BTreeSet<UserId>,
    /// The session that it names, where it is one of ours.
    session: Option<Session>,
}

/// Whom only a look at everybody finds.
#[derive(Default)]
struct Sought {
    addresses: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Sought {
    fn is_nothing(&self) -> bool {
        self.addresses.is_empty() && self.names.is_empty()
    }
}

impl Ear {
    /// Does what follows from a signal. When this answers `Ok`, it is durable. Whoever is not
    /// answered sends it again, and what was done already is done again, which changes nothing.
    pub(super) async fn act(
        &self,
        of: &Transmitter,
        token: &SecurityEventToken,
    ) -> Result<Outcome, NotHeard> {
        let follows = Follows::from(&token.events.uri, of.on_change);
        if matches!(follows, Follows::Nothing | Follows::Stream) {
            return Ok(Outcome::Done(follows));
        }
        let (records, realm) = (self.composed.records.as_ref(), &self.composed.realm);
        let key = Heard::key_of(token);
        if repository::load::<Heard>(records, realm, &key).await?.is_some() {
            return Ok(Outcome::Repeated);
        }
        let named = Named::read(&token.sub_id).ok_or_else(|| NotHeard::Refused {
            code: "invalid_request",
            description: "`sub_id` is malformed".to_owned(),
        })?;
        let meant = self.meant(of, &named).await?;
        if meant.users.is_empty() && meant.session.is_none() {
            return Ok(Outcome::NobodyOfOurs);
        }
        let order =
            Order { reason: "signal".to_owned(), actor: format!("transmitter:{}", of.name) };
        match follows {
            Follows::EndSessions => self.end_sessions(&meant, &order).await?,
            Follows::EndEverything => self.end_everything(&meant, &order).await?,
            Follows::Note | Follows::Stream | Follows::Nothing => {}
        }
        self.write_down(of, token, follows, &meant).await?;
        Ok(Outcome::Done(follows))
    }

    async fn meant(&self, of: &Transmitter, named: &Named) -> Result<Meant, StoreError> {
        let (composed, theirs) = (&self.composed, &of.expected.issuer);
        let (realm, ours) = (&composed.realm, composed.provider.issuer());
        let (mut users, mut sought) = (BTreeSet::new(), Sought::default());
        for whom in Whom::of(named, &of.people, ours, theirs) {
            match whom {
                Whom::Id(id) => {
                    users.extend(composed.users.load(realm, &id).await?.map(|it| it.id));
                }
                Whom::Username(name) => {
                    if let Ok(name) = Username::new(&name) {
                        let found = composed.users.by_username(realm, &name).await?;
                        users.extend(found.map(|user| user.id));
                    }
                }
                Whom::Email(email) => drop(sought.addresses.insert(email.to_lowercase())),
                Whom::Name(name) if of.sector.is_some() => drop(sought.names.insert(name)),
                Whom::Name(_) => {
                    let transmitter = &of.name;
                    tracing::warn!(
                        %transmitter,
                        "it names somebody as a pairwise client does: say in `sector` of which sector it is"
                    );
                }
            }
        }
        if !sought.is_nothing() {
            self.look_through(&sought, of.sector.as_ref(), &mut users).await?;
        }
        // Also one that has ended: that it is ours decides whether others are meant.
        let session = match (named.session.as_deref(), &of.sector) {
            (None, _) => None,
            (Some(sid), Some(sector)) if !sought.names.is_empty() => {
                self.session_in(sector, sid, &users).await?
            }
            (Some(sid), _) => match SessionId::new(sid) {
                Ok(sid) => {
                    let records = composed.records.as_ref();
                    let found = repository::load::<Session>(records, realm, sid.as_str()).await?;
                    found.map(|found| found.value)
                }
                Err(_) => None,
            },
        };
        if session.is_none() && named.person.is_empty() && of.sector.is_some() {
            let transmitter = &of.name;
            tracing::warn!(
                %transmitter,
                "it names a session of nobody we know: a pairwise client must name the person beside it"
            );
        }
        // Whoever names a person and the session of another means the person.
        let session = session.filter(|it| named.person.is_empty() || users.contains(&it.user));
        Ok(Meant { users, session })
    }

    /// Everybody with one of these addresses of mail, or whom a sector calls so. No index holds addresses
    /// as they are compared here, and names can only be compared, so all people are looked at.
    async fn look_through(
        &self,
        sought: &Sought,
        sector: Option<&Sector>,
        users: &mut BTreeSet<UserId>,
    ) -> Result<(), StoreError> {
        let provider = &self.composed.provider;
        let mut page = Page { after: None, limit: 500 };
        loop {
            let found = self.composed.users.list(&self.composed.realm, page.clone()).await?;
            let Some(last) = found.last() else { return Ok(()) };
            page.after = Some(last.id.as_str().to_owned());
            let has = |it: &str| sought.addresses.contains(&it.to_lowercase());
            let sector = sector.filter(|_| !sought.names.is_empty());
            let is_called = |sector: &Sector, id: &UserId| {
                sought.names.contains(&provider.subject_in(sector, id))
            };
            let with = found.into_iter().filter(|user| {
                user.email.as_ref().is_some_and(|email| has(email.as_str()))
                    || sector.is_some_and(|sector| is_called(sector, &user.id))
            });
            users.extend(with.map(|user| user.id));
        }
    }

    /// The session of one of these people that a sector calls so, also one that has ended.
    async fn session_in(
        &self,
        sector: &Sector,
        name: &str,
        users: &BTreeSet<UserId>,
    ) -> Result<Option<Session>, StoreError> {
        let (records, realm) = (self.composed.records.as_ref(), &self.composed.realm);
        let is_called = |it: &Session| self.composed.provider.session_in(sector, &it.id) == name;
        for user in users {
            let mut page = Page { after: None, limit: 500 };
            loop {
                let user = user.as_str();
                let found =
                    repository::find::<Session>(records, realm, "user", user, page.clone()).await?;
                let Some(last) = found.last() else { break };
                page.after = Some(last.value.id.as_str().to_owned());
                let mut theirs = found.into_iter().map(|found| found.value);
                if let Some(session) = theirs.find(is_called) {
                    return Ok(Some(session));
                }
            }
        }
        Ok(None)
    }

    /// Ends the session that is named, or all of the people: a session of the transmitter is none of
    /// ours, and whoever was signed out there has no sessions here by it.
    async fn end_sessions(&self, meant: &Meant, order: &Order) -> Result<(), StoreError> {
        let holders: Vec<_> = match &meant.session {
            Some(session) => vec![Holder::Session(session.id.clone())],
            None => meant.users.iter().cloned().map(Holder::User).collect(),
        };
        for holder in holders {
            let composed = &self.composed;
            let withdraw = &composed.withdraw;
            withdraw.everything_of(&composed.realm, &holder, order, &Tally::default()).await?;
        }
        Ok(())
    }

    async fn end_everything(&self, meant: &Meant, order: &Order) -> Result<(), StoreError> {
        let of_session = meant.session.as_ref().map(|session| &session.user);
        let users: BTreeSet<_> = meant.users.iter().chain(of_session).collect();
        for id in users {
            let Some(user) = self.composed.users.load(&self.composed.realm, id).await? else {
                continue;
            };
            let tally = Tally::default();
            let taken = operate::take_back(&self.composed, &user, order, &tally).await;
            taken.map_err(|refused| match refused.kind {
                operate::Kind::Store(error) => *error,
                _ => StoreError::Unavailable { backend: "the record store", detail: refused.why },
            })?;
        }
        Ok(())
    }

    /// That it was acted on, and what followed: together, so that it counts once.
    async fn write_down(
        &self,
        of: &Transmitter,
        token: &SecurityEventToken,
        follows: Follows,
        meant: &Meant,
    ) -> Result<(), StoreError> {
        let (node, realm) = (&self.composed.node, &self.composed.realm);
        let kind = SignalKind::of_uri(&token.events.uri).map_or("", SignalKind::name);
        let mut event = Event::new(
            node,
            realm,
            EventType::SignalReceived,
            [
                ("transmitter", json!(of.name)),
                ("event", json!(kind)),
                ("jti", json!(token.jti)),
                ("action", json!(follows.name())),
                ("user_ids", json!(meant.users)),
            ],
        );
        if let Some(session) = &meant.session {
            event.data.insert("session_id".to_owned(), json!(session.id));
        }
        let payload = Value::Object(token.events.payload.clone());
        if follows == Follows::Note && payload.to_string().len() <= LONGEST_NOTE {
            event.data.insert("payload".to_owned(), payload);
        }
        // Of two copies that are acted on at once, one is written down.
        let heard = Heard::new(token, node.now()).put(Expect::Absent);
        let batch = Batch::new(realm.clone()).with(heard).journal(&event);
        match self.composed.records.commit(batch).await {
            Ok(()) | Err(CommitRefused::Conflict { .. }) => Ok(()),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
