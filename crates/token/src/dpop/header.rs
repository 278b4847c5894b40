//! The header of a proof: its kind, its algorithm, and the key it was made with.

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{DpopProof, ProofRefused};
use crate::{
    algorithm::Algorithm,
    jws::{Malformed, REFUSED},
    key::{Jwk, VerifyingKey},
    strict::{self, Name, Seen, Skim},
};

/// The members that make a key private or symmetric (RFC 7518 §6.2.2, §6.3.2, §6.4; RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The header of a proof, as it stands there.
pub(super) struct ProofHeader {
    alg: String,
    typ: Option<String>,
    jwk: Option<String>,
}

impl ProofHeader {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ProofRefused> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let read = deserializer
            .deserialize_map(HeaderVisitor)
            .and_then(|header| deserializer.end().map(|()| header));
        let malformed = |error| Malformed::Json { part: "header", rule: strict::reason(&error) };
        Ok(read.map_err(malformed)??)
    }

    /// The key that it was made with, bound to the one algorithm it names, and its thumbprint.
    pub(super) fn key(&self) -> Result<(VerifyingKey, String), ProofRefused> {
        let typ = self.typ.as_deref().unwrap_or_default();
        let typ = typ
            .get(..12)
            .filter(|it| it.eq_ignore_ascii_case("application/"))
            .map_or(typ, |prefix| typ.get(prefix.len()..).unwrap_or_default());
        if !typ.eq_ignore_ascii_case(DpopProof::TYP) {
            return Err(ProofRefused::Kind);
        }
        // Asymmetric ones alone have a name here.
        let algorithm: Algorithm = self.alg.parse().map_err(|_| ProofRefused::Algorithm)?;
        let text = self.jwk.as_deref().ok_or(ProofRefused::Key)?;
        strict::check(text.as_bytes()).map_err(|_| ProofRefused::Key)?;
        let members: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|_| ProofRefused::Key)?;
        let is_symmetric = members.get("kty").is_some_and(|kty| kty == "oct");
        if is_symmetric || PRIVATE.iter().any(|name| members.contains_key(*name)) {
            return Err(ProofRefused::PrivateKey);
        }
        let jwk: Jwk = serde_json::from_str(text).map_err(|_| ProofRefused::Key)?;
        if jwk.alg.is_some_and(|alg| alg != algorithm) {
            return Err(ProofRefused::Key);
        }
        // Its name is its thumbprint. What it is called otherwise, and what else it says of itself,
        // is of no account.
        let jwk = Jwk { alg: Some(algorithm), kid: Some("proof".to_owned()), ..jwk };
        // INVARIANT: before the thumbprint is taken, so that its members are well-formed, and no two
        // spellings of a key have one thumbprint, or one key two.
        let key = VerifyingKey::from_jwk(&jwk).map_err(|_| ProofRefused::Key)?;
        Ok((key, jwk.thumbprint()))
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Result<ProofHeader, Malformed>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut header = ProofHeader { alg: String::new(), typ: None, jwk: None };
        let (mut refused, mut alg) = (None, None);
        let mut seen = Seen::default();
        while let Some(Name(name)) = map.next_key()? {
            match name.as_ref() {
                "alg" => alg = Some(map.next_value::<String>()?),
                "typ" => header.typ = Some(map.next_value()?),
                "jwk" => header.jwk = Some(map.next_value::<Box<RawValue>>()?.get().to_owned()),
                other => {
                    refused = refused.or(REFUSED.into_iter().find(|name| *name == other));
                    map.next_value_seed(Skim(strict::DEEPEST))?;
                }
            }
            seen.note(name)?;
        }
        if let Some(name) = refused {
            return Ok(Err(Malformed::Header(name)));
        }
        header.alg = alg.ok_or_else(|| A::Error::custom("there is no `alg`"))?;
        Ok(Ok(header))
    }
}
