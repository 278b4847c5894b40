//! Keys: the private half that signs, the public half that verifies, and its JWK.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{
    digest,
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeySize, PublicKeyComponents},
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use tegata_core::{
    KeyId, Secret,
    port::{KeyInVault, PublicHalf, Vault, VaultRefused},
};

use crate::{
    Algorithm,
    certificate::{self, ClientCertificate},
};

/// Why something is not a key that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// It is not PKCS#8 in PEM.
    #[error(
        "this is not a PKCS#8 private key in PEM (`-----BEGIN PRIVATE KEY-----`); \
         `openssl pkcs8 -topk8 -nocrypt` makes one"
    )]
    NotPkcs8,
    /// It is none of the kinds of key that the algorithms use.
    #[error("the key is none of RSA (2048 bits or more), P-256, Ed25519")]
    UnknownKind,
    /// The key cannot sign with the algorithm it was given for.
    #[error("the key cannot be used with {0}")]
    WrongAlgorithm(Algorithm),
    /// The public key has values that no good key has.
    #[error("the public key is not valid: {0}")]
    Invalid(&'static str),
    /// The library did not make a key. Out of memory or randomness.
    #[error("the key could not be made")]
    NotMade,
    /// The private half stays in a vault: it is nowhere else, and signs nothing while somebody else is
    /// kept waiting.
    #[error("the private key stays in its token, and cannot be read or used as one in memory")]
    InVault,
    /// The private half is in a vault, and this program was not told of any.
    #[error(
        "the private half of key `{0}` is in a token, and none is configured: set `[keys.pkcs11]` as \
         it was"
    )]
    NoVault(KeyId),
    /// The vault with the private half does not make, sign or destroy.
    #[error(transparent)]
    Vault(#[from] VaultRefused),
    /// The vault answered with a signature that is not one of this key.
    #[error(
        "the token answered with something that is no signature of key `{0}`: it has another one"
    )]
    NotOurs(KeyId),
}

/// A private key that is ready to sign: in memory, parsed once, or in a vault, which it never leaves.
pub struct SigningKey {
    kid: KeyId,
    algorithm: Algorithm,
    pair: Pair,
    public: Jwk,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Held(Held),
}

/// A private key in a vault.
struct Held {
    vault: Arc<dyn Vault>,
    handle: Vec<u8>,
    /// What it signs is looked at before anybody gets it.
    checks: VerifyingKey,
}

impl SigningKey {
    /// Makes a new key: RSA with 2048 bits, P-256 or Ed25519. Its `kid` is its thumbprint
    /// (RFC 7638). The randomness is the crypto library's own.
    ///
    /// # Errors
    /// [`KeyRefused::NotMade`].
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyRefused> {
        let not_made = |_| KeyRefused::NotMade;
        let pair = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(not_made)?)
            }
            Algorithm::Es256 => Pair::P256(
                EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)
                    .map_err(not_made)?,
            ),
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::generate().map_err(not_made)?),
        };
        Self::with(pair, algorithm, None)
    }

    /// Makes a new key in a vault, and has it sign once: one that cannot is destroyed again.
    ///
    /// # Errors
    /// [`KeyRefused::Vault`]; [`KeyRefused::Invalid`] where the vault made something else.
    pub async fn make(vault: &Arc<dyn Vault>, algorithm: Algorithm) -> Result<Self, KeyRefused> {
        let KeyInVault { handle, public } = vault.make(algorithm.scheme()).await?;
        let made = async {
            let jwk = Jwk::of(&public, algorithm);
            let kid = KeyId::new(&jwk.thumbprint()).map_err(|_| KeyRefused::NotMade)?;
            let jwk = Jwk { kid: Some(kid.as_str().to_owned()), ..jwk };
            let key = Self::held(vault, handle.clone(), &jwk)?;
            key.signature(LOOK).await?;
            Ok(key)
        };
        let made = made.await;
        if made.is_err()
            && let Err(error) = vault.destroy(&handle).await
        {
            tracing::warn!(%error, "a key that cannot be used stays in the token");
        }
        made
    }

    /// A key whose private half a vault has.
    ///
    /// # Errors
    /// What is wrong with its public half.
    pub(crate) fn held(
        vault: &Arc<dyn Vault>,
        handle: Vec<u8>,
        jwk: &Jwk,
    ) -> Result<Self, KeyRefused> {
        let checks = VerifyingKey::from_jwk(jwk)?;
        let (kid, algorithm) = (checks.kid().clone(), checks.algorithm());
        let pair = Pair::Held(Held { vault: Arc::clone(vault), handle, checks });
        Ok(Self { kid, algorithm, pair, public: jwk.clone() })
    }

    /// Reads a private key from PKCS#8 in PEM. Without an `algorithm`, an RSA key signs `RS256`.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn from_pem(
        pem: &[u8],
        algorithm: Option<Algorithm>,
        kid: Option<KeyId>,
    ) -> Result<Self, KeyRefused> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyRefused::NotPkcs8)?;
        Self::from_pkcs8(der.secret_pkcs8_der(), algorithm, kid)
    }

    /// Reads a private key from PKCS#8 in DER. Without an `algorithm`, an RSA key signs `RS256`.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn from_pkcs8(
        der: &[u8],
        algorithm: Option<Algorithm>,
        kid: Option<KeyId>,
    ) -> Result<Self, KeyRefused> {
        let fixed = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let (pair, natural) = if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
            (Pair::Rsa(pair), Algorithm::Rs256)
        } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(fixed, der) {
            (Pair::P256(pair), Algorithm::Es256)
        } else if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            (Pair::Ed25519(pair), Algorithm::EdDsa)
        } else {
            return Err(KeyRefused::UnknownKind);
        };
        let algorithm = algorithm.unwrap_or(natural);
        let fits = algorithm == natural || (algorithm.is_rsa() && natural.is_rsa());
        if !fits {
            return Err(KeyRefused::WrongAlgorithm(algorithm));
        }
        Self::with(pair, algorithm, kid)
    }

    fn with(pair: Pair, algorithm: Algorithm, kid: Option<KeyId>) -> Result<Self, KeyRefused> {
        let mut public = pair.jwk(algorithm)?;
        let kid = match kid {
            Some(kid) => kid,
            None => KeyId::new(&public.thumbprint()).map_err(|_| KeyRefused::NotMade)?,
        };
        public.kid = Some(kid.as_str().to_owned());
        // A key that could not verify what it signs must not come into use.
        VerifyingKey::from_jwk(&public)?;
        Ok(Self { kid, algorithm, pair, public })
    }

    /// The key's name.
    #[must_use]
    pub const fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// What it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its public half.
    #[must_use]
    pub const fn jwk(&self) -> &Jwk {
        &self.public
    }

    /// How a vault finds the private half. `None`: it is in memory.
    #[must_use]
    pub fn handle(&self) -> Option<&[u8]> {
        match &self.pair {
            Pair::Held(held) => Some(&held.handle),
            _ => None,
        }
    }

    /// Why the key does not sign at the moment, as far as is known without asking: its vault has just
    /// refused.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &self.pair {
            Pair::Held(held) => held.vault.trouble(&held.handle),
            _ => None,
        }
    }

    /// Whether its vault has signed something within this span. One in memory always can.
    #[must_use]
    pub fn signed_within(&self, span: Duration) -> bool {
        match &self.pair {
            Pair::Held(held) => held.vault.signed_within(span),
            _ => true,
        }
    }

    /// Has a key of a vault sign something that is no token, to see that it still does. One in memory
    /// always does.
    ///
    /// # Errors
    /// As [`Self::signature`].
    pub async fn look(&self) -> Result<(), KeyRefused> {
        match &self.pair {
            Pair::Held(_) => self.signature(LOOK).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Destroys the private half in its vault. Of a key in memory, nothing is to be done.
    ///
    /// # Errors
    /// [`KeyRefused::Vault`].
    pub async fn destroy(&self) -> Result<(), KeyRefused> {
        match &self.pair {
            Pair::Held(held) => Ok(held.vault.destroy(&held.handle).await?),
            _ => Ok(()),
        }
    }

    /// The private key as PKCS#8, to be stored sealed.
    ///
    /// # Errors
    /// [`KeyRefused::NotMade`] if the library does not encode it; [`KeyRefused::InVault`].
    pub fn to_pkcs8(&self) -> Result<Secret<Vec<u8>>, KeyRefused> {
        let not_made = |_| KeyRefused::NotMade;
        let bytes = match &self.pair {
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(not_made)?;
                der.as_ref().to_vec()
            }
            Pair::P256(pair) => pair.to_pkcs8v1().map_err(not_made)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map_err(not_made)?.as_ref().to_vec(),
            Pair::Held(_) => return Err(KeyRefused::InVault),
        };
        Ok(Secret::new(bytes))
    }

    /// Signs `message`, wherever the key is, in the form that JWS wants (RFC 7518 §3.3–3.5,
    /// RFC 8037 §3.1). With a key in memory, nothing is waited for.
    ///
    /// # Errors
    /// As [`Self::sign`]; [`KeyRefused::Vault`], [`KeyRefused::NotOurs`].
    pub async fn signature(&self, message: &[u8]) -> Result<Vec<u8>, KeyRefused> {
        match &self.pair {
            Pair::Held(held) => {
                let scheme = self.algorithm.scheme();
                let signature = held.vault.sign(&held.handle, scheme, message).await?;
                held.checked(message, signature)
            }
            _ => self.sign(message),
        }
    }

    /// The same, for a thread that may wait: never for one that serves requests.
    ///
    /// # Errors
    /// As [`Self::signature`].
    pub fn sign_waiting(&self, message: &[u8]) -> Result<Vec<u8>, KeyRefused> {
        match &self.pair {
            Pair::Held(held) => {
                let scheme = self.algorithm.scheme();
                let signature = held.vault.sign_waiting(&held.handle, scheme, message)?;
                held.checked(message, signature)
            }
            _ => self.sign(message),
        }
    }

    /// Signs `message` with a key that is in memory, at once.
    ///
    /// # Errors
    /// [`KeyRefused::NotMade`] if the library fails; [`KeyRefused::InVault`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyRefused> {
        let not_made = |_| KeyRefused::NotMade;
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn signature::RsaEncoding = if self.algorithm == Algorithm::Ps256 {
                    &signature::RSA_PSS_SHA256
                } else {
                    &signature::RSA_PKCS1_SHA256
                };
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut bytes).map_err(not_made)?;
                Ok(bytes)
            }
            Pair::P256(pair) => {
                Ok(pair.sign(&random, message).map_err(not_made)?.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.try_sign(message).map_err(not_made)?.as_ref().to_vec()),
            Pair::Held(_) => Err(KeyRefused::InVault),
        }
    }
}

/// What a vault signs to show that it can. It has no dots, so it is part of no token.
const LOOK: &[u8] = b"tegata look at a signing key";

impl Held {
    /// INVARIANT: a signature that the published key does not verify never gets out. A token that has
    /// another key under the handle, or that miscalculates, would give away more than it says.
    fn checked(&self, message: &[u8], signature: Vec<u8>) -> Result<Vec<u8>, KeyRefused> {
        if self.checks.verifies(message, &signature) {
            Ok(signature)
        } else {
            Err(KeyRefused::NotOurs(self.checks.kid().clone()))
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {})", self.kid, self.algorithm)
    }
}

impl Pair {
    fn jwk(&self, algorithm: Algorithm) -> Result<Jwk, KeyRefused> {
        let public = match self {
            Self::Rsa(pair) => {
                let public = pair.public_key();
                PublicHalf::Rsa {
                    modulus: public.modulus().big_endian_without_leading_zero().to_vec(),
                    exponent: public.exponent().big_endian_without_leading_zero().to_vec(),
                }
            }
            Self::P256(pair) => {
                let point = pair.public_key().as_ref();
                let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
                    return Err(KeyRefused::Invalid("the point is not on P-256"));
                };
                PublicHalf::P256 { x: x.to_vec(), y: y.to_vec() }
            }
            Self::Ed25519(pair) => PublicHalf::Ed25519(pair.public_key().as_ref().to_vec()),
            Self::Held(_) => return Err(KeyRefused::InVault),
        };
        Ok(Jwk::of(&public, algorithm))
    }
}

/// A public JSON Web Key (RFC 7517), of a kind that Tegata verifies with. It has no field for
/// anything private, so none can slip out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Jwk {
    /// `RSA`, `EC` or `OKP`.
    pub kty: String,
    /// The key's name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kid: Option<String>,
    /// What it is for: a key without one verifies nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alg: Option<Algorithm>,
    /// `sig`.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none", default)]
    pub purpose: Option<String>,
    /// The curve, for `EC` and `OKP`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub crv: Option<String>,
    /// The modulus, for `RSA`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub n: Option<String>,
    /// The exponent, for `RSA`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub e: Option<String>,
    /// A coordinate, or the whole of an `OKP` key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub x: Option<String>,
    /// The other coordinate, for `EC`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub y: Option<String>,
    /// Its certificate, and those that signed it, as base64 of DER: what a client shows that proves
    /// itself by a certificate of its own making (RFC 8705 §2.2.2).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub x5c: Vec<String>,
}

impl Jwk {
    /// A public half that verifies with `algorithm`, without a name yet.
    fn of(public: &PublicHalf, algorithm: Algorithm) -> Self {
        let purpose = Some("sig".to_owned());
        let blank = Self { alg: Some(algorithm), purpose, ..Self::default() };
        let encode = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        match public {
            PublicHalf::Rsa { modulus, exponent } => {
                Self { kty: "RSA".to_owned(), n: encode(modulus), e: encode(exponent), ..blank }
            }
            PublicHalf::P256 { x, y } => Self {
                kty: "EC".to_owned(),
                crv: Some("P-256".to_owned()),
                x: encode(x),
                y: encode(y),
                ..blank
            },
            PublicHalf::Ed25519(x) => Self {
                kty: "OKP".to_owned(),
                crv: Some("Ed25519".to_owned()),
                x: encode(x),
                ..blank
            },
        }
    }

    /// The thumbprint with SHA-256, as base64url (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // RFC 7638 §3.2: the required members, in the order of their names, without white space.
        // The values are base64url or names, so nothing in them is escaped.
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let canonical = match self.kty.as_str() {
            "RSA" => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(&self.e), text(&self.n))
            }
            "EC" => format!(
                r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
                text(&self.crv),
                text(&self.x),
                text(&self.y)
            ),
            kty => {
                format!(r#"{{"crv":"{}","kty":"{kty}","x":"{}"}}"#, text(&self.crv), text(&self.x))
            }
        };
        let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
        URL_SAFE_NO_PAD.encode(hash.as_ref())
    }
}

/// A public key that is ready to verify: parsed once, bound to one algorithm.
pub struct VerifyingKey {
    kid: KeyId,
    algorithm: Algorithm,
    parsed: ParsedPublicKey,
    /// The thumbprints of the key, and of the certificate that it was given with.
    named: (String, Option<String>),
    withdrawn: AtomicBool,
}

impl VerifyingKey {
    /// Reads a public key. The algorithm is the key's own `alg` and nothing else
    /// (RFC 8725 §3.1); a key without `alg` or `kid` is refused.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, KeyRefused> {
        let algorithm = jwk.alg.ok_or(KeyRefused::Invalid("it has no `alg`"))?;
        if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return Err(KeyRefused::Invalid("its `use` is not `sig`"));
        }
        let kid = jwk.kid.as_deref().ok_or(KeyRefused::Invalid("it has no `kid`"))?;
        let kid = KeyId::new(kid).map_err(|_| KeyRefused::Invalid("its `kid` is malformed"))?;
        let parsed = match (algorithm, jwk.kty.as_str(), jwk.crv.as_deref()) {
            (Algorithm::Rs256 | Algorithm::Ps256, "RSA", None) => rsa(jwk, algorithm)?,
            (Algorithm::Es256, "EC", Some("P-256")) => {
                let (x, y) = (member(jwk.x.as_deref())?, member(jwk.y.as_deref())?);
                if x.len() != 32 || y.len() != 32 {
                    return Err(KeyRefused::Invalid("a coordinate is not 32 bytes long"));
                }
                parse(algorithm, &[&[4_u8][..], &x, &y].concat())?
            }
            (Algorithm::EdDsa, "OKP", Some("Ed25519")) => {
                let x = member(jwk.x.as_deref())?;
                if x.len() != 32 {
                    return Err(KeyRefused::Invalid("`x` is not 32 bytes long"));
                }
                parse(algorithm, &x)?
            }
            _ => return Err(KeyRefused::WrongAlgorithm(algorithm)),
        };
        let named = (jwk.thumbprint(), certificate::registered(&jwk.x5c));
        Ok(Self { kid, algorithm, parsed, named, withdrawn: AtomicBool::new(false) })
    }

    /// The key's name.
    #[must_use]
    pub const fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// The one algorithm it verifies.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` is this key's for `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }

    /// Whether a certificate is this key's: the one that the key was given with, or any where it was
    /// given without.
    #[must_use]
    pub fn is_of(&self, shown: &ClientCertificate) -> bool {
        let (key, certificate) = &self.named;
        shown.key() == Some(key)
            && certificate.as_deref().is_none_or(|own| own == shown.thumbprint())
    }

    /// Whether the key has left its set: what it verified before does not count any more.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({}, {})", self.kid, self.algorithm)
    }
}

fn rsa(jwk: &Jwk, algorithm: Algorithm) -> Result<ParsedPublicKey, KeyRefused> {
    let (n, e) = (member(jwk.n.as_deref())?, member(jwk.e.as_deref())?);
    if n.first() == Some(&0) || e.first() == Some(&0) {
        return Err(KeyRefused::Invalid("a number begins with zero bytes"));
    }
    if !(256..=1024).contains(&n.len())
        || n.first().is_none_or(|byte| byte & 0x80 == 0 && n.len() == 256)
    {
        return Err(KeyRefused::Invalid("the modulus has fewer than 2048 or more than 8192 bits"));
    }
    if !(1..=4).contains(&e.len()) || e == [1] || e.last().is_none_or(|byte| byte & 1 == 0) {
        return Err(KeyRefused::Invalid("the exponent is not an odd number from 3 to 2^32"));
    }
    let parameters = if algorithm == Algorithm::Ps256 {
        &signature::RSA_PSS_2048_8192_SHA256
    } else {
        &signature::RSA_PKCS1_2048_8192_SHA256
    };
    PublicKeyComponents { n: &n, e: &e }
        .to_parsed_public_key(parameters)
        .map_err(|_| KeyRefused::Invalid("the numbers are not an RSA key"))
}

fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<ParsedPublicKey, KeyRefused> {
    ParsedPublicKey::new(algorithm.verification(), bytes)
        .map_err(|_| KeyRefused::Invalid("the point is not on the curve"))
}

fn member(value: Option<&str>) -> Result<Vec<u8>, KeyRefused> {
    let value = value.ok_or(KeyRefused::Invalid("a required member is missing"))?;
    URL_SAFE_NO_PAD.decode(value).map_err(|_| KeyRefused::Invalid("a member is not base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_signs_its_public_half_verifies_and_no_other_does() {
        for algorithm in Algorithm::ALL {
            let (key, other) = (
                SigningKey::generate(algorithm).unwrap(),
                SigningKey::generate(algorithm).unwrap(),
            );
            let signed = key.sign(b"message").unwrap();
            let public = VerifyingKey::from_jwk(key.jwk()).unwrap();
            assert!(public.verifies(b"message", &signed), "{algorithm}");
            assert!(!public.verifies(b"messagf", &signed));
            assert!(!public.verifies(b"message", &[]));
            assert!(!public.verifies(b"message", &vec![0; signed.len()]));
            let stranger = VerifyingKey::from_jwk(other.jwk()).unwrap();
            assert!(!stranger.verifies(b"message", &signed));
        }
    }

    #[test]
    fn survives_storage_and_keeps_its_name() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            let pkcs8 = key.to_pkcs8().unwrap();
            let again = SigningKey::from_pkcs8(pkcs8.expose(), Some(algorithm), None).unwrap();
            assert_eq!(again.jwk(), key.jwk());
            assert_eq!(again.kid().as_str(), key.jwk().thumbprint());
        }
    }

    /// RFC 7638 §3.1.
    #[test]
    fn thumbprint_is_that_of_the_rfc() {
        let jwk: Jwk = serde_json::from_str(
            r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#,
        )
        .unwrap();
        assert_eq!(jwk.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn refuses_public_keys_that_no_good_key_is() {
        let rsa = SigningKey::generate(Algorithm::Rs256).unwrap().jwk().clone();
        let ec = SigningKey::generate(Algorithm::Es256).unwrap().jwk().clone();
        let short = URL_SAFE_NO_PAD.encode([0xff_u8; 128]);
        let bad = [
            Jwk { alg: None, ..rsa.clone() },
            Jwk { kid: None, ..rsa.clone() },
            Jwk { alg: Some(Algorithm::Es256), ..rsa.clone() },
            Jwk { purpose: Some("enc".into()), ..rsa.clone() },
            Jwk { n: Some(short), ..rsa.clone() },
            Jwk { e: Some("AQ".into()), ..rsa.clone() },
            Jwk { e: Some("Ag".into()), ..rsa.clone() },
            Jwk { e: None, ..rsa.clone() },
            Jwk { n: rsa.n.as_ref().map(|n| format!("{n}=")), ..rsa },
            Jwk { y: ec.x.clone(), ..ec.clone() },
            Jwk { crv: Some("P-384".into()), ..ec.clone() },
            Jwk { alg: Some(Algorithm::EdDsa), ..ec },
        ];
        for jwk in bad {
            assert!(VerifyingKey::from_jwk(&jwk).is_err(), "{jwk:?}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_pkcs8_private_key_and_says_how_to_make_one() {
        let error = SigningKey::from_pem(b"-----BEGIN RSA PRIVATE KEY-----\n", None, None);
        assert!(error.unwrap_err().to_string().contains("openssl pkcs8"));
        assert_eq!(
            SigningKey::from_pkcs8(&[0x30, 0], None, None).unwrap_err(),
            KeyRefused::UnknownKind
        );
        let ec = SigningKey::generate(Algorithm::Es256).unwrap().to_pkcs8().unwrap();
        assert_eq!(
            SigningKey::from_pkcs8(ec.expose(), Some(Algorithm::Rs256), None).unwrap_err(),
            KeyRefused::WrongAlgorithm(Algorithm::Rs256)
        );
    }

    #[test]
    fn never_prints_a_private_key() {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey({}, EdDSA)", key.kid()));
    }
}
