//! Client certificates by themselves (RFC 8705, RFC 9440, SPIFFE X509-SVID), on routes that say so.

use std::sync::Arc;

use http::StatusCode;
use tegata_mesh::{Credential, Route};
use tegata_policy::PrincipalKind;
use tegata_token::Confirmation;

use super::several;
use crate::{
    certificate,
    certified::CertifiedIdentity,
    gate::Gate,
    head::Head,
    passport::Caller,
    phase::admit::Admitted,
    refusal::{Refusal, Refused},
};

/// What the certificate of a request says of whose it is.
pub(super) enum Shown {
    /// There is none, or it says nothing here.
    Nothing,
    /// It is nobody's who is known. Why, the log says: whoever shows it learns no more.
    Unknown,
    /// It is theirs.
    Of(Arc<CertifiedIdentity>),
}

/// Whose the certificate is that a request shows, where certificates count by themselves.
///
/// # Errors
/// A proxy tells of it in a way that cannot be read.
pub(super) fn check(
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    route: &Route,
    gate: &Gate,
) -> Result<Shown, Refused> {
    let Some(certified) = gate.certified.as_ref() else { return Ok(Shown::Nothing) };
    if !route.credentials.have(Credential::Certificate) {
        return Ok(Shown::Nothing);
    }
    let Some(shown) = certificate::shown(head, admitted, gate)? else { return Ok(Shown::Nothing) };
    Ok(certified.look(&shown, gate).map_or(Shown::Unknown, Shown::Of))
}

impl Shown {
    /// Refuses a request in which a token is another's than the certificate. One that is bound to the
    /// certificate, or was issued to whom the certificate is of, is no second credential.
    pub(super) fn check_beside(&self, token: &Caller) -> Result<(), Refused> {
        let Self::Of(identity) = self else { return Ok(()) };
        let claims = token.claims();
        let bound = claims.cnf.as_ref().and_then(Confirmation::certificate_alone);
        let same = bound == Some(&*identity.thumbprint)
            || claims.client_id.as_deref() == Some(&*identity.name)
            || claims.sub == identity.claims.sub;
        if same { Ok(()) } else { Err(several()) }
    }

    /// Whose request it is that carries no token. `also` is whether it has another credential.
    pub(super) fn alone(
        self,
        route: &Route,
        gate: &Gate,
        also: impl Fn() -> Result<bool, Refused>,
    ) -> Result<Option<Caller>, Refused> {
        match self {
            Self::Nothing => Ok(None),
            Self::Unknown if also()? => Ok(None),
            Self::Unknown => {
                let detail = "the client certificate makes nobody known here";
                Err(Refusal::invalid_token("certificate_unknown", detail))
            }
            Self::Of(_) if also()? => Err(several()),
            Self::Of(identity) => {
                check_caller(&identity, route, gate)?;
                Ok(Some(Caller::Certificate(identity)))
            }
        }
    }
}

/// A service that is known by its certificate may call what names it among its `callers`: it has no scope
/// and no roles by which a route could say so.
pub(super) fn check_caller(
    identity: &CertifiedIdentity,
    route: &Route,
    gate: &Gate,
) -> Result<(), Refused> {
    let may = identity.kind != PrincipalKind::Service
        || gate.routing.takes_calls_of(route.service.as_str(), &identity.name);
    if may {
        return Ok(());
    }
    let detail = "the service does not name the caller among its `callers`";
    Err(Refusal::new(StatusCode::FORBIDDEN, "not_a_caller", detail))
}
