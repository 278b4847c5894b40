//! What people, their sessions and what happens to them are called to a client: by their ids, or, to one
//! that is pairwise, by names that count in its sector alone (OpenID Connect Core §8).
//!
//! Inside, everybody is who they are. Names are made where something is told to a client, and whoever
//! tells a client something of a person asks here.

use serde_json::{Map, Value};
use tegata_core::{SessionId, StoreError, UserId};
use tegata_token::Claims;

use crate::{
    client::{Client, Sector},
    error::Refused,
    provider::Provider,
};

impl Provider {
    /// What a client calls a person. Whoever is none, such as a client that speaks for itself, is called
    /// the same by all.
    pub(crate) fn subject_for(&self, client: &Client, sub: &str) -> String {
        match &client.sector {
            Some(sector) if UserId::new(sub).is_ok() => {
                self.pairwise().subject(sector.as_str(), sub)
            }
            _ => sub.to_owned(),
        }
    }

    /// What the clients of a sector call a person.
    #[must_use]
    pub fn subject_in(&self, sector: &Sector, user: &UserId) -> String {
        self.pairwise().subject(sector.as_str(), user.as_str())
    }

    /// What the clients of a sector call a session.
    #[must_use]
    pub fn session_in(&self, sector: &Sector, session: &SessionId) -> String {
        self.pairwise().session(sector.as_str(), session.as_str())
    }

    /// What a client calls a session. One name for all would say who is who, too.
    pub(crate) fn session_for(&self, client: &Client, session: &str) -> String {
        match &client.sector {
            Some(sector) => self.pairwise().session(sector.as_str(), session),
            None => session.to_owned(),
        }
    }

    /// What a client calls an event.
    pub(crate) fn event_for(&self, client: &Client, event: &str) -> String {
        match &client.sector {
            Some(sector) => self.pairwise().event(sector.as_str(), event),
            None => event.to_owned(),
        }
    }

    /// What an access token for a client says: in its words, and, for those who judge it, of whom.
    pub(crate) fn worded_for(&self, client: &Client, claims: Claims) -> Result<Claims, Refused> {
        let Some(sector) = &client.sector else { return Ok(claims) };
        let hidden = self.pairwise().hide(sector.as_str(), claims);
        let misused = || StoreError::Misused { detail: "a subject could not be hidden".to_owned() };
        Ok(hidden.ok_or_else(misused)?)
    }

    /// Says to a client in its words what is told of a token, in which its subject is `named` so. Whoever
    /// knows people by names of its sector is told of nobody whom the token names otherwise: it would
    /// learn that two names are of one person.
    pub(crate) fn reword_for(&self, client: &Client, told: &mut Map<String, Value>, named: &str) {
        if !client.is_pairwise() {
            return;
        }
        let said = |name: &str, told: &Map<String, Value>| {
            told.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        let sub = said("sub", told).map(|sub| self.subject_for(client, &sub));
        if sub.as_deref() != Some(named) {
            told.remove("sub");
            told.remove("sid");
            return;
        }
        told.insert("sub".to_owned(), named.into());
        if let Some(sid) = said("sid", told) {
            told.insert("sid".to_owned(), self.session_for(client, &sid).into());
        }
    }
}
