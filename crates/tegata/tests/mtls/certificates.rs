//! Authorities, and the certificates that clients show.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    client::ResolvesClientCert,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use tegata_token::{Jwk, SigningKey, certificate::thumbprint};

/// Whoever signs certificates.
pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate and the key that is used with it.
pub(crate) struct Shown {
    pub(crate) der: CertificateDer<'static>,
    key: KeyPair,
}

/// An authority with this name.
pub(crate) fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this host name, of a subject with this name of `Example`.
pub(crate) fn named(name: &str, host: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Without the name that it has by itself, which would come first.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(host.try_into().unwrap())];
    params
}

impl Shown {
    /// What an authority signed.
    pub(crate) fn signed(params: &CertificateParams, by: &Authority) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, by).unwrap().der().clone();
        Self { der, key }
    }

    /// What its own key signed.
    pub(crate) fn own(name: &str) -> Self {
        Self::of_key(name, KeyPair::generate().unwrap())
    }

    fn of_key(name: &str, key: KeyPair) -> Self {
        let der = named(name, "own.example").self_signed(&key).unwrap().der().clone();
        Self { der, key }
    }

    /// Another certificate of the same key.
    pub(crate) fn again(&self, name: &str) -> Self {
        Self::of_key(name, KeyPair::try_from(self.key.serialize_der()).unwrap())
    }

    /// The same, when it has expired.
    pub(crate) fn expired(&self, name: &str) -> Self {
        let mut params = named(name, "own.example");
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        let key = KeyPair::try_from(self.key.serialize_der()).unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, key }
    }

    /// This certificate with the key of another: whoever found it.
    pub(crate) fn stolen(&self) -> Self {
        Self { der: self.der.clone(), key: KeyPair::generate().unwrap() }
    }

    /// Its key, as it is registered.
    pub(crate) fn jwk(&self) -> Jwk {
        SigningKey::from_pkcs8(&self.key.serialize_der(), None, None).unwrap().jwk().clone()
    }

    /// What a token that is bound to it says.
    pub(crate) fn x5t(&self) -> String {
        thumbprint(&self.der)
    }

    /// Both, as files have them.
    pub(crate) fn pem(&self) -> (String, String) {
        let base64 = STANDARD.encode(&self.der);
        let lines: Vec<_> =
            base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let certificate = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        );
        (certificate, self.key.serialize_pem())
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let key = default_provider().key_provider.load_private_key(key).unwrap();
        Arc::new(CertifiedKey::new(vec![self.der.clone()], key))
    }
}

/// Shows what it has, whether or not it fits.
#[derive(Debug)]
struct Showing(Arc<CertifiedKey>);

impl ResolvesClientCert for Showing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The TLS of a client that shows this, and trusts whom `authority` signed.
pub(crate) fn client(
    authority: &Authority,
    shown: Option<&Shown>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => builder.with_client_cert_resolver(Arc::new(Showing(shown.certified()))),
    })
}
