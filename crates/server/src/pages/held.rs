//! What applications hold of somebody: the refresh tokens of each of their sign-ins, and the end of one.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use tegata_core::{ClientId, FamilyId, StoreError, UserId, port::Page};
use tegata_session::Listed;
use tegata_token::{Family, Holder, Order};

use super::{
    Shown, Trouble, Visit,
    home::{minutes, own},
    see_other,
};
use crate::app::App;

/// How many are read together, and how often: of those that have ended there may be many.
const TOGETHER: u32 = 200;
const PIECES: u32 = 20;

/// How many are listed.
const MOST: usize = 100;

/// What an application holds by one sign-in.
pub(super) struct Held {
    pub(super) family: String,
    pub(super) name: String,
    /// For people, and for programs.
    pub(super) since: (String, String),
    pub(super) used: (String, String),
    /// Whether it goes on when the browser's session ends.
    pub(super) is_offline: bool,
}

/// What applications hold of a person, the last used first. `sessions`: those of the person that live,
/// with which the others end.
pub(super) async fn of(
    app: &App,
    user: &UserId,
    sessions: &[Listed],
) -> Result<Vec<Held>, Trouble> {
    let (families, now) = (app.provider().families(), app.node().now());
    let living: BTreeSet<_> = sessions.iter().map(|listed| &listed.session.id).collect();
    let holder = Holder::User(user.clone());
    let mut page = Page { after: None, limit: TOGETHER };
    let mut held = Vec::new();
    for _ in 0..PIECES {
        let found = families.page(app.realm(), Some(&holder), page.clone()).await?;
        let Some(last) = found.last() else { break };
        page.after = Some(last.id.as_str().to_owned());
        held.extend(found.into_iter().filter(|family| {
            let goes_on = family.session.as_ref().is_none_or(|sid| living.contains(sid));
            // Our own pages are listed as sessions.
            family.is_alive(now) && goes_on && family.client != app.browser().id
        }));
    }
    held.sort_by_key(|family| std::cmp::Reverse(family.last_used()));
    held.truncate(MOST);
    Ok(named(app, held).await?)
}

/// Each with the name of its client. What a client held that is gone is of no use to anybody.
async fn named(app: &App, families: Vec<Family>) -> Result<Vec<Held>, StoreError> {
    let mut names: BTreeMap<ClientId, Option<String>> = BTreeMap::new();
    let mut named = Vec::with_capacity(families.len());
    for family in families {
        let name = match names.get(&family.client) {
            Some(known) => known.clone(),
            None => {
                let found = app.provider().clients().load(app.realm(), &family.client).await?;
                let name = found.map(|found| Shown::of(&found.value).name);
                names.insert(family.client.clone(), name.clone());
                name
            }
        };
        let moment = |text: String| (minutes(&text), text);
        named.extend(name.map(|name| Held {
            name,
            since: moment(family.started.to_string()),
            used: moment(family.last_used().to_string()),
            is_offline: family.session.is_none(),
            family: family.id.as_str().to_owned(),
        }));
    }
    Ok(named)
}

/// `POST /login/tokens`: ends what an application holds by one sign-in of whoever is signed in.
pub(crate) async fn end(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, end_one(&app, &visit, request).await)
}

async fn end_one(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    let (cookies, session, fields) = match own(app, visit, request).await? {
        Ok(own) => own,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let (families, realm) = (app.provider().families(), app.realm());
    if let Some(id) = fields.one("family").and_then(|id| FamilyId::new(id).ok())
        && let Some(family) = families.find(realm, &id).await?
        && family.user == session.user
    {
        let actor = session.user.as_str().to_owned();
        let order = Order { reason: "ended_by_person".to_owned(), actor };
        families.revoke(realm, &id, &order).await?;
    }
    Ok((cookies, see_other("/login")?).into_response())
}
