//! What a trust domain publishes: the keys that sign the documents of its workloads (SPIFFE Trust Domain and
//! Bundle §4).

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Algorithm, Authorities, Jwk, KeySet, VerifyingKey, strict};

/// The largest bundle, in bytes.
pub const LARGEST: usize = 256 * 1024;

/// What a key of a JWT-SVID may sign with, as far as it is known here: never EdDSA (JWT-SVID §2.1).
const JWT_ALGORITHMS: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256];

/// The keys of one trust domain.
#[derive(Debug)]
pub struct Bundle {
    /// Those that sign X.509-SVIDs.
    pub(super) authorities: Authorities,
    /// Those that sign JWT-SVIDs.
    pub(super) keys: KeySet,
    /// Which of its bundles this is: a later one has a higher number.
    pub(super) sequence: Option<u64>,
    refresh_hint: Option<Duration>,
    counts: Counts,
}

/// How many keys of which kind.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    x509: usize,
    jwt: usize,
    others: usize,
}

/// Why a text is not a bundle, or not one that is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleRefused {
    /// It is too large.
    #[error("a trust bundle has 262144 bytes at most")]
    TooLarge,
    /// It is no key set.
    #[error("this is no trust bundle: {0}")]
    Malformed(&'static str),
    /// It is older than the one that is known.
    #[error(
        "the trust bundle is older than the one that is known: its `spiffe_sequence` is lower, or it has none any more"
    )]
    Older,
}

/// What is read of it.
#[derive(Deserialize)]
struct Form {
    keys: Vec<Map<String, Value>>,
    spiffe_sequence: Option<u64>,
    spiffe_refresh_hint: Option<u64>,
}

impl Bundle {
    /// Reads a bundle. What is no key of a kind that is known is passed over; where no key is left, no document
    /// of the domain counts.
    ///
    /// # Errors
    /// [`BundleRefused`].
    pub fn read(json: &[u8]) -> Result<Self, BundleRefused> {
        if json.len() > LARGEST {
            return Err(BundleRefused::TooLarge);
        }
        strict::check(json).map_err(BundleRefused::Malformed)?;
        let form: Form = serde_json::from_slice(json)
            .map_err(|_| BundleRefused::Malformed("`keys` is a list of JSON Web Keys"))?;
        let (mut x509, mut jwt, mut counts) = (Vec::new(), Vec::new(), Counts::default());
        for key in form.keys {
            match key.get("use").and_then(Value::as_str) {
                Some("x509-svid") => match authority(&key) {
                    Some(der) => x509.push(der),
                    None => counts.others += 1,
                },
                Some("jwt-svid") => {
                    let made = verifying(key);
                    counts.jwt += usize::from(!made.is_empty());
                    counts.others += usize::from(made.is_empty());
                    jwt.extend(made);
                }
                _ => counts.others += 1,
            }
        }
        counts.x509 = x509.len();
        Ok(Self {
            authorities: Authorities::of(&x509),
            keys: KeySet::new(jwt),
            sequence: form.spiffe_sequence,
            refresh_hint: form.spiffe_refresh_hint.map(Duration::from_secs),
            counts,
        })
    }

    /// How soon the domain wishes that it is asked again.
    #[must_use]
    pub const fn refresh_hint(&self) -> Option<Duration> {
        self.refresh_hint
    }
}

/// How many keys it has, for the log.
impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { x509, jwt, others } = self.counts;
        write!(f, "{x509} for X.509-SVIDs, {jwt} for JWT-SVIDs, {others} passed over")
    }
}

/// The certificate of a key that signs X.509-SVIDs: that of an authority. More than one are no more than the
/// first (X509-SVID §6.2).
fn authority(key: &Map<String, Value>) -> Option<CertificateDer<'static>> {
    let first = key.get("x5c")?.as_array()?.first()?;
    let der = CertificateDer::from(STANDARD.decode(first.as_str()?).ok()?);
    Authorities::is_one(&der).then_some(der)
}

/// A key that signs JWT-SVIDs: for the algorithm that it names, and where it names none, as is usual in
/// bundles, once for each that it can be used with.
fn verifying(mut key: Map<String, Value>) -> Vec<Arc<VerifyingKey>> {
    let named = key.remove("alg");
    for said in ["use", "x5c"] {
        key.remove(said);
    }
    let is_named = |alg: &Algorithm| match &named {
        Some(named) => named.as_str().is_some_and(|named| alg.is_called(named)),
        None => true,
    };
    let Ok(jwk) = serde_json::from_value::<Jwk>(Value::Object(key)) else { return Vec::new() };
    let with =
        |alg| VerifyingKey::from_jwk(&Jwk { alg: Some(alg), ..jwk.clone() }).ok().map(Arc::new);
    JWT_ALGORITHMS.into_iter().filter(is_named).filter_map(with).collect()
}
