//! The FAPI 2.0 Security Profile as one word of a client: what it turns on, and what it contradicts.

use serde::{Deserialize, Serialize};
use tegata_token::{Algorithm, Jwk};

use super::{AuthMethod, Client, ClientMetadata, GrantType};

/// A set of rules that a client keeps beyond what all clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The FAPI 2.0 Security Profile.
    Fapi2,
}

impl Client {
    /// Whether it keeps the FAPI 2.0 Security Profile.
    #[must_use]
    pub fn is_fapi(&self) -> bool {
        self.profile == Some(Profile::Fapi2)
    }

    /// Whether its access tokens must be bound to a key that it shows (FAPI 2.0 §5.3.2.1, item 4).
    #[must_use]
    pub fn needs_sender_constraint(&self) -> bool {
        self.is_fapi()
    }

    /// Whether its refresh tokens are spent. Those of the profile are bound to an authenticated
    /// client already, and must not rotate (FAPI 2.0 §5.3.2.1, item 8).
    #[must_use]
    pub fn rotates(&self) -> bool {
        !self.is_fapi()
    }
}

impl ClientMetadata {
    /// What its tokens are signed with where nothing is said.
    pub(super) fn usual_algorithm(&self) -> Algorithm {
        // There always is an ES256 key: internal tokens are signed with it.
        if self.is_fapi() { Algorithm::Es256 } else { Algorithm::Rs256 }
    }

    /// What an RSA key of its own is for where nothing is said.
    pub(super) fn usual_rsa(&self) -> Algorithm {
        let wanted = self.token_endpoint_auth_signing_alg;
        if self.is_fapi() || wanted == Some(Algorithm::Ps256) {
            Algorithm::Ps256
        } else {
            Algorithm::Rs256
        }
    }

    /// Whether it is to keep the FAPI 2.0 Security Profile.
    #[must_use]
    pub fn is_fapi(&self) -> bool {
        self.profile == Some(Profile::Fapi2)
    }

    /// Names what contradicts the profile.
    pub(super) fn check_profile(&self, auth: AuthMethod, keys: &[Jwk]) -> Result<(), String> {
        if !self.is_fapi() {
            return Ok(());
        }
        // §5.3.2.1, items 3 and 6: confidential clients, which show a key of their own.
        let is_known = auth == AuthMethod::PrivateKeyJwt || auth.is_by_certificate();
        if !is_known || auth.is_by_svid() {
            return Err(format!(
                "`profile = \"fapi2\"` contradicts `{}`: give it `jwks`, and let it prove itself \
                 by `private_key_jwt`, or let it show a certificate: `tls_client_auth` or \
                 `self_signed_tls_client_auth`",
                auth.name()
            ));
        }
        // §5.3.2.2 knows requests that are pushed, and answers that go to the browser that asked.
        let grants = self.grant_types.as_ref();
        if grants.is_some_and(|grants| grants.contains(&GrantType::DeviceCode)) {
            return Err(format!(
                "`profile = \"fapi2\"` contradicts `{}`: declare another client for devices",
                GrantType::DeviceCode.name()
            ));
        }
        // §5.3.2.2, item 5.
        if self.require_pkce == Some(false) {
            return Err("`profile = \"fapi2\"` contradicts `require_pkce = false`".to_owned());
        }
        // §5.4.1: PS256, ES256 or EdDSA.
        let named = [
            ("access_token_signed_response_alg", self.access_token_signed_response_alg),
            ("id_token_signed_response_alg", self.id_token_signed_response_alg),
            ("authorization_signed_response_alg", self.authorization_signed_response_alg),
            ("introspection_signed_response_alg", self.introspection_signed_response_alg),
            ("userinfo_signed_response_alg", self.userinfo_signed_response_alg),
            ("request_object_signing_alg", self.request_object_signing_alg),
            ("token_endpoint_auth_signing_alg", self.token_endpoint_auth_signing_alg),
        ];
        for (name, algorithm) in named {
            if algorithm == Some(Algorithm::Rs256) {
                return Err(format!(
                    "`profile = \"fapi2\"` contradicts `{name} = \"RS256\"`: say PS256, ES256 or \
                     EdDSA"
                ));
            }
        }
        if keys.iter().any(|key| key.alg == Some(Algorithm::Rs256)) {
            let rule = "`profile = \"fapi2\"` contradicts a key of `jwks` for RS256: say PS256";
            return Err(rule.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::Timestamp;
    use tegata_token::SigningKey;

    use super::*;
    use crate::client::registration::KeySetForm;

    fn fapi() -> ClientMetadata {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        ClientMetadata {
            client_id: "bank".into(),
            redirect_uris: vec!["https://bank.example/cb".into()],
            jwks: Some(KeySetForm { keys: vec![key.jwk().clone()] }),
            profile: Some(Profile::Fapi2),
            ..ClientMetadata::default()
        }
    }

    #[test]
    fn one_word_turns_everything_on() {
        let client = fapi().read(Timestamp::default()).unwrap();
        assert!(client.require_pushed && client.require_pkce && client.needs_sender_constraint());
        assert!(!client.rotates());
        let own = Some(AuthMethod::SelfSignedTlsClientAuth);
        let own = ClientMetadata { token_endpoint_auth_method: own, ..fapi() };
        let name = Some("a.example".to_owned());
        let named = ClientMetadata { jwks: None, tls_client_auth_san_dns: name, ..fapi() };
        for metadata in [own, named] {
            assert!(metadata.read(Timestamp::default()).unwrap().proves_by_certificate());
        }
        assert_eq!(client.auth, AuthMethod::PrivateKeyJwt);
        for algorithm in [client.access_token_alg, client.id_token_alg, client.response_alg] {
            assert_eq!(algorithm, Algorithm::Es256);
        }
    }

    #[test]
    fn contradictions_are_named() {
        let rs256 = Some(Algorithm::Rs256);
        let mut weak = SigningKey::generate(Algorithm::Rs256).unwrap().jwk().clone();
        weak.alg = rs256;
        for (metadata, word) in [
            (ClientMetadata { jwks: None, ..fapi() }, "client_secret_basic"),
            (ClientMetadata { jwks: None, public: true, ..fapi() }, "none"),
            (ClientMetadata { require_pkce: Some(false), ..fapi() }, "require_pkce"),
            (
                ClientMetadata { grant_types: Some([GrantType::DeviceCode].into()), ..fapi() },
                "device_code",
            ),
            (ClientMetadata { id_token_signed_response_alg: rs256, ..fapi() }, "id_token"),
            (ClientMetadata { access_token_signed_response_alg: rs256, ..fapi() }, "access_token"),
            (
                ClientMetadata { authorization_signed_response_alg: rs256, ..fapi() },
                "authorization",
            ),
            (ClientMetadata { jwks: Some(KeySetForm { keys: vec![weak] }), ..fapi() }, "PS256"),
        ] {
            let rule = metadata.read(Timestamp::default()).unwrap_err().to_string();
            assert!(rule.contains(word) && rule.contains("fapi2"), "{rule}");
        }
    }
}
