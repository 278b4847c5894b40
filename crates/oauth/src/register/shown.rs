//! A registration as its client is told (RFC 7591 §3.2.1).

use serde_json::{Map, Value, json};
use tegata_core::Secret;

use crate::{
    client::{Client, certificate},
    provider::Provider,
    redirect::RedirectUri,
};

impl Provider {
    /// What is registered. Secrets are told when they are made, and never again.
    pub(super) fn shown(
        &self,
        client: &Client,
        secret: Option<&Secret<String>>,
        token: Option<&Secret<String>>,
    ) -> Value {
        let mut shown = Map::new();
        let mut tell = |name: &str, value: Value| {
            let is_nothing = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if !is_nothing {
                shown.insert(name.to_owned(), value);
            }
        };
        tell("client_id", json!(client.id));
        tell("client_id_issued_at", json!(client.created.secs()));
        if let Some(secret) = secret {
            tell("client_secret", json!(secret.expose()));
            // RFC 7591 §3.2.1: 0 for one that does not expire.
            tell("client_secret_expires_at", json!(0));
        }
        if let Some(token) = token {
            tell("registration_access_token", json!(token.expose()));
        }
        let uri = format!("{}/oauth2/register/{}", self.issuer(), client.id);
        tell("registration_client_uri", json!(uri));
        let uris =
            |uris: &[RedirectUri]| json!(uris.iter().map(RedirectUri::as_str).collect::<Vec<_>>());
        tell("client_name", json!(client.name));
        tell("redirect_uris", uris(&client.redirect_uris));
        tell("post_logout_redirect_uris", uris(&client.post_logout_redirect_uris));
        tell("grant_types", json!(client.grant_types));
        let codes: &[&str] = if client.redirect_uris.is_empty() { &[] } else { &["code"] };
        tell("response_types", json!(codes));
        tell("token_endpoint_auth_method", json!(client.auth));
        if let Some((member, name)) = client.certificate_name.as_ref().map(certificate::declared) {
            tell(member, json!(name));
        }
        tell("spiffe_id", json!(client.spiffe_id));
        tell("scope", json!(client.scope.as_str()));
        tell("subject_type", json!(client.subject_type()));
        tell("sector_identifier_uri", json!(client.sector_identifier_uri));
        tell("id_token_signed_response_alg", json!(client.id_token_alg));
        tell("authorization_signed_response_alg", json!(client.response_alg));
        tell("introspection_signed_response_alg", json!(client.introspection_alg));
        tell("userinfo_signed_response_alg", json!(client.userinfo_alg));
        tell("request_object_signing_alg", json!(client.request_object_alg));
        tell("token_endpoint_auth_signing_alg", json!(client.assertion_alg));
        tell("default_max_age", json!(client.default_max_age));
        tell("default_acr_values", json!(client.default_acr_values));
        // It stands in every ID token.
        tell("require_auth_time", json!(true));
        tell("require_pushed_authorization_requests", json!(client.require_pushed));
        tell("require_signed_request_object", json!(client.require_signed_request));
        tell("dpop_bound_access_tokens", json!(client.dpop_bound));
        tell("tls_client_certificate_bound_access_tokens", json!(client.certificate_bound));
        tell("jwks_uri", json!(client.jwks_uri));
        if !client.keys.is_empty() {
            tell("jwks", json!({"keys": client.keys}));
        }
        tell("backchannel_logout_uri", json!(client.backchannel_logout_uri));
        if client.backchannel_logout_uri.is_some() {
            tell("backchannel_logout_session_required", json!(true));
        }
        tell("logo_uri", json!(client.logo_uri));
        tell("policy_uri", json!(client.policy_uri));
        tell("tos_uri", json!(client.tos_uri));
        Value::Object(shown)
    }
}
