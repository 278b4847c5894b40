//! The declared form of a client, with the names of RFC 7591.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tegata_core::{ClientId, Timestamp};
use tegata_token::{Algorithm, Jwk, Scope, VerifyingKey, certificate::fits};

use super::{AuthMethod, Client, GrantType, Profile, SubjectType, TokenFormat, certificate};
use crate::{dpop::DpopNonce, redirect::RedirectUri, remote};

/// The longest `default_acr_values`, all together.
const LONGEST: usize = 2048;

/// A client as it is declared, in configuration or through administration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientMetadata {
    /// Its name. Required.
    pub client_id: String,
    /// What people are shown; `client_id` if it is missing.
    pub client_name: Option<String>,
    /// Short for `token_endpoint_auth_method = "none"`.
    pub public: bool,
    /// How it proves itself: `client_secret_basic` if nothing is said and it is not public,
    /// `tls_client_auth` if its certificate is named, or `private_key_jwt` if it has keys.
    pub token_endpoint_auth_method: Option<AuthMethod>,
    /// The distinguished name that its certificate must have, as RFC 4514 writes it.
    pub tls_client_auth_subject_dn: Option<String>,
    /// In its place: a host name that stands in the certificate.
    pub tls_client_auth_san_dns: Option<String>,
    /// In its place: a URI.
    pub tls_client_auth_san_uri: Option<String>,
    /// In its place: an IP address.
    pub tls_client_auth_san_ip: Option<String>,
    /// In its place: a mail address.
    pub tls_client_auth_san_email: Option<String>,
    /// The SPIFFE ID of the workload that is this client, or of all beneath a path (`/*` at its end), for
    /// `spiffe_jwt` and `spiffe_x509`; `client_id`, where that is one.
    pub spiffe_id: Option<String>,
    /// Its public keys, each with its certificate in `x5c` where that alone is to count.
    pub jwks: Option<KeySetForm>,
    /// Where it publishes its public keys, in place of `jwks`.
    pub jwks_uri: Option<String>,
    /// What it may ask for tokens with; `authorization_code` if nothing is said.
    pub grant_types: Option<BTreeSet<GrantType>>,
    /// Where its answers may be sent.
    pub redirect_uris: Vec<String>,
    /// Where a browser may be sent after signing out.
    pub post_logout_redirect_uris: Vec<String>,
    /// What it calls people by: `public`, their ids, if nothing is said; `pairwise`, names that count in
    /// its sector alone.
    pub subject_type: Option<SubjectType>,
    /// The host that names its sector; that of its redirect URIs if nothing is said.
    pub sector: Option<String>,
    /// The document that lists the redirect URIs of its sector, in place of `sector`: where a client
    /// registers itself, nobody else's word for it counts.
    #[serde(skip)]
    pub sector_identifier_uri: Option<String>,
    /// The scope it may ask for, separated by spaces.
    pub scope: String,
    /// Whom its tokens may be for, beside the gateway.
    pub audiences: Vec<String>,
    /// Whether it may ask about tokens of others, and take them back.
    pub may_introspect: bool,
    /// Whether nobody is taken for it: it gets nothing, and nothing is done in its name. Declaring a
    /// client without it leaves one disabled that was by somebody.
    pub disabled: bool,
    /// Whether its authorization requests need a code challenge; `true` if nothing is said.
    pub require_pkce: Option<bool>,
    /// Whether people are asked before it gets anything; `true` if nothing is said.
    pub asks_consent: Option<bool>,
    /// What its access tokens are signed with; `RS256` if nothing is said.
    pub access_token_signed_response_alg: Option<Algorithm>,
    /// What its access tokens look like: `jwt` if nothing is said, or `reference`.
    pub token_format: Option<TokenFormat>,
    /// What its ID tokens are signed with; `RS256` if nothing is said.
    pub id_token_signed_response_alg: Option<Algorithm>,
    /// Where it is told that a session has ended.
    pub backchannel_logout_uri: Option<String>,
    /// Whether it needs to be told which session: it always is.
    pub backchannel_logout_session_required: bool,
    /// What signed answers to its authorization requests are signed with; what its ID tokens are if
    /// nothing is said.
    pub authorization_signed_response_alg: Option<Algorithm>,
    /// What introspection answers that it wants signed are signed with; what its ID tokens are if
    /// nothing is said.
    pub introspection_signed_response_alg: Option<Algorithm>,
    /// What userinfo is signed with; it is plain JSON if nothing is said.
    pub userinfo_signed_response_alg: Option<Algorithm>,
    /// Whether it must push its authorization requests.
    pub require_pushed_authorization_requests: bool,
    /// Whether it must sign its authorization requests.
    pub require_signed_request_object: bool,
    /// What it signs its authorization requests with; any of its keys if nothing is said.
    pub request_object_signing_alg: Option<Algorithm>,
    /// What it signs its assertions with, where it proves itself by `private_key_jwt`; any of its keys if
    /// nothing is said.
    pub token_endpoint_auth_signing_alg: Option<Algorithm>,
    /// For how many seconds a sign-in counts, where its requests do not say `max_age`.
    pub default_max_age: Option<u64>,
    /// How strongly people must have been authenticated, one of these, where its requests ask for nothing of
    /// the kind.
    pub default_acr_values: Vec<String>,
    /// The types of authorization details that it may ask for.
    pub authorization_details_types: BTreeSet<String>,
    /// The security profile that it keeps.
    pub profile: Option<Profile>,
    /// Who alone may act on behalf of whom its tokens speak for: the id of a client.
    pub may_act: Option<String>,
    /// Whether its access tokens are always bound to a key, so that its token requests need a DPoP
    /// proof (RFC 9449 §5.2); `false` if nothing is said.
    pub dpop_bound_access_tokens: bool,
    /// Whether its DPoP proofs must carry a nonce: `offered` or `required`; as `[tokens] dpop_nonce`
    /// says if nothing is said here.
    pub dpop_nonce: Option<DpopNonce>,
    /// Whether its tokens are always bound to the certificate that it shows (RFC 8705 §3.4); those of a
    /// client that proves itself by one are in any case.
    pub tls_client_certificate_bound_access_tokens: bool,
    /// Its logo.
    pub logo_uri: Option<String>,
    /// Its privacy policy.
    pub policy_uri: Option<String>,
    /// Its terms of service.
    pub tos_uri: Option<String>,
}

/// A JWK set as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeySetForm {
    /// The keys.
    pub keys: Vec<Jwk>,
}

/// What is wrong with a declared client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("client `{client}`: {rule}")]
pub struct InvalidClient {
    client: String,
    rule: String,
}

impl ClientMetadata {
    /// The client that is declared, without its secrets.
    ///
    /// # Errors
    /// [`InvalidClient`] says what is wrong and how to mend it.
    pub fn read(&self, now: Timestamp) -> Result<Client, InvalidClient> {
        let invalid = |rule: String| InvalidClient {
            client: self.client_id.chars().take(80).collect(),
            rule,
        };
        let id = ClientId::new(&self.client_id).map_err(|error| invalid(error.to_string()))?;
        let auth = self.auth().map_err(|rule| invalid(rule.to_owned()))?;
        let scope = Scope::new(&self.scope).map_err(|error| invalid(error.to_string()))?;
        let grant_types =
            self.grant_types.clone().unwrap_or_else(|| [GrantType::AuthorizationCode].into());
        let uris = |texts: &[String]| -> Result<Vec<RedirectUri>, InvalidClient> {
            let read = texts.iter().map(|text| RedirectUri::new(text));
            read.collect::<Result<_, _>>().map_err(|error| invalid(error.to_string()))
        };
        let redirect_uris = uris(&self.redirect_uris)?;
        if grant_types.contains(&GrantType::AuthorizationCode) && redirect_uris.is_empty() {
            return Err(invalid(
                "`authorization_code` needs at least one of `redirect_uris`; without a browser, \
                 say `grant_types = [\"client_credentials\"]`"
                    .to_owned(),
            ));
        }
        let alone = [GrantType::ClientCredentials, GrantType::TokenExchange];
        if auth == AuthMethod::None && alone.iter().any(|grant| grant_types.contains(grant)) {
            return Err(invalid(
                "a public client cannot use `client_credentials` or token exchange: it has nothing \
                 to prove itself with"
                    .to_owned(),
            ));
        }
        if auth == AuthMethod::None && self.may_introspect {
            return Err(invalid(
                "a public client cannot have `may_introspect`: anybody could say that they are it"
                    .to_owned(),
            ));
        }
        let require_pkce = self.require_pkce.unwrap_or(true);
        if auth == AuthMethod::None && !require_pkce {
            return Err(invalid("a public client must use PKCE".to_owned()));
        }
        let keys = self.keys().map_err(invalid)?;
        if self.jwks.is_some() && self.jwks_uri.is_some() {
            return Err(invalid("`jwks` and `jwks_uri` are both given; keep one".to_owned()));
        }
        let has_keys = !keys.is_empty() || self.jwks_uri.is_some();
        if auth == AuthMethod::PrivateKeyJwt && !has_keys {
            let rule = "`private_key_jwt` needs `jwks` or `jwks_uri`";
            return Err(invalid(rule.to_owned()));
        }
        let sector = self.sector(&grant_types, &redirect_uris).map_err(invalid)?;
        let certificate_name = self.certificate_name(auth).map_err(invalid)?;
        let spiffe_id = self.workloads(auth).map_err(invalid)?;
        self.check_certificates(auth, has_keys).map_err(|rule| invalid(rule.to_owned()))?;
        self.check_profile(auth, &keys).map_err(invalid)?;
        self.check_request_objects(&keys).map_err(|rule| invalid(rule.to_owned()))?;
        self.check_assertions(auth, &keys).map_err(|rule| invalid(rule.to_owned()))?;
        // They wait in the store with each request.
        let words = &self.default_acr_values;
        let is_word = |it: &String| !it.is_empty() && !it.contains(char::is_whitespace);
        if !words.iter().all(is_word) || words.iter().map(String::len).sum::<usize>() > LONGEST {
            let rule = "`default_acr_values` are words of at most 2048 bytes together";
            return Err(invalid(rule.to_owned()));
        }
        if self.authorization_details_types.iter().any(|it| !(1..=128).contains(&it.len())) {
            let rule = "a type of `authorization_details_types` has 1 to 128 bytes";
            return Err(invalid(rule.to_owned()));
        }
        for uri in [&self.logo_uri, &self.policy_uri, &self.tos_uri].into_iter().flatten() {
            if !uri.starts_with("https://") && !uri.starts_with('/') {
                return Err(invalid(format!("`{uri}` must begin with `https://`")));
            }
        }
        let address = |member: &str, value: &Option<String>| {
            let read = value.as_deref().map(|text| remote::address(member, text)).transpose();
            read.map_err(invalid)
        };
        let backchannel_logout_uri =
            address("backchannel_logout_uri", &self.backchannel_logout_uri)?;
        let jwks_uri = address("jwks_uri", &self.jwks_uri)?;
        let may_act = self.may_act.as_deref().map(ClientId::new).transpose();
        let may_act = may_act.map_err(|error| invalid(format!("`may_act`: {error}")))?;
        let usual = self.usual_algorithm();
        let id_token_alg = self.id_token_signed_response_alg.unwrap_or(usual);
        Ok(Client {
            name: self.client_name.clone().unwrap_or_else(|| self.client_id.clone()),
            id,
            auth,
            secrets: Vec::new(),
            declared: None,
            certificate_name,
            spiffe_id,
            keys,
            jwks_uri,
            registration: None,
            grant_types,
            redirect_uris,
            post_logout_redirect_uris: uris(&self.post_logout_redirect_uris)?,
            // What says the sector, where it is not said otherwise.
            sector_identifier_uri: self
                .sector_identifier_uri
                .clone()
                .filter(|_| sector.is_some() && self.sector.is_none()),
            sector,
            scope,
            audiences: self.audiences.clone(),
            may_introspect: self.may_introspect,
            disabled: self.disabled,
            require_pkce,
            asks_consent: self.asks_consent.unwrap_or(true),
            backchannel_logout_uri,
            access_token_alg: self.access_token_signed_response_alg.unwrap_or(usual),
            id_token_alg,
            response_alg: self.authorization_signed_response_alg.unwrap_or(id_token_alg),
            introspection_alg: self.introspection_signed_response_alg,
            userinfo_alg: self.userinfo_signed_response_alg,
            token_format: self.token_format.unwrap_or_default(),
            require_pushed: self.require_pushed_authorization_requests || self.is_fapi(),
            details_types: self.authorization_details_types.clone(),
            require_signed_request: self.require_signed_request_object,
            request_object_alg: self.request_object_signing_alg,
            assertion_alg: self.token_endpoint_auth_signing_alg,
            default_max_age: self.default_max_age,
            default_acr_values: self.default_acr_values.clone(),
            profile: self.profile,
            may_act,
            dpop_bound: self.dpop_bound_access_tokens,
            dpop_nonce: self.dpop_nonce,
            certificate_bound: self.tls_client_certificate_bound_access_tokens,
            logo_uri: self.logo_uri.clone(),
            policy_uri: self.policy_uri.clone(),
            tos_uri: self.tos_uri.clone(),
            created: now,
            described: None,
        })
    }

    /// What a client was declared with, so that a part of it can be declared anew: reading this gives the
    /// same client, without its secrets.
    #[must_use]
    pub fn of(client: &Client) -> Self {
        let uris = |uris: &[RedirectUri]| uris.iter().map(|uri| uri.as_str().to_owned()).collect();
        let named = client.certificate_name.as_ref().map(certificate::declared);
        let name = |wanted: &str| {
            named.as_ref().filter(|(member, _)| *member == wanted).map(|(_, value)| value.clone())
        };
        Self {
            tls_client_auth_subject_dn: name("tls_client_auth_subject_dn"),
            tls_client_auth_san_dns: name("tls_client_auth_san_dns"),
            tls_client_auth_san_uri: name("tls_client_auth_san_uri"),
            tls_client_auth_san_ip: name("tls_client_auth_san_ip"),
            tls_client_auth_san_email: name("tls_client_auth_san_email"),
            spiffe_id: client.spiffe_id.as_ref().map(|id| id.as_str().to_owned()),
            client_id: client.id.as_str().to_owned(),
            client_name: Some(client.name.clone()),
            public: false,
            token_endpoint_auth_method: Some(client.auth),
            jwks: (!client.keys.is_empty()).then(|| KeySetForm { keys: client.keys.clone() }),
            jwks_uri: client.jwks_uri.clone(),
            grant_types: Some(client.grant_types.clone()),
            redirect_uris: uris(&client.redirect_uris),
            post_logout_redirect_uris: uris(&client.post_logout_redirect_uris),
            subject_type: Some(client.subject_type()),
            sector: client.sector.as_ref().map(|sector| sector.as_str().to_owned()),
            // Whoever declares it says in which sector it is.
            sector_identifier_uri: None,
            scope: client.scope.as_str().to_owned(),
            audiences: client.audiences.clone(),
            may_introspect: client.may_introspect,
            disabled: client.disabled,
            require_pkce: Some(client.require_pkce),
            asks_consent: Some(client.asks_consent),
            access_token_signed_response_alg: Some(client.access_token_alg),
            id_token_signed_response_alg: Some(client.id_token_alg),
            backchannel_logout_uri: client.backchannel_logout_uri.clone(),
            backchannel_logout_session_required: client.backchannel_logout_uri.is_some(),
            authorization_signed_response_alg: Some(client.response_alg),
            introspection_signed_response_alg: client.introspection_alg,
            userinfo_signed_response_alg: client.userinfo_alg,
            token_format: Some(client.token_format).filter(|it| *it != TokenFormat::Jwt),
            require_pushed_authorization_requests: client.require_pushed,
            require_signed_request_object: client.require_signed_request,
            request_object_signing_alg: client.request_object_alg,
            token_endpoint_auth_signing_alg: client.assertion_alg,
            default_max_age: client.default_max_age,
            default_acr_values: client.default_acr_values.clone(),
            authorization_details_types: client.details_types.clone(),
            profile: client.profile,
            may_act: client.may_act.as_ref().map(|id| id.as_str().to_owned()),
            dpop_bound_access_tokens: client.dpop_bound,
            dpop_nonce: client.dpop_nonce,
            tls_client_certificate_bound_access_tokens: client.certificate_bound,
            logo_uri: client.logo_uri.clone(),
            policy_uri: client.policy_uri.clone(),
            tos_uri: client.tos_uri.clone(),
        }
    }

    fn check_request_objects(&self, keys: &[Jwk]) -> Result<(), &'static str> {
        // What is published elsewhere is looked at when it is used.
        if self.jwks_uri.is_some() {
            return Ok(());
        }
        if self.require_signed_request_object && keys.is_empty() {
            return Err("`require_signed_request_object` needs `jwks` or `jwks_uri`");
        }
        let signs = |wanted| keys.iter().any(|key| key.alg == Some(wanted));
        match self.request_object_signing_alg {
            Some(wanted) if !signs(wanted) => {
                Err("no key of `jwks` is of the `request_object_signing_alg`")
            }
            _ => Ok(()),
        }
    }

    fn check_assertions(&self, auth: AuthMethod, keys: &[Jwk]) -> Result<(), &'static str> {
        let Some(wanted) = self.token_endpoint_auth_signing_alg else { return Ok(()) };
        if auth != AuthMethod::PrivateKeyJwt {
            return Err("`token_endpoint_auth_signing_alg` is for `private_key_jwt`");
        }
        // What is published elsewhere is looked at when it is used.
        if self.jwks_uri.is_none() && !keys.iter().any(|key| key.alg == Some(wanted)) {
            return Err("no key of `jwks` is of the `token_endpoint_auth_signing_alg`");
        }
        Ok(())
    }

    fn auth(&self) -> Result<AuthMethod, &'static str> {
        match (self.token_endpoint_auth_method, self.public) {
            (None | Some(AuthMethod::None), true) => Ok(AuthMethod::None),
            (Some(_), true) => Err("`public = true` contradicts `token_endpoint_auth_method`"),
            (Some(method), false) => Ok(method),
            (None, false) if self.names().iter().any(|(_, value)| value.is_some()) => {
                Ok(AuthMethod::TlsClientAuth)
            }
            (None, false) if self.jwks.is_some() || self.jwks_uri.is_some() => {
                Ok(AuthMethod::PrivateKeyJwt)
            }
            (None, false) => Ok(AuthMethod::ClientSecretBasic),
        }
    }

    /// The keys, each with the `alg` that it can be used with and a `kid`.
    fn keys(&self) -> Result<Vec<Jwk>, String> {
        let declared = self.jwks.iter().flat_map(|set| &set.keys);
        declared
            .map(|jwk| {
                let mut jwk = jwk.clone();
                jwk.alg = jwk.alg.or(match jwk.kty.as_str() {
                    "RSA" => Some(self.usual_rsa()),
                    "EC" => Some(Algorithm::Es256),
                    _ => Some(Algorithm::EdDsa),
                });
                let thumbprint = jwk.thumbprint();
                jwk.kid.get_or_insert(thumbprint);
                if !fits(&jwk) {
                    let rule = "a key of `jwks`: its `x5c` does not begin with a certificate of it";
                    return Err(rule.to_owned());
                }
                let checked = VerifyingKey::from_jwk(&jwk);
                checked.map(|_| jwk).map_err(|error| format!("a key of `jwks`: {error}"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> ClientMetadata {
        ClientMetadata {
            client_id: "web".into(),
            redirect_uris: vec!["https://app.example/cb".into()],
            ..ClientMetadata::default()
        }
    }

    fn rule(metadata: &ClientMetadata) -> String {
        metadata.read(Timestamp::default()).unwrap_err().to_string()
    }

    #[test]
    fn safe_where_nothing_is_said() {
        let client = web().read(Timestamp::default()).unwrap();
        assert_eq!(client.auth, AuthMethod::ClientSecretBasic);
        assert!(client.require_pkce && client.asks_consent && !client.may_introspect);
        assert!(client.scope.is_empty() && client.may_use(GrantType::AuthorizationCode));
        assert!(!client.may_use(GrantType::RefreshToken));
    }

    #[test]
    fn refuses_contradictions_and_says_how_to_mend_them() {
        let public = ClientMetadata { public: true, ..web() };
        assert!(public.read(Timestamp::default()).unwrap().is_public());
        let cases = [
            (ClientMetadata { client_id: "usr_x".into(), ..web() }, "usr_"),
            (ClientMetadata { redirect_uris: vec![], ..web() }, "redirect_uris"),
            (ClientMetadata { redirect_uris: vec!["http://a.example".into()], ..web() }, "https"),
            (ClientMetadata { require_pkce: Some(false), ..public.clone() }, "PKCE"),
            (ClientMetadata { may_introspect: true, ..public.clone() }, "may_introspect"),
            (
                ClientMetadata {
                    grant_types: Some([GrantType::ClientCredentials].into()),
                    ..public.clone()
                },
                "public client",
            ),
            (
                ClientMetadata {
                    token_endpoint_auth_method: Some(AuthMethod::PrivateKeyJwt),
                    ..public
                },
                "contradicts",
            ),
            (
                ClientMetadata {
                    token_endpoint_auth_method: Some(AuthMethod::PrivateKeyJwt),
                    ..web()
                },
                "jwks",
            ),
            (ClientMetadata { scope: "a\"b".into(), ..web() }, "scope"),
            (ClientMetadata { may_act: Some("usr_1".into()), ..web() }, "may_act"),
            (ClientMetadata { logo_uri: Some("javascript:x".into()), ..web() }, "https"),
        ];
        for (metadata, word) in cases {
            assert!(rule(&metadata).contains(word), "{}", rule(&metadata));
        }
    }

    #[test]
    fn what_a_client_was_declared_with_gives_the_same_client() {
        let now = Timestamp::default();
        let key = tegata_token::SigningKey::generate(Algorithm::Es256).unwrap().jwk().clone();
        let public = ClientMetadata { public: true, ..web() };
        let full = ClientMetadata {
            client_name: Some("Web".into()),
            jwks: Some(KeySetForm { keys: vec![key.clone()] }),
            scope: "openid orders.read".into(),
            audiences: vec!["orders".into()],
            backchannel_logout_uri: Some("https://app.example/out".into()),
            authorization_details_types: ["payment".to_owned()].into(),
            dpop_nonce: Some(DpopNonce::Required),
            userinfo_signed_response_alg: Some(Algorithm::Es256),
            asks_consent: Some(false),
            default_max_age: Some(60),
            default_acr_values: vec!["aal2".into()],
            ..web()
        };
        let signing = ClientMetadata {
            token_endpoint_auth_method: Some(AuthMethod::PrivateKeyJwt),
            token_endpoint_auth_signing_alg: Some(Algorithm::Es256),
            jwks: Some(KeySetForm { keys: vec![key.clone()] }),
            ..web()
        };
        let fapi = ClientMetadata {
            profile: Some(Profile::Fapi2),
            jwks: Some(KeySetForm { keys: vec![key] }),
            ..web()
        };
        let certified = ClientMetadata {
            tls_client_auth_san_uri: Some("spiffe://example/web".into()),
            tls_client_certificate_bound_access_tokens: true,
            may_act: Some("orders".into()),
            ..web()
        };
        let by_subject = ClientMetadata {
            tls_client_auth_subject_dn: Some("CN=web, O=Example".into()),
            ..web()
        };
        let pairwise = ClientMetadata {
            subject_type: Some(SubjectType::Pairwise),
            sector: Some("example.com".into()),
            ..web()
        };
        for declared in [web(), public, full, signing, fapi, certified, by_subject, pairwise] {
            let client = declared.read(now).unwrap();
            assert_eq!(ClientMetadata::of(&client).read(now).unwrap(), client);
        }
    }

    #[test]
    fn names_an_unknown_member() {
        let error =
            serde_json::from_str::<ClientMetadata>(r#"{"client_id":"a","redirect_uri":"x"}"#);
        assert!(error.unwrap_err().to_string().contains("redirect_uri"));
    }
}
