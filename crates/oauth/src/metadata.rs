//! What the provider says of itself (RFC 8414, OpenID Connect Discovery 1.0).

use serde_json::{Map, Value, json};
use tegata_core::Acr;
use tegata_token::Algorithm;

use crate::{
    client::{AuthMethod, GrantType, SubjectType},
    provider::Provider,
    register::Registration,
    request::{ResponseMode, claims},
};

/// The members that list what we sign with: what there are keys for.
const SIGNED: [&str; 4] = [
    "id_token_signing_alg_values_supported",
    "authorization_signing_alg_values_supported",
    "userinfo_signing_alg_values_supported",
    "introspection_signing_alg_values_supported",
];
/// The members that list what clients may sign with, which may be called by newer names.
const VERIFIED: [&str; 5] = [
    "request_object_signing_alg_values_supported",
    "token_endpoint_auth_signing_alg_values_supported",
    "introspection_endpoint_auth_signing_alg_values_supported",
    "revocation_endpoint_auth_signing_alg_values_supported",
    "dpop_signing_alg_values_supported",
];

/// The endpoints to which clients show certificates.
const CERTIFIED: [&str; 7] = [
    "token_endpoint",
    "pushed_authorization_request_endpoint",
    "device_authorization_endpoint",
    "introspection_endpoint",
    "revocation_endpoint",
    "userinfo_endpoint",
    "registration_endpoint",
];

impl Provider {
    /// The metadata document, the same for both well-known paths.
    #[must_use]
    pub fn metadata(&self) -> Value {
        let issuer = self.issuer();
        let at = |path: &str| format!("{issuer}{path}");
        let signed: Vec<_> = self.algorithms().iter().map(|it| it.name()).collect();
        let methods: Vec<_> = self.auth_methods().map(AuthMethod::name).collect();
        let confidential: Vec<_> =
            methods.iter().filter(|name| **name != AuthMethod::None.name()).collect();
        let grants: Vec<_> = GrantType::ALL.iter().map(|it| it.name()).collect();
        let of_tokens = [
            "sub",
            "iss",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "nonce",
            "acr",
            "amr",
            "at_hash",
            "sid",
        ];
        let claims_supported: Vec<_> = of_tokens.into_iter().chain(claims::names()).collect();
        let mut metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": at("/oauth2/authorize"),
            "pushed_authorization_request_endpoint": at("/oauth2/par"),
            "require_pushed_authorization_requests": false,
            "device_authorization_endpoint": at("/oauth2/device"),
            "token_endpoint": at("/oauth2/token"),
            "introspection_endpoint": at("/oauth2/introspect"),
            "revocation_endpoint": at("/oauth2/revoke"),
            "userinfo_endpoint": at("/oauth2/userinfo"),
            "end_session_endpoint": at("/oauth2/logout"),
            "jwks_uri": at("/.well-known/jwks.json"),
            "status_list_aggregation_endpoint": at("/status-lists"),
            "scopes_supported": [
                "openid", "profile", "email", "phone", "address", "roles", "offline_access",
            ],
            "response_types_supported": ["code"],
            "response_modes_supported": ResponseMode::NAMES,
            "grant_types_supported": grants,
            "authorization_details_types_supported": self.config().details_types,
            "acr_values_supported": Acr::REACHED,
            "subject_types_supported": SubjectType::ALL,
            "token_endpoint_auth_methods_supported": methods,
            "introspection_endpoint_auth_methods_supported": confidential,
            "revocation_endpoint_auth_methods_supported": methods,
            "code_challenge_methods_supported": ["S256"],
            "claims_supported": claims_supported,
            "claim_types_supported": ["normal"],
            "claims_parameter_supported": true,
            "request_parameter_supported": true,
            "require_signed_request_object": false,
            "request_uri_parameter_supported": false,
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "ui_locales_supported": ["en", "ja"],
            "authorization_response_iss_parameter_supported": true,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
            "protected_resources": [self.config().audience],
        });
        if let Some(members) = metadata.as_object_mut() {
            members.extend(SIGNED.map(|name| (name.to_owned(), json!(signed))));
            members.extend(VERIFIED.map(|name| (name.to_owned(), json!(Algorithm::NAMES))));
            if self.config().registration != Registration::Off {
                members.insert("registration_endpoint".to_owned(), at("/oauth2/register").into());
            }
            if self.config().described.is_some() {
                members.insert("client_id_metadata_document_supported".to_owned(), true.into());
            }
            if let Some(mtls) = &self.config().mtls {
                let bound = "tls_client_certificate_bound_access_tokens".to_owned();
                members.insert(bound, true.into());
                if let Some(base) = &mtls.at {
                    let aliases = aliases(members, issuer, base);
                    members.insert("mtls_endpoint_aliases".to_owned(), aliases);
                }
            }
        }
        metadata
    }
}

/// The endpoints where certificates are asked for (RFC 8705 §5).
fn aliases(metadata: &Map<String, Value>, issuer: &str, base: &str) -> Value {
    let alias = |name: &&str| {
        let path = metadata.get(*name)?.as_str()?.strip_prefix(issuer)?;
        Some(((*name).to_owned(), format!("{base}{path}").into()))
    };
    Value::Object(CERTIFIED.iter().filter_map(alias).collect())
}
