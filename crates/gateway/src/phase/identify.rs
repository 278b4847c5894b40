//! Who sends it, and does the credential still count?

use http::HeaderValue;
use tegata_mesh::{AuthMode, Credential, Route};

use crate::{
    dpop::Shown,
    gate::{Freshness, Gate},
    head::{Head, Once},
    passport::Caller,
    phase::admit::Admitted,
    refusal::{Refusal, Refused},
    session::SessionRefused,
};

mod certificate;
mod counts;
mod session;
mod token;

pub(crate) use self::{
    counts::{is_taken_back, still_counts},
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
/// `set_cookie` gets the cookies that are to be set whatever becomes of the request.
pub(crate) async fn identify(
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    route: &Route,
    gate: &Gate,
    freshness: &Freshness,
    set_cookie: &mut Vec<HeaderValue>,
) -> Result<Identified, Refused> {
    if route.auth == AuthMode::None {
        return Ok(Identified::default());
    }
    let (mut proven, mut shown) = (None, None);
    let certificate = certificate::check(head, admitted, route, gate)?;
    let caller = match admitted.fields.authorization {
        Once::Several => {
            let detail = "`Authorization` stands more than once";
            return Err(Refusal::bad_request("several_authorizations", detail));
        }
        Once::One(value) => {
            check_counts(route, Credential::Token)?;
            let (caller, proof) = token::check(value, (head, admitted), gate).await?;
            certificate.check_beside(&caller)?;
            (proven, shown) = (proof, token::of_issuer(value, &caller));
            caller
        }
        Once::Absent => {
            let in_session = route.credentials.have(Credential::Session);
            let cookie = || -> Result<bool, Refused> {
                Ok(in_session && session::is_shown(head, admitted, gate)?)
            };
            let by_certificate = certificate.alone(route, gate, cookie)?;
            // Browsers send what they have: where sessions do not count, that is nothing.
            let checked = match by_certificate {
                Some(caller) => Some(Ok(caller)),
                None if !in_session => None,
                None => session::check(head, admitted, gate, set_cookie).await?,
            };
            match checked {
                None => return Ok(Identified::default()),
                Some(Ok(caller)) => caller,
                // Browsers send what they have: a session that has ended is no reason not to show
                // somebody what everybody may see.
                Some(Err(SessionRefused::Unknown)) if route.auth == AuthMode::Optional => {
                    return Ok(Identified::default());
                }
                Some(Err(refused)) => return Err(session::refused(refused)),
            }
        }
    };
    // Taken now: somebody may have been waited for.
    let now = gate.node.since_boot();
    let unchecked = still_counts((&caller, shown), route.revocation, gate, freshness, now).await?;
    let shown = match proven {
        Some(proven) => gate.proofs.use_up(proven, route.revocation, gate.node.now()).await?,
        None => Shown::default(),
    };
    let unchecked = unchecked || shown.unchecked;
    Ok(Identified { caller: Some(caller), unchecked, nonce: shown.nonce })
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
    let detail = "such a credential does not count on this route";
    Err(Refusal::invalid_token("credential_elsewhere", detail))
}
