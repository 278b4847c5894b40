//! What a client says of itself, read.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tegata_token::{Algorithm, Jwk, Scope};

use super::{By, RegisterRefused, of_people, sector};
use crate::{
    client::{AuthMethod, ClientMetadata, GrantType, KeySetForm, SubjectType},
    provider::Provider,
    redirect::RedirectUri,
};

/// The longest text of a member.
const LONGEST: usize = 2048;
/// How many addresses a member may list.
const MOST: usize = 20;
/// How many keys a set may have.
const MOST_KEYS: usize = 20;

/// What a client may be that registers itself.
#[derive(Debug, Clone)]
pub struct Offered {
    /// How it may prove itself.
    pub auth_methods: Vec<AuthMethod>,
    /// What something for it can be signed with: what there is a key for.
    pub algorithms: Vec<Algorithm>,
    /// The most that it may ask for.
    pub scope: Scope,
}

impl Provider {
    /// What clients may be that register themselves.
    pub(crate) fn offered(&self) -> Offered {
        Offered {
            auth_methods: self.auth_methods().collect(),
            algorithms: self.algorithms(),
            scope: self.config().registration_scope.clone(),
        }
    }
}

impl Offered {
    /// What is to be registered under this name. Members that nobody here knows are passed over (RFC 7591
    /// §2); those that are known must be what they should.
    ///
    /// # Errors
    /// [`RegisterRefused::Invalid`].
    pub fn read(
        &self,
        said: &Map<String, Value>,
        id: &str,
        by: By,
    ) -> Result<ClientMetadata, RegisterRefused> {
        let said = Said(said);
        let redirect_uris = said.texts("redirect_uris")?;
        for uri in &redirect_uris {
            RedirectUri::new(uri).map_err(|error| RegisterRefused::Invalid {
                code: "invalid_redirect_uri",
                why: error.to_string(),
            })?;
        }
        said.one_of("subject_type", &SubjectType::ALL.map(SubjectType::name))?;
        said.one_of("application_type", &["web", "native"])?;
        said.all_of("response_types", &["code"])?;
        let auth = said.method("token_endpoint_auth_method")?;
        let auth = auth.unwrap_or(AuthMethod::ClientSecretBasic);
        if !self.auth_methods.contains(&auth) {
            let why = "`token_endpoint_auth_method` is none of what is offered";
            return Err(RegisterRefused::metadata(why));
        }
        // `auth_time` stands in every ID token.
        said.read::<bool>("require_auth_time")?;
        // It says something of assertions alone: what others say of it is passed over.
        let by_key = auth == AuthMethod::PrivateKeyJwt;
        let assertion_alg = by_key.then(|| said.read("token_endpoint_auth_signing_alg"));
        let usual = self.usual();
        let signing = |name: &str| self.signing(&said, name);
        let metadata = ClientMetadata {
            client_id: id.to_owned(),
            client_name: said.text("client_name")?,
            public: auth == AuthMethod::None,
            token_endpoint_auth_method: Some(auth),
            tls_client_auth_subject_dn: said.text("tls_client_auth_subject_dn")?,
            tls_client_auth_san_dns: said.text("tls_client_auth_san_dns")?,
            tls_client_auth_san_uri: said.text("tls_client_auth_san_uri")?,
            tls_client_auth_san_ip: said.text("tls_client_auth_san_ip")?,
            tls_client_auth_san_email: said.text("tls_client_auth_san_email")?,
            spiffe_id: said.text("spiffe_id")?,
            jwks: said.key_set()?,
            jwks_uri: said.text("jwks_uri")?,
            grant_types: Some(said.grants(by)?),
            redirect_uris,
            post_logout_redirect_uris: said.texts("post_logout_redirect_uris")?,
            subject_type: said.read("subject_type")?,
            sector_identifier_uri: said.text("sector_identifier_uri")?,
            scope: self.given_scope(&said)?,
            // OpenID Connect's own clients need not know PKCE (OAuth 2.1 §7.5.1 asks it of public ones);
            // whoever sends a challenge is held to it.
            require_pkce: Some(auth == AuthMethod::None),
            asks_consent: Some(true),
            access_token_signed_response_alg: usual,
            id_token_signed_response_alg: signing("id_token_signed_response_alg")?.or(usual),
            backchannel_logout_uri: said.text("backchannel_logout_uri")?,
            backchannel_logout_session_required: said
                .read("backchannel_logout_session_required")?
                .unwrap_or_default(),
            authorization_signed_response_alg: signing("authorization_signed_response_alg")?
                .or(usual),
            introspection_signed_response_alg: signing("introspection_signed_response_alg")?
                .or(usual),
            // Without it, userinfo is plain JSON.
            userinfo_signed_response_alg: signing("userinfo_signed_response_alg")?,
            require_pushed_authorization_requests: said
                .read("require_pushed_authorization_requests")?
                .unwrap_or_default(),
            require_signed_request_object: said
                .read("require_signed_request_object")?
                .unwrap_or_default(),
            request_object_signing_alg: said.read("request_object_signing_alg")?,
            token_endpoint_auth_signing_alg: assertion_alg.transpose()?.flatten(),
            default_max_age: said.read("default_max_age")?,
            default_acr_values: said.texts("default_acr_values")?,
            dpop_bound_access_tokens: said.read("dpop_bound_access_tokens")?.unwrap_or_default(),
            tls_client_certificate_bound_access_tokens: said
                .read("tls_client_certificate_bound_access_tokens")?
                .unwrap_or_default(),
            logo_uri: said.text("logo_uri")?,
            policy_uri: said.text("policy_uri")?,
            tos_uri: said.text("tos_uri")?,
            ..ClientMetadata::default()
        };
        sector::check_grants(&metadata)?;
        Ok(metadata)
    }

    /// What its tokens are signed with where it does not say it: what OpenID Connect takes for granted,
    /// or the first that there is.
    fn usual(&self) -> Option<Algorithm> {
        let offered = &self.algorithms;
        offered.iter().find(|it| **it == Algorithm::Rs256).or(offered.first()).copied()
    }

    /// An algorithm that something for it is signed with: one that there is a key for.
    fn signing(&self, said: &Said<'_>, name: &str) -> Result<Option<Algorithm>, RegisterRefused> {
        match said.read::<Algorithm>(name)? {
            Some(asked) if !self.algorithms.contains(&asked) => {
                Err(RegisterRefused::metadata(format!("`{name}` is none of what is offered")))
            }
            asked => Ok(asked),
        }
    }

    /// What it may ask for: of what it names, that which registered clients may (RFC 7591 §2: the
    /// server may give less, and says so).
    fn given_scope(&self, said: &Said<'_>) -> Result<String, RegisterRefused> {
        let allowed = &self.scope;
        let Some(asked) = said.text("scope")? else { return Ok(allowed.as_str().to_owned()) };
        let asked = Scope::new(&asked)
            .map_err(|error| RegisterRefused::metadata(format!("`scope`: {error}")))?;
        let given: Vec<_> = asked.values().filter(|value| allowed.contains(value)).collect();
        Ok(given.join(" "))
    }
}

/// The members of a document.
struct Said<'a>(&'a Map<String, Value>);

impl Said<'_> {
    /// A member. One that is `null` is as good as none.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, RegisterRefused> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone()).map(Some).map_err(|_| {
                RegisterRefused::metadata(format!("`{name}` is none of what is offered"))
            }),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, RegisterRefused> {
        let text: Option<String> = self.read(name)?;
        if text.as_ref().is_some_and(|text| text.len() > LONGEST) {
            let why = format!("`{name}` is longer than {LONGEST} bytes");
            return Err(RegisterRefused::metadata(why));
        }
        Ok(text)
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, RegisterRefused> {
        let texts: Vec<String> = self.read(name)?.unwrap_or_default();
        if texts.len() > MOST || texts.iter().any(|text| text.len() > LONGEST) {
            let why = format!("`{name}` has more than {MOST} values, or one that is too long");
            return Err(RegisterRefused::metadata(why));
        }
        Ok(texts)
    }

    fn one_of(&self, name: &str, offered: &[&str]) -> Result<(), RegisterRefused> {
        match self.text(name)? {
            Some(text) if !offered.contains(&text.as_str()) => {
                let why = format!("`{name}` must be {}", offered.join(" or "));
                Err(RegisterRefused::metadata(why))
            }
            _ => Ok(()),
        }
    }

    fn all_of(&self, name: &str, offered: &[&str]) -> Result<(), RegisterRefused> {
        if self.texts(name)?.iter().all(|text| offered.contains(&text.as_str())) {
            Ok(())
        } else {
            let why = format!("`{name}` can have {} alone", offered.join(" and "));
            Err(RegisterRefused::metadata(why))
        }
    }

    fn method(&self, name: &str) -> Result<Option<AuthMethod>, RegisterRefused> {
        self.read(name)
    }

    fn grants(&self, by: By) -> Result<BTreeSet<GrantType>, RegisterRefused> {
        let grants: Option<BTreeSet<GrantType>> = self.read("grant_types")?;
        let grants = grants.unwrap_or_else(|| [GrantType::AuthorizationCode].into());
        match grants.iter().find(|grant| !of_people(**grant)) {
            Some(own) if by == By::Itself => Err(RegisterRefused::metadata(format!(
                "`grant_types`: `{}` is for clients that somebody vouches for; show a token with the \
                 scope `{}`",
                own.name(),
                super::REGISTER
            ))),
            _ => Ok(grants),
        }
    }

    /// Its keys. Those that nothing here is verified with are passed over; a private one is refused,
    /// for it is known to somebody else now.
    fn key_set(&self) -> Result<Option<KeySetForm>, RegisterRefused> {
        let Some(set) = self.0.get("jwks").filter(|set| !set.is_null()) else { return Ok(None) };
        let invalid = || RegisterRefused::metadata("`jwks` is no set of public keys");
        let keys = set.get("keys").and_then(Value::as_array).ok_or_else(invalid)?;
        if keys.len() > MOST_KEYS {
            return Err(RegisterRefused::metadata(format!(
                "`jwks` has more than {MOST_KEYS} keys"
            )));
        }
        if keys.iter().any(|key| key.get("d").is_some() || key.get("k").is_some()) {
            let why =
                "`jwks` holds a private or symmetric key: make a new one, and send its public half";
            return Err(RegisterRefused::metadata(why));
        }
        let signing = keys.iter().filter(|key| {
            key.get("use").is_none_or(|purpose| purpose == "sig")
                && key.get("kty").is_some_and(|kty| kty != "oct")
        });
        let keys: Vec<Jwk> =
            signing.filter_map(|key| serde_json::from_value(key.clone()).ok()).collect();
        Ok(Some(KeySetForm { keys }))
    }
}
