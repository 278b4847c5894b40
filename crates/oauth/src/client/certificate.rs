//! The certificate by which a client proves itself, as it is declared (RFC 8705 §2).

use tegata_token::{
    SubjectName,
    certificate::{DistinguishedName, InvalidName},
};

use super::{AuthMethod, Client, ClientMetadata};

/// The longest name of a subject.
const LONGEST: usize = 2048;

impl Client {
    /// Whether it proves itself by a certificate.
    #[must_use]
    pub fn proves_by_certificate(&self) -> bool {
        self.auth.is_by_certificate()
    }
}

impl AuthMethod {
    /// Whether it is a certificate that proves who the client is.
    #[must_use]
    pub const fn is_by_certificate(self) -> bool {
        matches!(self, Self::TlsClientAuth | Self::SelfSignedTlsClientAuth | Self::SpiffeX509)
    }
}

/// How metadata call the kind of a name, and its value.
#[must_use]
pub fn declared(name: &SubjectName) -> (&'static str, String) {
    match name {
        SubjectName::Dn(name) => ("tls_client_auth_subject_dn", name.as_str().to_owned()),
        SubjectName::Dns(name) => ("tls_client_auth_san_dns", name.clone()),
        SubjectName::Uri(name) => ("tls_client_auth_san_uri", name.clone()),
        SubjectName::Ip(address) => ("tls_client_auth_san_ip", address.to_string()),
        SubjectName::Email(name) => ("tls_client_auth_san_email", name.clone()),
    }
}

impl ClientMetadata {
    /// What its certificate must name, where that was said.
    pub(super) fn names(&self) -> [(&'static str, Option<&String>); 5] {
        [
            ("tls_client_auth_subject_dn", self.tls_client_auth_subject_dn.as_ref()),
            ("tls_client_auth_san_dns", self.tls_client_auth_san_dns.as_ref()),
            ("tls_client_auth_san_uri", self.tls_client_auth_san_uri.as_ref()),
            ("tls_client_auth_san_ip", self.tls_client_auth_san_ip.as_ref()),
            ("tls_client_auth_san_email", self.tls_client_auth_san_email.as_ref()),
        ]
    }

    /// The one name that its certificate must have.
    pub(super) fn certificate_name(&self, auth: AuthMethod) -> Result<Option<SubjectName>, String> {
        let mut said = self.names().into_iter().filter_map(|(name, value)| Some((name, value?)));
        let (first, more) = (said.next(), said.next());
        match (auth, first, more) {
            (AuthMethod::TlsClientAuth, Some((member, value)), None) => {
                read(member, value).map(Some)
            }
            (AuthMethod::TlsClientAuth, None, _) => Err(
                "`tls_client_auth` needs the name of the certificate's subject: one of \
                 `tls_client_auth_subject_dn`, `tls_client_auth_san_dns`, `tls_client_auth_san_uri`, \
                 `tls_client_auth_san_ip` and `tls_client_auth_san_email`"
                    .to_owned(),
            ),
            (AuthMethod::TlsClientAuth, Some((one, _)), Some((other, _))) => {
                Err(format!("`{one}` and `{other}` are both given; keep one"))
            }
            (_, Some((member, _)), _) => {
                Err(format!("`{member}` is for `tls_client_auth`, and contradicts `{}`", auth.name()))
            }
            (_, None, _) => Ok(None),
        }
    }

    /// Names what contradicts tokens that are bound to a certificate.
    pub(super) fn check_certificates(
        &self,
        auth: AuthMethod,
        has_keys: bool,
    ) -> Result<(), &'static str> {
        if auth == AuthMethod::SelfSignedTlsClientAuth && !has_keys {
            return Err(
                "`self_signed_tls_client_auth` needs `jwks` or `jwks_uri`, with the key of \
                        the certificate or with the certificate itself in `x5c`",
            );
        }
        if self.tls_client_certificate_bound_access_tokens && self.dpop_bound_access_tokens {
            return Err("`tls_client_certificate_bound_access_tokens` contradicts \
                        `dpop_bound_access_tokens`: keep one");
        }
        Ok(())
    }
}

fn read(member: &str, value: &str) -> Result<SubjectName, String> {
    let invalid = |error: InvalidName| format!("`{member}`: {error}");
    if value.is_empty() || value.len() > LONGEST {
        return Err(format!("`{member}` must have 1 to {LONGEST} bytes"));
    }
    Ok(match member {
        "tls_client_auth_subject_dn" => {
            SubjectName::Dn(DistinguishedName::parse(value).map_err(invalid)?)
        }
        "tls_client_auth_san_dns" => SubjectName::Dns(value.to_owned()),
        "tls_client_auth_san_uri" => SubjectName::Uri(value.to_owned()),
        "tls_client_auth_san_email" => SubjectName::Email(value.to_owned()),
        _ => {
            let address = value.parse();
            SubjectName::Ip(address.map_err(|_| format!("`{member}` is not an IP address"))?)
        }
    })
}

#[cfg(test)]
mod tests {
    use tegata_core::Timestamp;
    use tegata_token::{Algorithm, SigningKey};

    use super::*;
    use crate::client::KeySetForm;

    fn machine() -> ClientMetadata {
        ClientMetadata {
            client_id: "machine".into(),
            token_endpoint_auth_method: Some(AuthMethod::TlsClientAuth),
            grant_types: Some([crate::GrantType::ClientCredentials].into()),
            ..ClientMetadata::default()
        }
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn one_name_is_told_as_it_was_declared() {
        let names = [
            ClientMetadata { tls_client_auth_subject_dn: text("CN=a, O=b"), ..machine() },
            ClientMetadata { tls_client_auth_san_dns: text("a.example"), ..machine() },
            ClientMetadata { tls_client_auth_san_uri: text("spiffe://a/b"), ..machine() },
            ClientMetadata { tls_client_auth_san_ip: text("192.0.2.1"), ..machine() },
            ClientMetadata { tls_client_auth_san_email: text("a@b"), ..machine() },
        ];
        for metadata in names {
            let client = metadata.read(Timestamp::default()).unwrap();
            let name = client.certificate_name.as_ref().unwrap();
            let said = metadata.names().into_iter().find(|(_, value)| value.is_some()).unwrap();
            assert_eq!(declared(name), (said.0, said.1.unwrap().clone()));
            // As it is stored.
            let stored = serde_json::to_string(name).unwrap();
            assert_eq!(serde_json::from_str::<SubjectName>(&stored).unwrap(), *name);
            // The name alone says how it proves itself.
            let short = ClientMetadata { token_endpoint_auth_method: None, ..metadata };
            assert_eq!(short.read(Timestamp::default()).unwrap(), client);
        }
    }

    #[test]
    fn contradictions_are_named() {
        let dns = text("a.example");
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let jwks = Some(KeySetForm { keys: vec![key.jwk().clone()] });
        let own = Some(AuthMethod::SelfSignedTlsClientAuth);
        let named = ClientMetadata { tls_client_auth_san_dns: dns, ..machine() };
        let mut other = key.jwk().clone();
        other.x5c = vec!["AAAA".to_owned()];
        let other = Some(KeySetForm { keys: vec![other] });
        for (metadata, word) in [
            (machine(), "tls_client_auth_subject_dn"),
            (ClientMetadata { tls_client_auth_san_ip: text("::1"), ..named.clone() }, "keep one"),
            (ClientMetadata { tls_client_auth_subject_dn: text("/CN=a"), ..machine() }, "openssl"),
            (ClientMetadata { tls_client_auth_subject_dn: text(""), ..machine() }, "bytes"),
            (ClientMetadata { tls_client_auth_san_ip: text("a.example"), ..machine() }, "IP"),
            (ClientMetadata { token_endpoint_auth_method: own, ..machine() }, "jwks"),
            (ClientMetadata { token_endpoint_auth_method: own, jwks: other, ..machine() }, "x5c"),
            (
                ClientMetadata { token_endpoint_auth_method: own, jwks, ..named.clone() },
                "contradicts",
            ),
            (
                ClientMetadata {
                    token_endpoint_auth_method: Some(AuthMethod::ClientSecretBasic),
                    ..named.clone()
                },
                "contradicts",
            ),
            (
                ClientMetadata {
                    tls_client_certificate_bound_access_tokens: true,
                    dpop_bound_access_tokens: true,
                    ..named
                },
                "contradicts",
            ),
        ] {
            let rule = metadata.read(Timestamp::default()).unwrap_err().to_string();
            assert!(rule.contains(word), "{rule}");
        }
    }
}
