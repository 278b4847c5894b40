//! Who may enter the console: a person who is signed in, has the role `admin` now, and has shown a while
//! ago that they are there.

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use tegata_core::{SessionId, StoreError, Timestamp, UserId};
use tegata_identity::{Enrolled, User};
use tegata_oauth::{
    administer::{Administrator, ROLE, Who},
    redirect::with_query,
};
use tegata_session::Session;

use super::place::{FIELD, Place};
use crate::{
    admin::SecondFactor,
    app::{App, ConsoleAt},
    caller::Caller,
    pages::{Trouble, see_other},
    refusals,
    signed_in::Cookies,
};

/// What somebody enters for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// To look.
    Look,
    /// To change something.
    Change,
}

/// Somebody who is in.
pub(super) struct Inside {
    pub(super) session: Session,
    pub(super) user: User,
    pub(super) enrolled: Option<Enrolled>,
    pub(super) cookies: Cookies,
}

/// Why somebody does not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    /// Nobody is signed in.
    Nobody,
    /// The console is not open at all.
    Closed,
    /// Pages of others share the origin.
    Shared,
    /// The person has not the role.
    NoRole,
    /// The person must have a second factor, and has none.
    NoFactor,
    /// They have not shown for too long that they are there.
    Unproven,
}

/// Somebody at the door.
pub(super) enum Door {
    In(Box<Inside>),
    Out(Outside, Option<Box<Inside>>, Cookies),
}

/// Looks who comes.
///
/// # Errors
/// What the store says: then nobody enters.
pub(super) async fn enter(app: &App, caller: &Caller, need: Need) -> Result<Door, StoreError> {
    let out = |why| Door::Out(why, None, Cookies::default());
    match app.config().console {
        ConsoleAt::Off => return Ok(out(Outside::Closed)),
        ConsoleAt::OwnOrigin if app.shares_origin() => return Ok(out(Outside::Shared)),
        ConsoleAt::OwnOrigin | ConsoleAt::DangerSharedOrigin => {}
    }
    let presence = app.presence(caller).await?;
    let cookies = presence.cookies(app);
    let Some(session) = presence.session().cloned() else {
        return Ok(Door::Out(Outside::Nobody, None, cookies));
    };
    // As the record has it at the moment: what a session copied of it may be old.
    let Some(user) = app.users().load(app.realm(), &session.user).await? else {
        return Ok(Door::Out(Outside::Nobody, None, cookies));
    };
    let enrolled = app.second_factors().of(app.realm(), &user.id).await?;
    let inside = Inside { session, user, enrolled, cookies };
    Ok(match inside.lacks(app, need) {
        None => Door::In(Box::new(inside)),
        Some(why) => {
            let cookies = inside.cookies.clone();
            Door::Out(why, Some(Box::new(inside)), cookies)
        }
    })
}

/// Whether somebody who looks on may go on doing so. `Err`: it is not known.
pub(super) async fn still(
    app: &App,
    sid: &SessionId,
    user: &UserId,
) -> Result<Result<(), Outside>, StoreError> {
    // One that may have ended, for all that is known, has.
    let Some(listed) = app.sessions().listed(app.realm(), sid).await? else {
        return Ok(Err(Outside::Nobody));
    };
    let session = listed.session;
    if session.user != *user || !app.suffices(user, session.standing.acr.as_deref()).await? {
        return Ok(Err(Outside::Nobody));
    }
    let Some(user) = app.users().load(app.realm(), user).await? else {
        return Ok(Err(Outside::Nobody));
    };
    let enrolled = app.second_factors().of(app.realm(), &user.id).await?;
    let inside = Inside { session, user, enrolled, cookies: Cookies::default() };
    Ok(inside.lacks(app, Need::Look).map_or(Ok(()), Err))
}

impl Inside {
    /// What somebody lacks for this.
    fn lacks(&self, app: &App, need: Need) -> Option<Outside> {
        // INVARIANT: what is not known to be there is not there.
        if self.user.disabled || !self.user.roles.iter().any(|role| role.as_str() == ROLE) {
            return Some(Outside::NoRole);
        }
        if app.config().administrators == SecondFactor::Required && self.enrolled.is_none() {
            return Some(Outside::NoFactor);
        }
        let within = match need {
            Need::Look => app.config().console_proof.max(app.config().elevation),
            Need::Change => app.config().elevation,
        };
        (!self.is_proven(app, within)).then_some(Outside::Unproven)
    }

    /// Whether the person has shown within this time that they are there: by a second factor that they
    /// have, where they have one.
    fn is_proven(&self, app: &App, within: Duration) -> bool {
        let (standing, now) = (&self.session.standing, app.node().now());
        let shown = self.enrolled.as_ref().is_none_or(|enrolled| {
            let names = enrolled.names();
            standing.factors.iter().any(|factor| names.contains(factor))
        });
        let signed_in = Timestamp::from_secs(standing.auth_time);
        let by_sign_in = now.since(signed_in) < within;
        // An elevation says until when it counts, and so when it began.
        let longer = within.saturating_sub(app.config().elevation);
        let by_elevation = standing.elevated_until.is_some_and(|until| now < until + longer);
        shown && (by_sign_in || by_elevation)
    }

    /// The person, as administration knows them.
    pub(super) fn administrator(&self) -> Administrator {
        let acr = self.session.standing.acr.clone();
        Administrator { who: Who::Person(self.user.id.clone()), acr, key: None }
    }
}

impl Outside {
    /// The status of the answer to a script.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Nobody => StatusCode::UNAUTHORIZED,
            Self::Closed => StatusCode::NOT_FOUND,
            Self::Shared | Self::NoRole | Self::NoFactor | Self::Unproven => StatusCode::FORBIDDEN,
        }
    }

    /// Why, in a word, for scripts.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "session",
            Self::Closed => "closed",
            Self::Shared => "shared_origin",
            Self::NoRole => "role",
            Self::NoFactor => "factor",
            Self::Unproven => "proof",
        }
    }
}

/// The way to sign in, and back.
pub(super) fn sign_in(place: &Place, lang: &str, cookies: Cookies) -> Result<Response, Trouble> {
    let to = with_query("/login", &[(FIELD, place.path().as_str()), ("lang", lang)]);
    Ok((cookies, refusals::named(see_other(&to)?, "login_required")).into_response())
}
