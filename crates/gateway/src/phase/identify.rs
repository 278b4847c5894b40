//! Who sends it, and does the credential still count?

use http::HeaderValue;
use tegata_mesh::{AuthMode, Credential, Route};

use crate::{
    dpop::Shown,
    gate::{Freshness, Gate},
    head::{Fields, Head, Once},
    passport::Caller,
    phase::admit::Admitted,
    refusal::{Refusal, Refused},
    session::{SessionRefused, SetCookie},
};

mod certificate;
mod counts;
mod key;
mod session;
mod token;

pub(crate) use self::{
    counts::{is_taken_back, still_counts},
    key::{X_API_KEY, carries_key},
    session::{cookies, pairs},
    token::carries_token,
};

/// Whose request it is.
#[derive(Debug, Default)]
pub(crate) struct Identified {
    /// `None`: nobody's.
    pub(crate) caller: Option<Caller>,
    /// Whether it was let pass without knowing the latest revocations.
    pub(crate) unchecked: bool,
    /// The nonce that the answer tells of.
    pub(crate) nonce: Option<HeaderValue>,
}

/// Finds out who sends a request. Waits for nothing unless a session cookie is presented.
/// `set_cookie` gets what becomes of the session cookie whatever becomes of the request; `seen` gets who it
/// is where that is known, and does not count.
pub(crate) async fn identify(
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    route: &Route,
    gate: &Gate,
    freshness: &Freshness,
    (set_cookie, seen): (&mut Option<SetCookie>, &mut Option<Caller>),
) -> Result<Identified, Refused> {
    if route.auth == AuthMode::None {
        return Ok(Identified::default());
    }
    let (mut proven, mut shown) = (None, None);
    let certificate = certificate::check(head, admitted, route, gate)?;
    let in_session = route.credentials.have(Credential::Session);
    let has_session =
        || -> Result<bool, Refused> { Ok(in_session && session::is_shown(head, admitted, gate)?) };
    let caller = match said(&admitted.fields)? {
        Some(Said::Key(text)) => {
            check_counts(route, Credential::Key)?;
            if has_session()? {
                return Err(several());
            }
            let caller = key::check(text, gate).await?;
            certificate.check_beside(&caller)?;
            caller
        }
        Some(Said::Token(said)) => {
            check_counts(route, Credential::Token)?;
            let said = said.ok_or_else(|| {
                Refusal::invalid_token("authorization", "`Authorization` is malformed")
            })?;
            let (caller, proof) = token::check(said, (head, admitted), gate).await?;
            certificate.check_beside(&caller)?;
            (proven, shown) = (proof, said.of_issuer(&caller));
            caller
        }
        None => {
            let by_certificate = certificate.alone(route, gate, has_session)?;
            // Browsers send what they have: where sessions do not count, that is nothing.
            let checked = match by_certificate {
                Some(caller) => Some(Ok(caller)),
                None if !in_session => None,
                None => Box::pin(session::check(head, admitted, gate, set_cookie)).await?,
            };
            match checked {
                None => return Ok(Identified::default()),
                Some(Ok(caller)) => caller,
                // Browsers send what they have: a session that has ended, or a value that was
                // replaced, is no reason not to show somebody what everybody may see.
                Some(Err(SessionRefused::Unknown | SessionRefused::Superseded))
                    if route.auth == AuthMode::Optional =>
                {
                    return Ok(Identified::default());
                }
                Some(Err(refused)) => return Err(session::refused(refused)),
            }
        }
    };
    // Taken now: somebody may have been waited for.
    let now = gate.node.since_boot();
    let counts = still_counts((&caller, shown), route.revocation, gate, freshness, now).await;
    let covers = |unchecked| match &caller {
        Caller::Key(key) => key::check_covers(key, route).map(|()| unchecked),
        _ => Ok(unchecked),
    };
    let unchecked = match counts.and_then(covers) {
        Ok(unchecked) => unchecked,
        Err(refused) => {
            *seen = Some(caller);
            return Err(refused);
        }
    };
    let shown = match proven {
        Some(proven) => {
            let now = gate.node.now();
            Box::pin(gate.proofs.use_up(proven, route.revocation, now)).await?
        }
        None => Shown::default(),
    };
    let unchecked = unchecked || shown.unchecked;
    Ok(Identified { caller: Some(caller), unchecked, nonce: shown.nonce })
}

/// Finds out whether whoever is known already counts at another route, too: with the same credential, which
/// `authorization` says where it is a token. What was proven of it stays proven.
pub(crate) async fn identify_again(
    caller: &Caller,
    authorization: Option<&HeaderValue>,
    route: &Route,
    gate: &Gate,
    freshness: &Freshness,
) -> Result<Identified, Refused> {
    let kind = match caller {
        Caller::Token(_) | Caller::Foreign(_) => Credential::Token,
        Caller::Session(_) => Credential::Session,
        Caller::Key(_) => Credential::Key,
        Caller::Certificate(_) => Credential::Certificate,
    };
    // Browsers send what they have: where it does not count, that is nothing.
    if route.auth == AuthMode::None
        || (kind == Credential::Session && !route.credentials.have(kind))
    {
        return Ok(Identified::default());
    }
    check_counts(route, kind)?;
    let shown = authorization.and_then(token::Shown::of).and_then(|said| said.of_issuer(caller));
    let now = gate.node.since_boot();
    let unchecked = still_counts((caller, shown), route.revocation, gate, freshness, now).await?;
    match caller {
        Caller::Key(key) => key::check_covers(key, route)?,
        Caller::Certificate(identity) => certificate::check_caller(identity, route, gate)?,
        Caller::Token(_) | Caller::Foreign(_) | Caller::Session(_) => {}
    }
    Ok(Identified { caller: Some(caller.clone()), unchecked, nonce: None })
}

/// With what a request says whose it is, beside cookies.
enum Said<'r> {
    /// An access token, as `Authorization` says it. `None`: it says nothing that could be one.
    Token(Option<token::Shown<'r>>),
    /// An API key.
    Key(&'r str),
}

/// What a request carries: one thing, once. Of two, nobody could tell which is meant.
fn said<'r>(fields: &Fields<'r>) -> Result<Option<Said<'r>>, Refused> {
    match (fields.authorization, fields.api_key) {
        (Once::Several, _) => {
            let detail = "`Authorization` stands more than once";
            Err(Refusal::bad_request("several_authorizations", detail))
        }
        (_, Once::Several) => {
            let detail = "`X-API-Key` stands more than once";
            Err(Refusal::bad_request("several_api_keys", detail))
        }
        (Once::One(_), Once::One(_)) => Err(several()),
        // What is no text is no key.
        (Once::Absent, Once::One(value)) => Ok(Some(Said::Key(value.to_str().unwrap_or_default()))),
        (Once::One(value), Once::Absent) => {
            let shown = token::Shown::of(value);
            Ok(Some(shown.and_then(key::of_bearer).map_or(Said::Token(shown), Said::Key)))
        }
        (Once::Absent, Once::Absent) => Ok(None),
    }
}

fn several() -> Refused {
    let detail = "the request carries two credentials; send one";
    Refusal::bad_request("several_credentials", detail)
}

/// Whether a route takes such a credential.
fn check_counts(route: &Route, kind: Credential) -> Result<(), Refused> {
    if route.credentials.have(kind) {
        return Ok(());
    }
    let detail = match kind {
        Credential::Key => "API keys do not count on this route",
        _ => "such a credential does not count on this route",
    };
    Err(Refusal::invalid_token("credential_elsewhere", detail))
}
