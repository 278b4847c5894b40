//! What a proof says (RFC 9449 §4.2).

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::{
    claims::date,
    strict::{self, Name, Seen, Skim},
};

/// The longest `jti`: what is longer is no name, but a load.
const LONGEST_JTI: usize = 256;

/// The claims of a proof. Strict like all others: one of the wrong type is an error, and so is one
/// that stands twice.
pub(super) struct ProofClaims {
    pub(super) jti: String,
    pub(super) htm: String,
    pub(super) htu: String,
    pub(super) iat: u64,
    pub(super) ath: Option<String>,
    pub(super) nonce: Option<String>,
}

const MISSING: [&str; 5] = [
    "there is no `jti`",
    "there is no `htm`",
    "there is no `htu`",
    "there is no `iat`",
    "`jti` is empty, or longer than 256 bytes",
];

impl ProofClaims {
    pub(super) fn parse(json: &[u8]) -> Result<Self, &'static str> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        deserializer
            .deserialize_map(ClaimsVisitor)
            .and_then(|claims| deserializer.end().map(|()| claims))
            .map_err(|error| {
                let text = error.to_string();
                let known = MISSING.into_iter().find(|missing| text.starts_with(missing));
                known.unwrap_or_else(|| strict::reason(&error))
            })
    }
}

struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = ProofClaims;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the claims of a proof")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ProofClaims, A::Error> {
        let [mut jti, mut htm, mut htu, mut ath, mut nonce]: [Option<String>; 5] =
            Default::default();
        let mut iat = None;
        let mut seen = Seen::default();
        while let Some(Name(name)) = map.next_key()? {
            match name.as_ref() {
                "jti" => jti = Some(map.next_value()?),
                "htm" => htm = Some(map.next_value()?),
                "htu" => htu = Some(map.next_value()?),
                "iat" => iat = Some(date(&mut map)?),
                "ath" => ath = Some(map.next_value()?),
                "nonce" => nonce = Some(map.next_value()?),
                _ => map.next_value_seed(Skim(strict::DEEPEST))?,
            }
            seen.note(name)?;
        }
        let [no_jti, no_htm, no_htu, no_iat, no_name] = MISSING;
        let jti = jti.ok_or_else(|| A::Error::custom(no_jti))?;
        if !(1..=LONGEST_JTI).contains(&jti.len()) {
            return Err(A::Error::custom(no_name));
        }
        Ok(ProofClaims {
            jti,
            htm: htm.ok_or_else(|| A::Error::custom(no_htm))?,
            htu: htu.ok_or_else(|| A::Error::custom(no_htu))?,
            iat: iat.ok_or_else(|| A::Error::custom(no_iat))?,
            ath,
            nonce,
        })
    }
}
