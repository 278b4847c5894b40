//! What a token request asks for that is less than what was granted.

use std::collections::BTreeSet;

use tegata_token::{Details, Narrowed, Scope, Wider};

use crate::{
    client::Client,
    error::{Code, OAuthError},
    params::Params,
    provider::Provider,
};

/// How many audiences one request can name.
pub(crate) const MOST_TARGETS: usize = 16;

impl Provider {
    /// Reads `scope` (RFC 6749 §6), `resource` and `audience` (RFC 8707 §2.2) and
    /// `authorization_details` (RFC 9396 §6) of a token request.
    ///
    /// # Errors
    /// What cannot be read; whether it is less is judged with what was granted.
    pub(super) fn narrowed(
        &self,
        params: &Params,
        client: &Client,
    ) -> Result<Narrowed, OAuthError> {
        let malformed = |_| OAuthError::new(Code::InvalidScope, "scope is malformed");
        let scope = params.get("scope").map(Scope::new).transpose().map_err(malformed)?;
        let targets = self.asked_targets(params, client)?;
        let audience: Vec<String> = targets.into_iter().map(str::to_owned).collect();
        Ok(Narrowed {
            scope,
            audience: (!audience.is_empty()).then_some(audience),
            details: details(params)?,
        })
    }

    /// The audiences that are asked for, each once: those of `resource` and then those of `audience`. A
    /// `resource` is an absolute URI without fragment (RFC 8707 §2, RFC 8693 §2.1). That of the gateway
    /// with the name of a service as its path means the service, which is what its tokens call it; any
    /// other means itself. An `audience` is any name.
    ///
    /// # Errors
    /// `invalid_target`.
    pub(crate) fn asked_targets<'p>(
        &self,
        params: &'p Params,
        client: &Client,
    ) -> Result<Vec<&'p str>, OAuthError> {
        let invalid = |description| OAuthError::new(Code::InvalidTarget, description);
        let mut all: Vec<&str> = Vec::new();
        let mut add = |target: &'p str| {
            if !all.contains(&target) {
                all.push(target);
            }
        };
        for resource in params.all("resource") {
            if !is_absolute(resource) {
                return Err(invalid("resource is not an absolute URI without a fragment"));
            }
            // What a client is registered for by this very name is that.
            let registered = client.audiences.iter().any(|audience| audience == resource);
            let service = service_of(resource, &self.config().audience);
            add(service.filter(|_| !registered).unwrap_or(resource));
        }
        params.all("audience").for_each(&mut add);
        if all.len() > MOST_TARGETS {
            return Err(invalid("more than 16 audiences are asked for"));
        }
        Ok(all)
    }
}

/// The service that an address of the gateway names: `https://gateway.example/orders`, also with a slash
/// behind it. `None`: it is none, or one beneath a service, of which no token can be.
fn service_of<'r>(resource: &'r str, gateway: &str) -> Option<&'r str> {
    let path = resource.strip_prefix(gateway.trim_end_matches('/'))?.strip_prefix('/')?;
    let name = path.strip_suffix('/').unwrap_or(path);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    Some(name).filter(|name| !name.is_empty() && name.bytes().all(plain))
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
    fn an_address_of_the_gateway_names_a_service() {
        for gateway in ["https://api.example", "https://api.example/"] {
            for good in ["https://api.example/orders", "https://api.example/orders/"] {
                assert_eq!(service_of(good, gateway), Some("orders"), "{good}");
            }
            for bad in [
                "https://api.example",
                "https://api.example/",
                "https://api.example//",
                "https://api.example//orders",
                "https://api.example/orders//",
                "https://api.example/orders/1",
                "https://api.example/orders?x",
                "https://api.example/%6frders",
                "https://api.example.evil/orders",
                "https://api.exampleorders",
                "https://API.example/orders",
                "http://api.example/orders",
                "orders",
            ] {
                assert_eq!(service_of(bad, gateway), None, "{bad}");
            }
        }
        assert_eq!(
            service_of("https://api.example/v1/orders", "https://api.example/v1"),
            Some("orders")
        );
    }

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
