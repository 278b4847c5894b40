//! How people prove who they are: by password, by a second factor after it, by a passkey, and once more
//! later.

use tegata_core::{Acr, Secret, SessionId, Timestamp, port::Change};
use tegata_identity::{
    Assurance, Authenticator, CodeAttempt, FirstFactor, Method as Proves, Proof, Proven, Refused,
    SecondFactors, Step, To,
};
use tegata_session::{
    CookieName, Passage, Presentation, Rise, Session, SessionRefused, Standing, Verdict,
};

use crate::{
    app::App, caller::Caller, endings::first_second, metrics::Method, pages::login::error_type,
    signed_in::Fresh,
};

pub(crate) mod enrolling;
mod passkey;

/// What a password comes to.
pub(crate) enum Entry {
    /// A session has begun.
    In(Box<Fresh>),
    /// A second factor is asked for; nothing has begun.
    Second(Asked),
    /// One must be set up first, with this token; nothing has begun.
    Enrol(Secret<String>),
}

/// A second factor that is asked for.
pub(crate) struct Asked {
    /// What the code must come with.
    pub(crate) token: Secret<String>,
    /// What it can be a code of.
    pub(crate) methods: Vec<Authenticator>,
}

/// What somebody who is signed in shows once more.
pub(crate) enum Again {
    Password(Secret<String>),
    Code(Secret<String>),
    Passkey(Secret<String>),
}

/// What somebody has shown once more.
struct Shown {
    session: Session,
    /// What their session may do by it.
    standing: Standing,
    /// What must hold besides: nothing else is asked for of who has a password alone.
    requires: Option<Change>,
}

/// Why a session was not raised.
pub(crate) enum NotRaised {
    /// What was shown does not count.
    Refused(Refused),
    /// The password is right, and not enough for whoever has one of these.
    Second(Vec<Authenticator>),
    /// There is no such session; the verdict says whether its cookie is of any more use.
    Nobody(Option<Verdict>),
}

impl<E: Into<Refused>> From<E> for NotRaised {
    fn from(refused: E) -> Self {
        Self::Refused(refused.into())
    }
}

impl App {
    /// The first step of signing in.
    ///
    /// # Errors
    /// [`Refused`]; under [`Refused::Store`] nothing is known to have begun.
    pub(crate) async fn sign_in_by_password(
        &self,
        caller: &Caller,
        username: &str,
        password: &Secret<String>,
    ) -> Result<Entry, Refused> {
        let started = self.node().since_boot();
        let entered = self.enter(caller, username, password).await;
        self.counted(Method::Password, started, &entered);
        entered
    }

    async fn enter(
        &self,
        caller: &Caller,
        username: &str,
        password: &Secret<String>,
    ) -> Result<Entry, Refused> {
        let (proof, counts_from) = self.prove(caller, username, password).await?;
        self.entered(caller, proof, counts_from).await
    }

    /// The first step of signing in, by the code of a mail that this browser asked for.
    ///
    /// # Errors
    /// As [`Self::sign_in_by_password`].
    pub(crate) async fn sign_in_by_mail(
        &self,
        caller: &Caller,
        browser: &str,
        code: &Secret<String>,
    ) -> Result<Entry, Refused> {
        let started = self.node().since_boot();
        let entered = self.enter_by_mail(caller, browser, code).await;
        self.counted(Method::Mail, started, &entered);
        entered
    }

    async fn enter_by_mail(
        &self,
        caller: &Caller,
        asker: &str,
        code: &Secret<String>,
    ) -> Result<Entry, Refused> {
        self.provider().check_signer(self.browser().access_token_alg)?;
        let letters = self.letters().ok_or(Refused::WrongCode)?;
        let (realm, from) = (self.realm(), caller.address);
        let proof = letters.sign_in(realm, asker, code.expose(), from).await?;
        // What was taken back in this second, or later, may have been taken back after the code was shown.
        let (sub, at) = (proof.user().id.as_str(), proof.began().secs());
        if at < self.view().earliest_issue(sub, None) {
            return Err(Refused::Over);
        }
        self.entered(caller, proof, at).await
    }

    /// What follows a first step that was proven.
    async fn entered(
        &self,
        caller: &Caller,
        proof: Proof,
        counts_from: u64,
    ) -> Result<Entry, Refused> {
        let (realm, browser) = (self.realm(), browser(caller));
        let ask = async |first: &FirstFactor, to: To| {
            self.sign_in().challenge(realm, first, counts_from, &browser, to).await
        };
        match proof {
            Proof::Whole(assurance) => {
                let fresh = self.let_in(caller, &assurance, counts_from).await?;
                Ok(Entry::In(Box::new(fresh)))
            }
            Proof::First(first) => {
                let token = ask(&first, To::Show).await?;
                Ok(Entry::Second(Asked { token, methods: first.second }))
            }
            Proof::Unenrolled(first) => Ok(Entry::Enrol(ask(&first, To::Enrol).await?)),
        }
    }

    /// The second step of signing in.
    ///
    /// # Errors
    /// As [`Self::sign_in_by_password`].
    pub(crate) async fn sign_in_by_code(
        &self,
        caller: &Caller,
        token: &str,
        authenticator: Option<Authenticator>,
        code: &Secret<String>,
    ) -> Result<Fresh, Refused> {
        let step = Step { token, browser: &browser(caller), address: caller.address };
        let attempt = CodeAttempt { step, authenticator, code: code.expose() };
        let started = self.node().since_boot();
        let entered = self.enter_by_code(caller, &attempt).await;
        self.counted(Method::Code, started, &entered);
        entered
    }

    async fn enter_by_code(
        &self,
        caller: &Caller,
        attempt: &CodeAttempt<'_>,
    ) -> Result<Fresh, Refused> {
        // No code is used up for what could not be answered.
        self.provider().check_signer(self.browser().access_token_alg)?;
        let proven = self.sign_in().by_code(self.realm(), attempt).await?;
        self.enter_by_both(caller, &proven).await
    }

    /// Begins a session for somebody who has proven both factors.
    async fn enter_by_both(&self, caller: &Caller, proven: &Proven) -> Result<Fresh, Refused> {
        let assurance = &proven.assurance;
        // All of this person's was taken back since they showed their password.
        let earliest = self.view().earliest_issue(assurance.user.id.as_str(), None);
        if proven.counts_from < earliest {
            return Err(Refused::Over);
        }
        let auth_time = assurance.auth_time.secs().max(proven.counts_from);
        self.let_in(caller, assurance, auth_time).await
    }

    /// Whether the person of a session has shown a moment ago who they are, by any of the ways that they
    /// have: when they signed in, or since.
    pub(crate) fn is_fresh(&self, session: &Session) -> bool {
        let (standing, now) = (&session.standing, self.node().now());
        let signed_in = Timestamp::from_secs(standing.auth_time);
        standing.is_elevated(now) || now.since(signed_in) < self.config().elevation
    }

    /// Raises the session that the caller's cookie names by what its person shows once more. Whoever
    /// has a second factor shows that.
    ///
    /// # Errors
    /// [`NotRaised`].
    pub(crate) async fn raise(
        &self,
        caller: &Caller,
        sid: &SessionId,
        again: &Again,
    ) -> Result<Passage, NotRaised> {
        let Shown { session, standing, requires } = self.shown_again(caller, sid, again).await?;
        let until = self.node().now() + self.config().elevation;
        let standing = Standing { elevated_until: Some(until), ..standing };
        let rise = Rise { standing, requires };
        // Presenting would count as a use of the session besides; the proof is the use.
        let Caller { binding, traits, .. } = caller;
        let value = caller.cookie(self, CookieName::Session).unwrap_or_default();
        let presentation = Presentation { value, binding, traits, rotates: true };
        match self.sessions().raise(self.realm(), &presentation, &rise).await {
            Ok(Some(passage)) => {
                self.look_again(&passage.session).await;
                Ok(passage)
            }
            // A second factor was enrolled meanwhile.
            Ok(None) => Err(NotRaised::Second(self.authenticators(&session).await?)),
            Err(SessionRefused::Verdict(verdict)) => Err(self.not_raised(verdict)),
            Err(SessionRefused::Store(error)) => Err(error.into()),
        }
    }

    /// Looks at what somebody who is signed in shows for one thing, and for that alone: their session may
    /// no more after it than before, or a script that waits for it would be let in with it.
    ///
    /// # Errors
    /// [`NotRaised`].
    pub(crate) async fn is_there(
        &self,
        caller: &Caller,
        sid: &SessionId,
        again: &Again,
    ) -> Result<(), NotRaised> {
        let Shown { session, requires, .. } = self.shown_again(caller, sid, again).await?;
        // A password does not do for whoever has enrolled a second factor meanwhile.
        let second = self.authenticators(&session).await?;
        if requires.is_some() && !second.is_empty() {
            return Err(NotRaised::Second(second));
        }
        match self.sessions().unended(self.realm(), sid).await? {
            Some(_) => Ok(()),
            None => Err(self.not_raised(Verdict::Ended)),
        }
    }

    async fn authenticators(&self, session: &Session) -> Result<Vec<Authenticator>, NotRaised> {
        let enrolled = self.second_factors().of(self.realm(), &session.user).await?;
        let second = enrolled.map(|enrolled| enrolled.authenticators());
        Ok(second.into_iter().flatten().collect())
    }

    /// What somebody shows who is signed in, where it counts.
    async fn shown_again(
        &self,
        caller: &Caller,
        sid: &SessionId,
        again: &Again,
    ) -> Result<Shown, NotRaised> {
        let nobody = || NotRaised::Nobody(None);
        let value = caller.cookie(self, CookieName::Session).unwrap_or_default();
        // Nobody guesses, and nothing is counted, for a cookie that was made up.
        let genuine = self.sessions().of_cookie(self.realm(), value).await?;
        if genuine.is_none_or(|session| session.id != *sid) {
            return Err(self.not_raised(Verdict::Unknown));
        }
        let session = self.sessions().find(self.realm(), sid).await?.ok_or_else(nobody)?;
        let (standing, requires) = match again {
            // It is the whole proof only of who has nothing else.
            Again::Password(password) => {
                let (assurance, at) = self.by_password_again(caller, &session, password).await?;
                let none = SecondFactors::require_none(&session.user);
                (standing(&assurance, at), Some(none))
            }
            Again::Code(code) => {
                let assurance = self.by_code_again(caller, &session, code).await?;
                (besides(&session, &assurance), None)
            }
            Again::Passkey(shown) => {
                let assurance = self.by_passkey_again(caller, &session, shown).await?;
                (besides(&session, &assurance), None)
            }
        };
        Ok(Shown { session, standing, requires })
    }

    /// Counts a cookie that was refused with a proof.
    fn not_raised(&self, verdict: Verdict) -> NotRaised {
        self.metrics().session_refused("provider", verdict.name());
        NotRaised::Nobody(Some(verdict))
    }

    async fn by_password_again(
        &self,
        caller: &Caller,
        session: &Session,
        password: &Secret<String>,
    ) -> Result<(Assurance, u64), NotRaised> {
        let nobody = || NotRaised::Nobody(None);
        let user = self.users().load(self.realm(), &session.user).await?.ok_or_else(nobody)?;
        let started = self.node().since_boot();
        let proven = self.prove(caller, user.username.as_str(), password).await;
        self.counted(Method::Password, started, &proven);
        let (proof, auth_time) = proven?;
        // A name can pass to somebody else meanwhile; the session does not.
        if proof.user().id != session.user {
            return Err(nobody());
        }
        match proof {
            Proof::Whole(assurance) => Ok((assurance, auth_time)),
            Proof::First(first) => Err(NotRaised::Second(first.second)),
            // Whoever must have a second factor has no session without one.
            Proof::Unenrolled(_) => Err(nobody()),
        }
    }

    async fn by_code_again(
        &self,
        caller: &Caller,
        session: &Session,
        code: &Secret<String>,
    ) -> Result<Assurance, NotRaised> {
        let started = self.node().since_boot();
        let (realm, from) = (self.realm(), caller.address);
        let proven = self.sign_in().again_by_code(realm, &session.user, code.expose(), from).await;
        self.counted(Method::Code, started, &proven);
        Ok(proven?)
    }

    /// Proves by a password who somebody is, and the second that it counts from.
    pub(crate) async fn prove(
        &self,
        caller: &Caller,
        username: &str,
        password: &Secret<String>,
    ) -> Result<(Proof, u64), Refused> {
        let from = caller.address;
        let prove = || self.sign_in().by_password(self.realm(), username, password.clone(), from);
        let mut proof = prove().await?;
        let known = self.view().earliest_issue(proof.user().id.as_str(), None);
        if proof.began().secs() < known {
            // All of this person's was taken back in the second in which the attempt began, or
            // later; which it was cannot be told. What is proven from now on is after it.
            proof = prove().await?;
        }
        let sub = proof.user().id.as_str();
        let second = first_second(self.view(), sub, known, proof.began().secs());
        Ok((proof, second))
    }

    fn counted<T>(
        &self,
        method: Method,
        started: tegata_core::SinceBoot,
        proven: &Result<T, Refused>,
    ) {
        let outcome = proven.as_ref().map(|_| ()).map_err(error_type);
        self.metrics().proved(method, self.node().elapsed(started), outcome);
    }
}

/// What a session may do after a proof.
pub(crate) fn standing(assurance: &Assurance, auth_time: u64) -> Standing {
    let user = &assurance.user;
    Standing {
        acr: Some(assurance.acr.as_str().to_owned()),
        amr: assurance.amr.iter().map(|method| method.as_str().to_owned()).collect(),
        auth_time,
        elevated_until: None,
        authority: user.authority,
        roles: user.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        factors: assurance.factors.clone(),
    }
}

/// What a session may do after a code or a passkey, besides what was proven before. When somebody signed
/// in is not changed by it: whoever asks for that wants them to sign in.
fn besides(session: &Session, assurance: &Assurance) -> Standing {
    let before = &session.standing;
    let proven = standing(assurance, before.auth_time);
    let mut amr = before.amr.clone();
    let mut add = |method: &str| {
        if !amr.iter().any(|known| known == method) {
            amr.push(method.to_owned());
        }
    };
    proven.amr.iter().for_each(|method| add(method));
    // It takes nothing from what was proven before; levels sort by their names.
    let mut acr = proven.acr.clone().max(before.acr.clone());
    let has = |method: Proves| amr.iter().any(|it| it == method.as_str());
    if has(Proves::Password) && (has(Proves::OneTime) || has(Proves::Possession)) {
        acr = acr.max(Some(Acr::Aal2.as_str().to_owned()));
        if !has(Proves::Several) {
            amr.push(Proves::Several.as_str().to_owned());
        }
    }
    let mut factors = before.factors.clone();
    factors.extend(proven.factors.iter().filter(|it| !before.factors.contains(it)).cloned());
    Standing { acr, amr, factors, ..proven }
}

/// Which browser, as a challenge is bound to it.
fn browser(caller: &Caller) -> String {
    format!("{}|{}", caller.binding.network, caller.binding.agent)
}
