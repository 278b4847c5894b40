//! Access tokens in the header `Authorization` (RFC 6750 §2.1).

use http::{HeaderMap, header};

/// The header is there more than once, or is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The token that a request shows. `None`: none, or something of another scheme, which is as good as
/// none.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<String>, Malformed> {
    let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Malformed);
    }
    let text = value.to_str().map_err(|_| Malformed)?;
    Ok(match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Some(token.trim().to_owned())
        }
        _ => None,
    })
}
