//! Pieces of lists.

use serde_json::Value;
use tegata_core::{ClientId, SessionId, Stored as _, UserId, port::Page};
use tegata_oauth::consent::Consent;
use tegata_server::admin::{Asked, Done, Refused};
use tegata_token::Holder;

use super::{Api, unknown};
use crate::operate::{consents, sessions, tokens};

/// How many consents are looked at for one client: no index holds its name.
const LOOKED_AT: u32 = 1000;

/// After which key the next piece begins. A piece that is not full is the last.
pub(super) fn next<'k>(count: usize, page: &Page, last: Option<&'k str>) -> Option<&'k str> {
    last.filter(|_| u32::try_from(count).is_ok_and(|count| count >= page.limit))
}

/// An id that a list is narrowed by. What cannot be one is the id of nothing, and has an empty list.
pub(super) fn id<T>(
    asked: &Asked,
    name: &str,
    read: impl Fn(&str) -> Result<T, tegata_core::InvalidId>,
) -> Result<Option<T>, Refused> {
    let invalid =
        |why: tegata_core::InvalidId| Refused::invalid(&format!("?{name}"), why.to_string());
    asked.filter(name).map(read).transpose().map_err(invalid)
}

impl Api {
    pub(super) async fn sessions(&self, asked: &Asked) -> Result<Done, Refused> {
        let composed = &self.composed;
        let user = id(asked, "user", UserId::new)?;
        let page = asked.page.clone();
        let piece = composed.sessions.page(&composed.realm, user.as_ref(), page).await?;
        let limits = composed.sessions.limits();
        let items = piece.sessions.iter().map(|listed| sessions::shown(listed, limits)).collect();
        Ok(Done::piece(items, piece.next.as_ref().map(SessionId::as_str)))
    }

    pub(super) async fn session(&self, asked: &Asked) -> Result<Done, Refused> {
        let composed = &self.composed;
        let sid = SessionId::new(asked.name(0)).map_err(|_| unknown())?;
        let found = composed.sessions.listed(&composed.realm, &sid).await?;
        let limits = composed.sessions.limits();
        found.map(|found| Done::with(sessions::shown(&found, limits))).ok_or_else(unknown)
    }

    pub(super) async fn tokens(&self, asked: &Asked) -> Result<Done, Refused> {
        let composed = &self.composed;
        let holders = [
            id(asked, "user", UserId::new)?.map(Holder::User),
            id(asked, "client", ClientId::new)?.map(Holder::Client),
            id(asked, "session", SessionId::new)?.map(Holder::Session),
        ];
        let mut holders = holders.into_iter().flatten();
        let holder = holders.next();
        if holders.next().is_some() {
            return Err(Refused::invalid("?", "keep one of `user`, `client` and `session`"));
        }
        let page = asked.page.clone();
        let found = composed.families.page(&composed.realm, holder.as_ref(), page).await?;
        let last = found.last().map(|family| family.id.as_str());
        let next = next(found.len(), &asked.page, last);
        Ok(Done::piece(found.iter().map(tokens::shown).collect(), next))
    }

    pub(super) async fn consents(&self, asked: &Asked) -> Result<Done, Refused> {
        let user = id(asked, "user", UserId::new)?;
        let Some(client) = id(asked, "client", ClientId::new)? else {
            let page = asked.page.clone();
            let found = self.composed.provider.consents(user.as_ref(), page).await?;
            let next = next(found.len(), &asked.page, found.last().map(Consent::key));
            return Ok(Done::piece(found.iter().map(consents::shown).collect(), next));
        };
        // Many may be of other clients, so more are looked at than are told.
        let page = Page { limit: LOOKED_AT, ..asked.page.clone() };
        let found = self.composed.provider.consents(user.as_ref(), page.clone()).await?;
        let theirs: Vec<_> = found.iter().filter(|consent| consent.client == client).collect();
        let limit = usize::try_from(asked.page.limit).unwrap_or(usize::MAX);
        let told: Vec<Value> =
            theirs.iter().take(limit).map(|consent| consents::shown(consent)).collect();
        let last = match theirs.len() > limit {
            true => theirs.get(limit.saturating_sub(1)).map(|consent| consent.key()),
            false => next(found.len(), &page, found.last().map(Consent::key)),
        };
        Ok(Done::piece(told, last))
    }
}
