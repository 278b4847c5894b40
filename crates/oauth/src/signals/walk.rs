//! Looking through the journal for what is due on a stream.

use std::collections::BTreeSet;

use tegata_core::{Event, Log, StoreError, repository};
use tegata_identity::User;

use super::{
    access,
    exchange::Handled,
    kind::SignalKind,
    people::subject_key,
    stream::{Status, Stream, Wanted},
    streams::{DefaultSubjects, Streams},
    subject::{Format, Person},
    told::{Told, told_by},
};
use crate::client::Client;

/// How many entries of the journal are read at once.
const BATCH: u32 = 500;
/// After so many entries, what was found is given, and the rest another time.
const LONGEST: usize = 5_000;
/// How many signals of a stream are looked at beyond its position. So many names are kept at most.
const WINDOW: usize = 200;

/// A signal that is due, and how its receiver knows the person.
pub(super) struct Due {
    pub(super) event: Event,
    pub(super) told: Told,
    pub(super) person: Person,
    pub(super) jti: String,
}

/// What was found in the journal from a stream's position on.
#[derive(Default)]
pub(super) struct Walk {
    /// Up to where nothing is due.
    pub(super) reached: u64,
    /// What is due, in order.
    pub(super) due: Vec<Due>,
    /// What beyond `reached` was acknowledged.
    pub(super) acked: BTreeSet<String>,
    /// How many were acknowledged just now.
    pub(super) handled: usize,
    /// Whether there is more.
    pub(super) more: bool,
    /// How many signals were looked at.
    seen: usize,
}

impl Streams {
    /// Looks through the journal from the stream's position on.
    pub(super) async fn walk(
        &self,
        stream: &Stream,
        client: &Client,
        handled: &Handled,
        most: usize,
    ) -> Result<Walk, StoreError> {
        let mut walk = Walk { reached: stream.position, ..Walk::default() };
        if stream.status == Status::Disabled {
            return Ok(walk);
        }
        let flows = stream.status == Status::Enabled && access::may_hear(client);
        // Where nothing flows, nothing is looked for: what was there is due when it flows again.
        if !flows && handled.acked.is_empty() && handled.refused.is_empty() {
            walk.acked.clone_from(&stream.acked);
            return Ok(walk);
        }
        let most = if flows { most } else { 0 };
        let (mut after, mut read, mut nothing_due) = (stream.position, 0, true);
        loop {
            let pull = self.records().pull(Log::Journal, after, BATCH).await?;
            if pull.entries.is_empty() && after + 1 < pull.tail {
                tracing::warn!(stream = %stream.id, "events were dropped undelivered: too old");
                after = pull.tail - 1;
                walk.reached = if nothing_due { after } else { walk.reached };
                continue;
            }
            let Some(last) = pull.entries.last() else {
                walk.more &= flows;
                return Ok(walk);
            };
            after = last.position;
            for entry in pull.entries {
                if walk.seen >= WINDOW || read >= LONGEST {
                    walk.more = flows;
                    return Ok(walk);
                }
                read += 1;
                let event = serde_json::from_slice::<Event>(&entry.body).ok();
                let event = event.filter(|event| event.realm == *self.provider.realm());
                if let Some(event) = event {
                    nothing_due &=
                        self.look_at(&mut walk, (stream, client), event, handled, most).await?;
                }
                if nothing_due {
                    walk.reached = entry.position;
                    walk.acked.clear();
                }
            }
        }
    }

    /// Sorts what an event tells. Answers whether nothing of it is due.
    async fn look_at(
        &self,
        walk: &mut Walk,
        (stream, client): (&Stream, &Client),
        event: Event,
        handled: &Handled,
        most: usize,
    ) -> Result<bool, StoreError> {
        let mut nothing_due = true;
        for told in told_by(&event) {
            let Some(person) = self.concerned(stream, client, &told).await? else { continue };
            walk.seen += 1;
            // The same each time that it is given.
            let event_name = self.provider.event_for(client, &event.id.to_string());
            let jti = format!("{}.{event_name}.{}", stream.id, told.number);
            let known = stream.acked.contains(&jti);
            let fresh = handled.has(&jti) && !known;
            walk.handled += usize::from(fresh);
            if fresh || known {
                walk.acked.insert(jti);
                continue;
            }
            nothing_due = false;
            if walk.due.len() < most {
                walk.due.push(Due { event: event.clone(), told, person, jti });
            } else {
                walk.more = true;
            }
        }
        Ok(nothing_due)
    }

    /// Whom a signal is about, as the stream's receiver knows them, where the stream carries it.
    async fn concerned(
        &self,
        stream: &Stream,
        client: &Client,
        told: &Told,
    ) -> Result<Option<Person>, StoreError> {
        let may_know = told.only.as_ref().is_none_or(|only| *only == stream.client)
            // What somebody may do is told to those who may ask for it.
            && (told.kind != SignalKind::TokenClaimsChange || client.scope.contains("roles"));
        if !may_know || !stream.carries(told.kind) {
            return Ok(None);
        }
        if stream.format == Format::Email && !client.scope.contains("email") {
            return Ok(None);
        }
        let Some(person) = self.person(stream, client, told).await? else { return Ok(None) };
        let by_default = self.rules.default_subjects == DefaultSubjects::All;
        if !stream.has_subjects {
            return Ok(by_default.then_some(person));
        }
        let (realm, key) = (self.provider.realm(), subject_key(&stream.id, &person));
        let wanted = repository::load::<Wanted>(self.records(), realm, &key).await?;
        let wanted = wanted.map_or(by_default, |found| found.value.wanted);
        Ok(wanted.then_some(person))
    }

    /// The person, as the stream's receiver knows them. `None`: it knows people by something that
    /// this one does not have.
    async fn person(
        &self,
        stream: &Stream,
        client: &Client,
        told: &Told,
    ) -> Result<Option<Person>, StoreError> {
        Ok(match stream.format {
            Format::IssSub => Some(Person::IssSub {
                iss: self.provider.issuer().to_owned(),
                sub: self.provider.subject_for(client, told.user.as_str()),
            }),
            Format::Email => {
                let (realm, id) = (self.provider.realm(), told.user.as_str());
                let user = repository::load::<User>(self.records(), realm, id).await?;
                let email = user.and_then(|user| user.value.email);
                email.map(|email| Person::Email(email.as_str().to_owned()))
            }
        })
    }
}
