//! What a token request asks for that is less than what was granted.

use std::collections::BTreeSet;

use tegata_token::{Details, Narrowed, Scope, Wider};

use crate::{
    client::Client,
    error::{Code, OAuthError},
    params::Params,
};

/// Reads `scope` (RFC 6749 §6), `resource` and `audience` (RFC 8707 §2.2) and
/// `authorization_details` (RFC 9396 §6) of a token request.
///
/// # Errors
/// What cannot be read; whether it is less is judged with what was granted.
pub(super) fn read(params: &Params) -> Result<Narrowed, OAuthError> {
    let malformed = |_| OAuthError::new(Code::InvalidScope, "scope is malformed");
    let scope = params.get("scope").map(Scope::new).transpose().map_err(malformed)?;
    let audience: Vec<String> = targets(params)?.into_iter().map(str::to_owned).collect();
    Ok(Narrowed {
        scope,
        audience: (!audience.is_empty()).then_some(audience),
        details: details(params)?,
    })
}

/// The audiences that are asked for, each once. A `resource` is an absolute URI without fragment
/// (RFC 8707 §2); an `audience` is any name.
///
/// # Errors
/// `invalid_target`.
pub(crate) fn targets(params: &Params) -> Result<Vec<&str>, OAuthError> {
    let mut all: Vec<&str> = Vec::new();
    for resource in params.all("resource") {
        if !is_absolute(resource) {
            let description = "resource is not an absolute URI without a fragment";
            return Err(OAuthError::new(Code::InvalidTarget, description));
        }
    }
    for asked in params.all("resource").chain(params.all("audience")) {
        if !all.contains(&asked) {
            all.push(asked);
        }
    }
    Ok(all)
}

/// The authorization details that are asked for.
///
/// # Errors
/// `invalid_authorization_details`.
pub(crate) fn details(params: &Params) -> Result<Option<Details>, OAuthError> {
    let Some(text) = params.get("authorization_details") else { return Ok(None) };
    let details = Details::parse(text)
        .map_err(|error| OAuthError::new(Code::InvalidAuthorizationDetails, error.0))?;
    Ok(Some(details))
}

/// Refuses authorization details of a type that nobody understands, or that the client is not
/// registered for (RFC 9396 §5).
///
/// # Errors
/// `invalid_authorization_details`.
pub(crate) fn check_types(
    details: &Details,
    known: &BTreeSet<String>,
    client: &Client,
) -> Result<(), OAuthError> {
    let may = |asked: &str| known.contains(asked) && client.details_types.contains(asked);
    if details.types().all(may) {
        return Ok(());
    }
    let description = "a type of authorization_details is not one that the client may ask for";
    Err(OAuthError::new(Code::InvalidAuthorizationDetails, description))
}

impl From<Wider> for OAuthError {
    fn from(wider: Wider) -> Self {
        match wider {
            Wider::Scope => Self::new(Code::InvalidScope, "scope is wider than what was granted"),
            Wider::Audience => {
                Self::new(Code::InvalidTarget, "a resource is asked for that was not granted")
            }
            Wider::Details => {
                let description = "authorization_details are wider than what was granted";
                Self::new(Code::InvalidAuthorizationDetails, description)
            }
        }
    }
}

/// RFC 3986 §4.3: a scheme, and something after it.
fn is_absolute(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let letter = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    letter
        && scheme.bytes().all(plain)
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_an_absolute_uri_without_fragment() {
        for good in ["https://api.example", "https://api.example/a?b", "urn:orders"] {
            assert!(is_absolute(good), "{good}");
        }
        for bad in ["orders", "/orders", "https://api.example#f", "1:x", "a b:c", "https:", ":x"] {
            assert!(!is_absolute(bad), "{bad}");
        }
    }
}
