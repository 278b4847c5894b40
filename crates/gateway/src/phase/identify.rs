//! Who sends it, and does the credential still count?

use http::HeaderValue;
use tegata_mesh::{AuthMode, Route};

use crate::{
    dpop::Shown,
    gate::{Freshness, Gate},
    head::{Head, Once},
    passport::Caller,
    phase::admit::Admitted,
    refusal::{Refusal, Refused},
    session::SessionRefused,
};

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
    let caller = match admitted.fields.authorization {
        Once::Several => {
            let detail = "`Authorization` stands more than once";
            return Err(Refusal::bad_request("several_authorizations", detail));
        }
        Once::One(value) => {
            let (caller, proof) = token::check(value, (head, admitted), gate).await?;
            (proven, shown) = (proof, token::of_issuer(value, &caller));
            caller
        }
        Once::Absent => {
            match Box::pin(session::check(head, admitted, gate, set_cookie)).await? {
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
        Some(proven) => {
            let now = gate.node.now();
            Box::pin(gate.proofs.use_up(proven, route.revocation, now)).await?
        }
        None => Shown::default(),
    };
    let unchecked = unchecked || shown.unchecked;
    Ok(Identified { caller: Some(caller), unchecked, nonce: shown.nonce })
}
