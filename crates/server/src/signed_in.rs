//! Who is signed in: telling it from a cookie, beginning it, ending it.

use axum::response::{IntoResponseParts, ResponseParts};
use http::{HeaderValue, header};
use tegata_core::{
    Acr, Batch, CommitRefused, Secret, SessionId, StoreError, Timestamp, UserId, Versioned,
};
use tegata_identity::{Assurance, Refused, SecondFactors, Shown, User};
use tegata_oauth::SignedIn;
use tegata_session::{
    Agent, Beginning, CookieName, Csrf, CsrfToken, Passage, Presentation, Reason, Session,
    SessionRefused, Verdict,
};
use tegata_token::{
    Holder, Order, Tally, Withdrawable as _,
    families::{self, Issue},
    family::Granted,
    revocation::Taken,
};

use crate::{
    app::App, caller::Caller, confirmed::whole, pages::Trouble, proving::standing, recorded,
};

/// How often a sign-in that lost a race is tried again.
const TRIES: u32 = 20;

/// What a browser's session cookie comes to.
#[derive(Debug)]
pub(crate) enum Presence {
    /// A session that is served.
    Somebody(Box<Passage>),
    /// None, or one that is refused; the verdict says whether the cookie is of any more use.
    Nobody(Option<Verdict>),
}

/// `Set-Cookie` headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cookies(Vec<HeaderValue>);

/// A sign-in that has just begun: a session, and the tokens of our own scripts.
pub(crate) struct Fresh {
    pub(crate) session: Session,
    /// Where pages are given one.
    pub(crate) access_token: Option<String>,
    pub(crate) expires_in: u64,
    pub(crate) csrf: CsrfToken,
    pub(crate) cookies: Cookies,
    /// Who is signed in, as an authorization request sees it.
    pub(crate) who: SignedIn,
}

impl App {
    /// Who is signed in. Whoever must have a second factor and has shown none in this session is not:
    /// the session began before it was demanded of them.
    ///
    /// # Errors
    /// What the store says: then nobody knows, and the browser keeps its cookie.
    pub(crate) async fn presence(&self, caller: &Caller) -> Result<Presence, StoreError> {
        self.sufficing(self.shown(caller).await?).await
    }

    /// The same for a session cookie that a refresh token of the same session vouches for.
    ///
    /// # Errors
    /// As [`Self::presence`].
    pub(crate) async fn vouched_presence(&self, caller: &Caller) -> Result<Presence, StoreError> {
        self.sufficing(self.shown_as(caller, true).await?).await
    }

    /// Nobody, where less was shown than is demanded.
    async fn sufficing(&self, presence: Presence) -> Result<Presence, StoreError> {
        let suffices = match presence.session() {
            Some(session) => {
                let acr = session.standing.acr.as_deref();
                self.suffices(&session.user, acr).await?
            }
            None => true,
        };
        Ok(if suffices { presence } else { Presence::Nobody(None) })
    }

    /// Whether as much was shown in a session as is demanded of its person.
    pub(crate) async fn suffices(
        &self,
        person: &UserId,
        acr: Option<&str>,
    ) -> Result<bool, StoreError> {
        let demand = self.second_factors().demand();
        if demand.is_of_nobody() {
            return Ok(true);
        }
        let changed = self.view().has_changed(person.as_str());
        let user = self.users().recent_unless(changed, self.realm(), person).await?;
        Ok(user.is_some_and(|user| demand.is_met(&user, acr)))
    }

    /// Whose session it is, whatever was shown in it.
    async fn shown(&self, caller: &Caller) -> Result<Presence, StoreError> {
        self.shown_as(caller, false).await
    }

    async fn shown_as(&self, caller: &Caller, vouched: bool) -> Result<Presence, StoreError> {
        let Some(value) = caller.cookie(self, CookieName::Session) else {
            return Ok(Presence::Nobody(None));
        };
        let Caller { binding, traits, .. } = caller;
        let presentation = Presentation { value, binding, traits, rotates: true };
        let began = self.node().since_boot();
        let presented = if vouched {
            self.sessions().present_vouched(self.realm(), &presentation).await
        } else {
            self.sessions().present(self.realm(), &presentation).await
        };
        // What is vouched for has been presented, and counted, by itself before.
        if !vouched {
            self.metrics().sessions().note(presented.is_ok(), self.node().elapsed(began));
        }
        match presented {
            Ok(passage) => {
                recorded::by(passage.session.user.as_str());
                Ok(Presence::Somebody(Box::new(passage)))
            }
            Err(SessionRefused::Verdict(verdict)) => {
                if !vouched {
                    self.metrics().session_refused("provider", verdict.name());
                }
                Ok(Presence::Nobody(Some(verdict)))
            }
            Err(SessionRefused::Store(error)) => Err(error),
        }
    }

    /// The session that whoever asks to be signed out, or signs in anew, means: that of their genuine
    /// cookie, though it has been replaced or comes from elsewhere. Ending too much is the safe side.
    /// `None`: there is none that lives.
    ///
    /// # Errors
    /// What the store says: then it is not known.
    pub(crate) async fn meant(
        &self,
        caller: &Caller,
        presence: &Presence,
    ) -> Result<Option<Session>, StoreError> {
        if let Some(session) = presence.session() {
            return Ok(Some(session.clone()));
        }
        let value = caller.cookie(self, CookieName::Session).unwrap_or_default();
        match self.sessions().of_cookie(self.realm(), value).await? {
            Some(session) => self.sessions().unended(self.realm(), &session.id).await,
            None => Ok(None),
        }
    }

    /// Begins a session for somebody who has proven who they are, and with it the token family of our
    /// own scripts, in one batch. `auth_time` is the second that the proof counts from.
    ///
    /// # Errors
    /// [`Refused`]; under [`Refused::Store`] nothing is known to have begun.
    pub(crate) async fn let_in(
        &self,
        caller: &Caller,
        assurance: &Assurance,
        auth_time: u64,
    ) -> Result<Fresh, Refused> {
        recorded::by(assurance.user.id.as_str());
        // A session that the same browser had until now ends, though its cookie is refused: whoever is
        // told to sign in anew may be its owner, and whoever is served by it a thief.
        let presence = self.shown(caller).await?;
        let replaces = self.meant(caller, &presence).await?.map(|session| session.id);
        let beginning = Beginning {
            user: assurance.user.id.clone(),
            binding: caller.binding,
            traits: caller.traits.clone(),
            standing: standing(assurance, auth_time),
            address: Some(caller.address),
            replaces,
        };
        for _ in 0..TRIES {
            // Who was shut out since they proved themselves is told what others are.
            let found = self.users().versioned(self.realm(), &beginning.user).await?;
            let user = found.filter(|found| !found.value.disabled);
            let user = user.ok_or(Refused::InvalidCredentials)?;
            // INVARIANT: nothing begins for whoever must have a second factor and has shown none, though it
            // is demanded of them since a moment ago.
            if !self.second_factors().demand().is_met(&user.value, Some(assurance.acr.as_str())) {
                return Err(Refused::Over);
            }
            match self.begin(caller, &beginning, &user, assurance.acr).await {
                Ok(fresh) => return Ok(fresh),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }

    async fn begin(
        &self,
        caller: &Caller,
        beginning: &Beginning,
        found: &Versioned<User>,
        acr: Acr,
    ) -> Result<Fresh, CommitRefused> {
        let user = &found.value;
        // Nothing begins that cannot be answered.
        self.provider().check_signer(self.browser().access_token_alg)?;
        let realm = self.realm();
        let tells = |agent: Agent| self.letters()?.tells_of_sign_out(user, agent.to_string());
        let begun = self.sessions().prepare_begin(realm, beginning.clone(), tells).await?;
        let (session, client) = (begun.session, self.browser());
        let family = families::Beginning {
            client: client.id.clone(),
            user: user.id.clone(),
            session: Some(session.id.clone()),
            began_in: None,
            ends: Some(session.ends),
            grant: self.granted(&session).await?,
            binding: caller.place(),
            authority: user.authority,
            authorized: Timestamp::from_secs(session.standing.auth_time),
            as_of: None,
            kid: self.provider().signer(client.access_token_alg),
        };
        let (issue, begins) = self.provider().families().begin(realm, family).await?;
        // What the token says of them is so when it is issued.
        let batch = Batch::new(realm.clone()).with(begins).with(found.require());
        // INVARIANT: nothing begins after a password alone for whoever has a second factor, though it
        // was enrolled a moment ago.
        let batch = match acr {
            Acr::Aal1 => batch.with(SecondFactors::require_none(&user.id)),
            Acr::Aal2 | Acr::Aal3 => batch,
        };
        let (batch, ended) = begun.prepared.join(batch);
        let gone: Vec<_> = ended.iter().map(|ending| ending.sid.clone()).collect();
        self.endings().commit(batch, ended).await?;
        for sid in gone {
            self.withdraw_families(&sid, "session_ended", "system").await;
        }
        if !session.standing.factors.is_empty() {
            self.look_again(&session).await;
        }
        let pages = self.config().page_tokens;
        let access_token = match pages {
            true => Some(self.access_token(&issue, user).await?),
            false => None,
        };
        let csrf = self.csrf_of(&session.id)?;
        let cookies = Cookies::default().with(self, CookieName::Session, &begun.cookie).with(
            self,
            CookieName::Refresh,
            &issue.refresh_token,
        );
        Ok(Fresh {
            who: who(&session),
            expires_in: issue.family.access.exp.saturating_sub(self.node().now().secs()),
            session,
            access_token,
            csrf,
            cookies,
        })
    }

    /// What the tokens of our own scripts say of a session that begins. A factor that has gone since its
    /// person was read is not said to have been shown; one that goes from here on keeps it from beginning.
    async fn granted(&self, session: &Session) -> Result<Granted, StoreError> {
        let (client, standing) = (self.browser(), session.standing.clone());
        let mut grant = Granted {
            scope: client.scope.clone(),
            audience: client.audiences.clone(),
            acr: standing.acr,
            amr: standing.amr,
            auth_time: standing.auth_time,
            factors: standing.factors,
            whole_profile: true,
            ..Granted::default()
        };
        if !grant.factors.is_empty() {
            let names = self.second_factors().names(self.realm(), &session.user).await?;
            let Granted { acr, amr, factors, .. } = &mut grant;
            Shown { acr, amr, factors }.narrow(&names);
        }
        Ok(grant)
    }

    /// Ends a session, with its tokens. Answers whether this ended it.
    ///
    /// # Errors
    /// What the store says: then it is not known to have ended.
    pub(crate) async fn end_session(
        &self,
        sid: &SessionId,
        user: &UserId,
    ) -> Result<Taken, StoreError> {
        let (app, sid, user) = (self.clone(), sid.clone(), user.clone());
        whole(self.unfinished().begin("the end of a session"), async move {
            let by = user.as_str();
            if !app.sessions().end(app.realm(), &sid, &Reason::Logout, by).await? {
                return Ok(Taken::Before);
            }
            app.withdraw_families(&sid, Reason::Logout.name(), by).await;
            Ok(Taken::Now)
        })
        .await
    }

    /// Takes back the families of a session that has ended. Its tokens are refused already, by its
    /// name, so a store that does not answer now costs nothing but the bits of their status lists.
    pub(crate) async fn withdraw_families(&self, sid: &SessionId, reason: &str, actor: &str) {
        let order = Order { reason: reason.to_owned(), actor: actor.to_owned() };
        let holder = Holder::Session(sid.clone());
        let families = self.provider().families();
        if let Err(error) =
            families.withdraw(self.realm(), &holder, &order, &Tally::default()).await
        {
            tracing::warn!(%sid, %error, "families of an ended session were not ended");
        }
    }

    /// The access token of a family of our own scripts.
    pub(crate) async fn access_token(
        &self,
        issue: &Issue,
        user: &User,
    ) -> Result<String, StoreError> {
        let made = self.provider().access_token(issue, user, self.browser()).await;
        made.map_err(|refused| match refused {
            tegata_oauth::Refused::Store(error) => error,
            tegata_oauth::Refused::OAuth(error) => {
                StoreError::Misused { detail: error.description.to_owned() }
            }
        })
    }

    /// A CSRF token for the scripts of a session.
    pub(crate) fn csrf_of(&self, sid: &SessionId) -> Result<CsrfToken, StoreError> {
        Csrf::of_session(self.csrf(), self.realm(), sid, self.node().entropy())
    }

    /// A CSRF token for the forms of our own pages in a session, which no script is given.
    pub(crate) fn form_csrf_of(&self, sid: &SessionId) -> Result<CsrfToken, StoreError> {
        Csrf::of_page(self.csrf(), self.realm(), sid, self.node().entropy())
    }

    /// Whether a form was made by a page of ours in this session. One with the token of scripts does nothing,
    /// like any other that was not, but leads to the page at `here`: nodes of a version before made such
    /// forms, and whoever sends one while there are both kinds is shown the form once more.
    ///
    /// # Errors
    /// [`Trouble::Foreign`], and [`Trouble::Again`].
    pub(crate) fn check_form(
        &self,
        sid: &SessionId,
        token: Option<&str>,
        here: impl FnOnce() -> String,
    ) -> Result<(), Trouble> {
        let token = token.unwrap_or_default();
        if self.csrf().is_of_page(self.realm(), sid, token) {
            Ok(())
        } else if self.csrf().is_of_session(self.realm(), sid, token) {
            Err(Trouble::Again(here()))
        } else {
            Err(Trouble::Foreign)
        }
    }
}

impl Presence {
    /// The session.
    pub(crate) fn session(&self) -> Option<&Session> {
        match self {
            Self::Somebody(passage) => Some(&passage.session),
            Self::Nobody(_) => None,
        }
    }

    /// Who is signed in, as an authorization request sees it.
    pub(crate) fn who(&self) -> Option<SignedIn> {
        self.session().map(who)
    }

    /// What the answer does to the browser's session cookie: gives the next value, takes away one
    /// that is of no more use, or nothing.
    pub(crate) fn cookies(&self, app: &App) -> Cookies {
        match self {
            Self::Somebody(passage) => match &passage.cookie {
                Some(value) => Cookies::default().with(app, CookieName::Session, value),
                None => Cookies::default(),
            },
            Self::Nobody(Some(verdict)) if verdict.is_final() => {
                Cookies::default().without(app, CookieName::Session)
            }
            Self::Nobody(_) => Cookies::default(),
        }
    }
}

impl Cookies {
    /// Sets one of ours.
    #[must_use]
    pub(crate) fn with(mut self, app: &App, name: CookieName, value: &Secret<String>) -> Self {
        let set = app.cookies().cookie(name).set(value.expose()).ok();
        match set.and_then(|set| HeaderValue::from_str(&set).ok()) {
            Some(mut header) => {
                header.set_sensitive(true);
                self.0.push(header);
            }
            None => tracing::error!(?name, "a cookie was not set: its value cannot be one"),
        }
        self
    }

    /// Takes one of ours away.
    #[must_use]
    pub(crate) fn without(mut self, app: &App, name: CookieName) -> Self {
        self.0.extend(HeaderValue::from_str(&app.cookies().cookie(name).expire()).ok());
        self
    }

    /// Adds headers that were made elsewhere.
    #[must_use]
    pub(crate) fn and(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.0.extend(lines.into_iter().filter_map(|line| HeaderValue::from_str(&line).ok()));
        self
    }

    /// Takes away all that a sign-in gave, and what its form had.
    #[must_use]
    pub(crate) fn signed_out(app: &App) -> Self {
        let all = [CookieName::Session, CookieName::Refresh, CookieName::Csrf];
        all.into_iter().fold(Self::default(), |cookies, name| cookies.without(app, name))
    }
}

impl IntoResponseParts for Cookies {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        for cookie in self.0 {
            parts.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(parts)
    }
}

/// A session as an authorization request sees it.
pub(crate) fn who(session: &Session) -> SignedIn {
    let standing = &session.standing;
    // The standing knows seconds alone. Whether somebody signed in before or after a request
    // arrived is told by the session's beginning, unless they have proven more since.
    let auth_time = if session.started.secs() >= standing.auth_time {
        session.started
    } else {
        Timestamp::from_secs(standing.auth_time)
    };
    SignedIn {
        user: session.user.clone(),
        session: session.id.clone(),
        session_ends: session.ends,
        auth_time,
        acr: standing.acr.clone().unwrap_or_default(),
        amr: standing.amr.clone(),
        factors: standing.factors.clone(),
    }
}

fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "a person's sessions changed faster than one could be added".to_owned(),
    }
}
