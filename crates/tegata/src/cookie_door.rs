//! Session cookies at the gateway: whom a cookie stands for, and whether the request may use it.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderValue,
    header::{RANGE, USER_AGENT},
};
use quick_cache::sync::Cache;
use tegata_core::{BoxFuture, Realm};
use tegata_gateway::{
    Checked, Head, Renewed, SessionCheck, SessionIdentity, SessionRefused, SetCookie,
};
use tegata_identity::{Demand, Role, Users};
use tegata_server::Metrics;
use tegata_session::{
    Binding, Cookie, CookieName, Csrf, Origins, Said, Sender, Sent, Session, Sessions, Traits,
    Verdict, fingerprint::HINTS, same_origin_verdict, sessions,
};
use tegata_token::{Claims, RealmView, Scope};

use crate::{compose::Composed, in_time::in_time};

/// How many identities are kept, so that the gateway need not make an internal token anew for every
/// request of a session.
const KEPT: usize = 1000;

/// Answers the gateway about session cookies.
pub(crate) struct CookieDoor {
    realm: Realm,
    issuer: String,
    scope: Scope,
    sessions: Sessions,
    users: Users,
    csrf: Csrf,
    origins: Origins,
    cookie: Cookie,
    revoked: Arc<RealmView>,
    demand: Demand,
    metrics: Metrics,
    kept: Cache<String, Arc<SessionIdentity>>,
}

impl CookieDoor {
    /// For the sessions of `composed`, used from these origins, with this scope. What is refused is counted
    /// in `metrics`.
    pub(crate) fn new(
        composed: &Composed,
        scope: Scope,
        origins: Origins,
        metrics: Metrics,
    ) -> Self {
        Self {
            realm: composed.realm.clone(),
            issuer: composed.config.issuer(),
            scope,
            sessions: composed.sessions.clone(),
            users: composed.users.clone(),
            csrf: composed.csrf.clone(),
            origins,
            cookie: composed.cookies.cookie(CookieName::Session).clone(),
            revoked: composed.view.realm(&composed.realm),
            demand: composed.sign_in.second_factors().demand().clone(),
            metrics,
            kept: Cache::new(KEPT),
        }
    }

    async fn judge(&self, value: &str, head: Head<'_>, client: IpAddr) -> Checked {
        let refused = |why| Checked { verdict: Err(why), set_cookie: None };
        let agent = head.headers.get(USER_AGENT).map(HeaderValue::as_bytes);
        let (binding, traits) = (Binding::of(client, agent), traits(head.headers));
        let (binding, traits) = (&binding, &traits);
        let shown = sessions::Presentation { value, binding, traits, rotates: true };
        let passage = match self.sessions.present(&self.realm, &shown).await {
            Ok(passage) => passage,
            Err(sessions::SessionRefused::Store(error)) => {
                tracing::warn!(%error, "a session cookie could not be judged");
                self.count("temporarily_unavailable");
                return refused(SessionRefused::Unavailable);
            }
            Err(sessions::SessionRefused::Verdict(verdict)) => {
                self.count(verdict.name());
                let why = match verdict {
                    Verdict::Bound(_) => SessionRefused::NotTheirs,
                    Verdict::Superseded => SessionRefused::Superseded,
                    Verdict::Unknown | Verdict::Ended | Verdict::Expired | Verdict::Replayed => {
                        SessionRefused::Unknown
                    }
                };
                // A cookie that may still be good elsewhere, or a moment later, is left alone.
                let set_cookie = verdict.is_final().then(|| self.cleared()).flatten();
                return Checked { verdict: Err(why), set_cookie };
            }
        };
        let set_cookie = passage.cookie.as_ref().and_then(|value| {
            let line = HeaderValue::from_str(&self.cookie.set(value.expose()).ok()?).ok()?;
            let (sid, generation) = (passage.session.id.clone(), passage.session.generation);
            Some(SetCookie::Renewed(Renewed { line, sid, generation }))
        });
        if !self.is_wanted(&passage.session, head) {
            self.count("csrf");
            return Checked { verdict: Err(SessionRefused::Forged), set_cookie };
        }
        let (realm, id) = (&self.realm, &passage.session.user);
        // Before they are read: what changes afterwards is later than this.
        let since = self.revoked.earliest_token(id.as_str());
        let changed = self.revoked.has_changed(id.as_str());
        let acr = passage.session.standing.acr.as_deref();
        let verdict = match self.users.recent_unless(changed, realm, id).await {
            // A session that began before a second factor was demanded of its person is none here.
            Ok(Some(user)) if !user.disabled && self.demand.is_met(&user, acr) => {
                let roles = user.roles.iter().map(Role::as_str).map(str::to_owned).collect();
                Ok(self.identity(&passage.session, roles, since))
            }
            Ok(_) => {
                self.count("not_entitled");
                Err(SessionRefused::Unknown)
            }
            Err(error) => {
                self.count("temporarily_unavailable");
                tracing::warn!(%error, "the person of a session could not be read");
                Err(SessionRefused::Unavailable)
            }
        };
        Checked { verdict, set_cookie }
    }

    /// Counts a cookie that is not served.
    fn count(&self, why: &'static str) {
        self.metrics.session_refused("gateway", why);
    }

    /// Whether the request is one that the person wants: it changes nothing, or it is from a page
    /// of ours and carries the session's token.
    fn is_wanted(&self, session: &Session, head: Head<'_>) -> bool {
        let origin = all(head.headers, "origin");
        let fetch_site = all(head.headers, "sec-fetch-site");
        let sender =
            Sender { method: head.method.as_str(), origin: &origin, fetch_site: &fetch_site };
        match same_origin_verdict(&sender, &self.origins) {
            Ok(Sent::Safe) => true,
            Ok(Sent::SameOrigin | Sent::Allowed) => {
                let token = head.headers.get("x-csrf-token").and_then(|it| it.to_str().ok());
                token.is_some_and(|token| self.csrf.is_of_session(&self.realm, &session.id, token))
            }
            Ok(Sent::Unstated) | Err(_) => false,
        }
    }

    fn identity(&self, session: &Session, roles: Vec<String>, since: u64) -> Arc<SessionIdentity> {
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: session.user.as_str().to_owned(),
            exp: session.ends_within(self.sessions.limits()).secs(),
            iat: session.started.secs(),
            nbf: (since > 0).then_some(since),
            scope: self.scope.clone(),
            roles,
            sid: Some(session.id.as_str().to_owned()),
            acr: session.standing.acr.clone(),
            amr: session.standing.amr.clone(),
            auth_time: Some(session.standing.auth_time),
            ..Claims::default()
        };
        let sid = session.id.as_str();
        if let Some(known) = self.kept.get(sid).filter(|known| known.claims == claims) {
            return known;
        }
        let identity = Arc::new(SessionIdentity { claims });
        self.kept.insert(sid.to_owned(), Arc::clone(&identity));
        identity
    }

    fn cleared(&self) -> Option<SetCookie> {
        HeaderValue::from_str(&self.cookie.expire()).ok().map(SetCookie::Cleared)
    }

    async fn may_give(&self, renewed: &Renewed) -> bool {
        let newest = self.sessions.is_newest(&self.realm, &renewed.sid, renewed.generation);
        in_time(newest).await.unwrap_or_else(|error| {
            // While the store is away, nobody is given a newer one; and without this one, the browser would be left
            // with one that counts for a minute.
            tracing::warn!(%error, "whether a session cookie is the newest is not known: it is set");
            true
        })
    }
}

impl SessionCheck for CookieDoor {
    fn cookie(&self) -> &str {
        self.cookie.name()
    }

    fn check<'a>(
        &'a self,
        value: &'a str,
        head: Head<'a>,
        client: IpAddr,
    ) -> BoxFuture<'a, Checked> {
        Box::pin(self.judge(value, head, client))
    }

    fn settle<'a>(&'a self, renewed: &'a Renewed) -> BoxFuture<'a, bool> {
        Box::pin(self.may_give(renewed))
    }
}

/// What a browser says of itself.
fn traits(headers: &HeaderMap) -> Traits {
    Traits::of(&Said {
        language: &all(headers, "accept-language"),
        codings: &all(headers, "accept-encoding"),
        hints: &all(headers, HINTS),
        range: headers.contains_key(RANGE),
    })
}

fn all<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

#[cfg(test)]
mod tests;
