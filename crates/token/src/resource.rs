//! What a protected resource says of itself to clients that look for it (RFC 9728), and where.

use serde::Serialize;

use crate::algorithm::Algorithm;

/// What is put between the host and the path of a resource's identifier to find its metadata.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The longest identifier.
const LONGEST: usize = 1024;

/// A protected resource, as its metadata describes it. Everything in it comes from whoever runs the
/// resource: nothing of a request does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedResource {
    identifier: String,
    /// Where its metadata is: the path alone.
    path: String,
    /// The same with scheme and host.
    address: String,
    issuers: Vec<String>,
    scopes: Vec<String>,
    proofs: bool,
    certificates: bool,
}

/// A text that does not identify a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not identify a protected resource: it must be an address with `https` or `http`, of \
     letters, digits and `-._~:/[]` alone, without a user, a query and a fragment"
)]
pub struct InvalidResource(String);

/// The document (RFC 9728 §2). Lists without an entry are left out (§3.2).
#[derive(Serialize)]
struct Document<'r> {
    resource: &'r str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    authorization_servers: &'r [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    scopes_supported: &'r [String],
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dpop_signing_alg_values_supported: &'r [&'static str],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls_client_certificate_bound_access_tokens: bool,
}

impl ProtectedResource {
    /// The resource of this identifier, for which these issuers issue tokens.
    ///
    /// # Errors
    /// [`InvalidResource`] where the identifier has something that could be read in two ways, or
    /// could leave a quoted string.
    pub fn new(identifier: &str, issuers: Vec<String>) -> Result<Self, InvalidResource> {
        let shown = || identifier.chars().take(80).collect::<String>().escape_debug().to_string();
        let (origin, path) = split(identifier).ok_or_else(|| InvalidResource(shown()))?;
        let path = format!("{WELL_KNOWN}{path}");
        Ok(Self {
            identifier: identifier.to_owned(),
            address: format!("{origin}{path}"),
            path,
            issuers,
            scopes: Vec::new(),
            proofs: false,
            certificates: false,
        })
    }

    /// The same, where tokens with these scopes are of use.
    #[must_use]
    pub fn with_scopes(self, scopes: impl IntoIterator<Item = String>) -> Self {
        Self { scopes: scopes.into_iter().collect(), ..self }
    }

    /// The same, where tokens that are bound to a DPoP key are accepted.
    #[must_use]
    pub const fn accepting_proofs(mut self) -> Self {
        self.proofs = true;
        self
    }

    /// The same, where tokens that are bound to a client certificate are accepted.
    #[must_use]
    pub const fn accepting_certificates(mut self) -> Self {
        self.certificates = true;
        self
    }

    /// Its identifier: what clients name in `resource`, and tokens for it in `aud`.
    #[must_use]
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// The path of its metadata. The same request path on another host is another resource's.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The parameter of a challenge that leads to its metadata (RFC 9728 §5.1). What an address may
    /// consist of needs no escape.
    #[must_use]
    pub fn parameter(&self) -> String {
        format!(r#"resource_metadata="{}""#, self.address)
    }

    /// Its metadata, as JSON.
    #[must_use]
    pub fn document(&self) -> Vec<u8> {
        let document = Document {
            resource: &self.identifier,
            authorization_servers: &self.issuers,
            scopes_supported: &self.scopes,
            bearer_methods_supported: ["header"],
            dpop_signing_alg_values_supported: if self.proofs { &Algorithm::NAMES } else { &[] },
            tls_client_certificate_bound_access_tokens: self.certificates,
        };
        // Texts and lists of them always have a JSON form.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// The origin of an identifier, and its path, which for a bare host is empty (RFC 9728 §3.1). `None`:
/// it has parts that a resource's identifier must not have, or characters with more than one spelling.
fn split(identifier: &str) -> Option<(&str, &str)> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte);
    if identifier.len() > LONGEST || !identifier.bytes().all(legal) {
        return None;
    }
    let (scheme, rest) = identifier.split_once("://")?;
    if !matches!(scheme, "https" | "http") {
        return None;
    }
    let host = rest.find('/').unwrap_or(rest.len());
    let (origin, path) = identifier.split_at_checked(scheme.len() + "://".len() + host)?;
    let segments = || path.split('/').skip(1);
    let ambiguous =
        |segment: &str| matches!(segment, "" | "." | "..") || segment.contains([':', '[', ']']);
    match path {
        _ if host == 0 => None,
        "" | "/" => Some((origin, "")),
        _ if segments().any(ambiguous) => None,
        path => Some((origin, path)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(identifier: &str) -> ProtectedResource {
        ProtectedResource::new(identifier, vec!["https://issuer.example".into()]).unwrap()
    }

    fn read(resource: &ProtectedResource) -> Value {
        serde_json::from_slice(&resource.document()).unwrap()
    }

    #[test]
    fn the_well_known_path_stands_between_host_and_path() {
        for (identifier, path) in [
            ("https://api.example", "/.well-known/oauth-protected-resource"),
            ("https://api.example/", "/.well-known/oauth-protected-resource"),
            ("http://localhost:8080", "/.well-known/oauth-protected-resource"),
            ("http://[::1]:8080", "/.well-known/oauth-protected-resource"),
            ("https://api.example/v1", "/.well-known/oauth-protected-resource/v1"),
            ("https://api.example/a/b", "/.well-known/oauth-protected-resource/a/b"),
        ] {
            let resource = of(identifier);
            assert_eq!((resource.identifier(), resource.path()), (identifier, path));
            let origin = identifier.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            assert_eq!(resource.parameter(), format!(r#"resource_metadata="{origin}{path}""#));
            assert_eq!(read(&resource)["resource"], identifier);
        }
    }

    #[test]
    fn says_what_is_accepted_and_leaves_out_what_is_not() {
        let bare = of("https://api.example");
        assert_eq!(
            read(&bare),
            json!({
                "resource": "https://api.example",
                "authorization_servers": ["https://issuer.example"],
                "bearer_methods_supported": ["header"],
            })
        );
        let scopes = ["orders.read".to_owned()];
        let whole = bare.with_scopes(scopes).accepting_proofs().accepting_certificates();
        assert_eq!(
            read(&whole),
            json!({
                "resource": "https://api.example",
                "authorization_servers": ["https://issuer.example"],
                "scopes_supported": ["orders.read"],
                "bearer_methods_supported": ["header"],
                "dpop_signing_alg_values_supported": Algorithm::NAMES,
                "tls_client_certificate_bound_access_tokens": true,
            })
        );
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways_or_leave_its_quotes() {
        for bad in [
            "",
            "api",
            "https://",
            "https:///v1",
            "ftp://api.example",
            "HTTPS://api.example",
            "https://user@api.example",
            "https://api.example?x=1",
            "https://api.example#x",
            "https://api.example/v1/",
            "https://api.example//v1",
            "https://api.example/../v1",
            "https://api.example/./v1",
            "https://api.example/%2e",
            "https://api.example/a:b",
            "https://api.example/a b",
            "https://api.example\", error=\"x",
            "https://api.example\\",
            "https://api.example\r\nSet-Cookie: a=b",
            "https://api.exämple",
            &format!("https://api.example/{}", "a".repeat(1024)),
        ] {
            let told = ProtectedResource::new(bad, vec![]).unwrap_err().to_string();
            assert!(!told.contains(['\n', '\r']), "{bad:?}");
        }
    }
}
