//! The SPIFFE ID by which a client proves itself, as it is declared (OAuth SPIFFE Client Authentication §5.1).
//!
//! Where the keys of its trust domain come from is for whoever runs the installation to say. A client that
//! names an address for them is not asked there: it would vouch for itself.

use tegata_token::{SpiffeId, SpiffePattern};

use super::{AuthMethod, ClientMetadata};

/// What the name of a client begins with that is a SPIFFE ID itself.
const SCHEME: &str = "spiffe://";

impl AuthMethod {
    /// Whether a document of SPIFFE proves who the client is.
    #[must_use]
    pub const fn is_by_svid(self) -> bool {
        matches!(self, Self::SpiffeJwt | Self::SpiffeX509)
    }
}

impl ClientMetadata {
    /// The workloads that are this client: those that are named, or the one whose name it has.
    pub(super) fn workloads(&self, auth: AuthMethod) -> Result<Option<SpiffePattern>, String> {
        let said = self.spiffe_id.as_deref();
        let own = Some(self.client_id.as_str()).filter(|id| id.starts_with(SCHEME));
        let read = |name: &str, text: &str| {
            SpiffePattern::new(text).map(Some).map_err(|error| format!("`{name}`: {error}"))
        };
        match (auth.is_by_svid(), said, own) {
            (true, Some(said), _) => read("spiffe_id", said),
            // The name of one client is that of one workload, whatever else it could be read as.
            (true, None, Some(own)) => match SpiffeId::new(own) {
                Ok(_) => read("client_id", own),
                Err(error) => Err(format!("`client_id`: {error}")),
            },
            (true, None, None) => Err(format!("`{}` needs `spiffe_id`", auth.name())),
            (false, Some(_), _) => Err(format!(
                "`spiffe_id` is for `spiffe_jwt` and `spiffe_x509`: say one of them as \
                 `token_endpoint_auth_method` in place of `{}`",
                auth.name()
            )),
            (false, None, _) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::Timestamp;

    use super::*;
    use crate::client::Profile;

    fn workload(auth: AuthMethod, spiffe_id: Option<&str>) -> ClientMetadata {
        ClientMetadata {
            client_id: "billing".into(),
            token_endpoint_auth_method: Some(auth),
            spiffe_id: spiffe_id.map(str::to_owned),
            grant_types: Some([crate::GrantType::ClientCredentials].into()),
            ..ClientMetadata::default()
        }
    }

    #[test]
    fn a_workload_is_named_or_has_the_name_of_its_client() {
        let now = Timestamp::default();
        let id = SpiffeId::new("spiffe://example.org/billing").unwrap();
        for auth in [AuthMethod::SpiffeJwt, AuthMethod::SpiffeX509] {
            for declared in [
                workload(auth, Some("spiffe://example.org/billing")),
                workload(auth, Some("spiffe://example.org/*")),
                ClientMetadata { client_id: id.as_str().into(), ..workload(auth, None) },
            ] {
                let client = declared.read(now).unwrap();
                assert!(client.spiffe_id.as_ref().unwrap().covers(&id));
                assert_eq!(ClientMetadata::of(&client).read(now).unwrap(), client);
            }
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_and_says_how_to_mend_it() {
        let named = Some("spiffe://example.org/billing");
        let jwt = AuthMethod::SpiffeJwt;
        let refused = [
            (workload(jwt, None), "needs `spiffe_id`"),
            (workload(jwt, Some("https://example.org/billing")), "spiffe://"),
            (workload(jwt, Some("spiffe://example.org/a*")), "segment"),
            (
                ClientMetadata {
                    client_id: "spiffe://example.org/*".into(),
                    ..workload(jwt, None)
                },
                "`client_id`",
            ),
            (workload(AuthMethod::ClientSecretBasic, named), "is for `spiffe_jwt`"),
            (
                ClientMetadata { token_endpoint_auth_method: None, ..workload(jwt, named) },
                "say one",
            ),
            (ClientMetadata { profile: Some(Profile::Fapi2), ..workload(jwt, named) }, "fapi2"),
            (
                ClientMetadata {
                    profile: Some(Profile::Fapi2),
                    ..workload(AuthMethod::SpiffeX509, named)
                },
                "fapi2",
            ),
        ];
        for (metadata, word) in refused {
            let rule = metadata.read(Timestamp::default()).unwrap_err().to_string();
            assert!(rule.contains(word), "{rule}");
        }
    }
}
