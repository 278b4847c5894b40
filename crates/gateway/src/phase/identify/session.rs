//! Session cookies.

use http::{HeaderMap, StatusCode, header};

use crate::{
    gate::Gate,
    head::Head,
    passport::Caller,
    phase::admit::Admitted,
    refusal::{Refusal, Refused},
    session::{SessionCheck, SessionRefused, SetCookie},
};

/// Who the session cookie speaks of. `None`: there is none.
///
/// # Errors
/// The session does not count; its cookie may be set all the same.
pub(super) async fn check(
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    gate: &Gate,
    set_cookie: &mut Option<SetCookie>,
) -> Result<Option<Result<Caller, SessionRefused>>, Refused> {
    let Some((sessions, value)) = session_cookie(head, admitted, gate)? else { return Ok(None) };
    let began = gate.node.since_boot();
    let checked = sessions.check(&value, *head, admitted.client).await;
    let took = gate.node.elapsed(began);
    match &checked.verdict {
        Ok(_) => gate.metrics.session_valid.observe(took),
        Err(_) => gate.metrics.session_invalid.observe(took),
    }
    *set_cookie = checked.set_cookie;
    Ok(Some(checked.verdict.map(Caller::Session)))
}

/// Whether a request carries a session cookie.
pub(super) fn is_shown(
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    gate: &Gate,
) -> Result<bool, Refused> {
    Ok(session_cookie(head, admitted, gate)?.is_some())
}

/// The session cookie and who knows about it, where there are both.
fn session_cookie<'g>(
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    gate: &'g Gate,
) -> Result<Option<(&'g dyn SessionCheck, String)>, Refused> {
    let Some(sessions) = gate.sessions.as_deref().filter(|_| admitted.fields.has_cookie) else {
        return Ok(None);
    };
    let own = sessions.cookie().as_bytes();
    let mut values = cookies(head.headers).filter(|(name, _)| *name == own);
    let Some((_, value)) = values.next() else { return Ok(None) };
    // Two cookies of a name: one was planted by a neighbour, and nobody can tell which.
    if values.any(|(_, other)| other != value) {
        let detail = "the session cookie stands more than once";
        return Err(Refusal::bad_request("several_session_cookies", detail));
    }
    // What is no text is no value of ours.
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii());
    Ok(text.map(|text| (sessions, text.to_owned())))
}

/// The cookies of a request, as their names and values (RFC 6265 §4.2.1). What others set beside ours
/// need not be text.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    pairs(headers).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((pair.get(..at)?, pair.get(at + 1..)?))
    })
}

/// The cookies of a request, as they are written.
pub(crate) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

pub(super) fn refused(refused: SessionRefused) -> Refused {
    match refused {
        SessionRefused::Unknown => {
            Refusal::invalid_token("session_unknown", "the session has ended; sign in again")
        }
        SessionRefused::NotTheirs => {
            Refusal::invalid_token("session_not_theirs", "the session is bound to somebody else")
        }
        SessionRefused::Superseded => {
            let detail = "the session's cookie has been replaced by a newer one; send the request again, and \
                          sign in where that does not help";
            Refusal::invalid_token("session_superseded", detail)
        }
        SessionRefused::Forged => {
            let detail = "a request that changes something needs the header `X-CSRF-Token`";
            Refusal::new(StatusCode::FORBIDDEN, "csrf", detail)
        }
        SessionRefused::Unavailable => {
            let detail = "the session cannot be looked up at present";
            Refusal::unavailable("sessions_unavailable", detail)
        }
    }
}
