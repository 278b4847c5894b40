//! The compact serialisation of JWS (RFC 7515 §7.1), read strictly and written fast.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use tegata_core::KeyId;

use crate::{
    key::{KeyRefused, SigningKey},
    strict::{self, Name, Seen, Skim},
};

/// No token is longer: what is longer is refused before it is looked at.
pub const LONGEST: usize = 8192;

/// Why a text is not a token that can be judged further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than [`LONGEST`].
    #[error("it is longer than 8192 bytes")]
    TooLong,
    /// Not three parts between two dots.
    #[error("it is not three parts separated by dots")]
    Shape,
    /// A part is not unpadded base64url in its canonical form.
    #[error("a part is not base64url")]
    Encoding,
    /// The header or the claims break a rule of JSON; see the text.
    #[error("the {part} cannot be used: {rule}")]
    Json {
        /// `header` or `claims`.
        part: &'static str,
        /// Which rule.
        rule: &'static str,
    },
    /// The header has a member that must not be there.
    #[error("the header has a member that is not accepted: `{0}`")]
    Header(&'static str),
}

/// A token taken apart: nothing of it is believed yet.
pub struct Compact<'t> {
    /// What was signed: header and claims in their encoded form.
    pub signed: &'t str,
    /// The header's members that matter.
    pub header: Header,
    /// The decoded claims: JSON, not yet read.
    pub claims: Vec<u8>,
    /// The decoded signature.
    pub signature: Vec<u8>,
}

impl std::fmt::Debug for Compact<'_> {
    /// Without what could be used as a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compact").field("header", &self.header).finish_non_exhaustive()
    }
}

/// A protected header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// What the token says it is signed with. Compared with the key's algorithm, never followed.
    pub alg: String,
    /// The key's name.
    pub kid: Option<String>,
    /// What kind of token it is.
    pub typ: Option<String>,
}

/// The name of the key that a token says it is signed with. Nothing is believed yet: this is for
/// finding the key.
#[must_use]
pub fn named_key(token: &str) -> Option<String> {
    Compact::parse(token).ok()?.header.kid
}

/// Header members by which a token would choose its own key, algorithm or meaning. They are refused
/// wherever they stand: RFC 8725 §3.10, RFC 7515 §4.1.11 (`crit` names only extensions that we
/// would have to understand, and we understand none), RFC 7797 (`b64`).
pub(crate) const REFUSED: [&str; 11] =
    ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc", "epk", "p2c", "cty"];

impl<'t> Compact<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(token: &'t str) -> Result<Self, Malformed> {
        if token.len() > LONGEST {
            return Err(Malformed::TooLong);
        }
        Self::danger_parse_any_length(token)
    }

    /// The same for what may be longer than a token, and whose length the caller has limited.
    pub(crate) fn danger_parse_any_length(token: &'t str) -> Result<Self, Malformed> {
        let Parts { signed, header, claims, signature } = Parts::take(token)?;
        Ok(Self { signed, header: Header::parse(&header)?, claims, signature })
    }
}

/// The three parts of a signed text, decoded and not yet read.
pub(crate) struct Parts<'t> {
    pub(crate) signed: &'t str,
    pub(crate) header: Vec<u8>,
    pub(crate) claims: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl<'t> Parts<'t> {
    /// The parts of a text that is no longer than a token.
    pub(crate) fn of(text: &'t str) -> Result<Self, Malformed> {
        if text.len() > LONGEST { Err(Malformed::TooLong) } else { Self::take(text) }
    }

    fn take(text: &'t str) -> Result<Self, Malformed> {
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed::Shape);
        };
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err(Malformed::Shape);
        }
        let signed = text.get(..header.len() + 1 + claims.len()).ok_or(Malformed::Shape)?;
        let header = decode(header)?;
        Ok(Self { signed, header, claims: decode(claims)?, signature: decode(signature)? })
    }
}

impl Compact<'_> {
    /// The name of the key that signed this, as it says. Nothing of it is believed.
    #[must_use]
    pub fn kid_of(text: &str) -> Option<String> {
        let (header, _) = text.split_once('.')?;
        let header = Some(header).filter(|header| header.len() <= LONGEST)?;
        Header::parse(&decode(header).ok()?).ok()?.kid
    }
}

/// Unpadded base64url without stray characters and without bits that say nothing, so that no two
/// texts are the same token (RFC 4648 §3.5).
fn decode(part: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed::Encoding)
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let malformed = |rule| Malformed::Json { part: "header", rule };
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        deserializer
            .deserialize_map(HeaderVisitor)
            .and_then(|header| deserializer.end().map(|()| header))
            .map_err(|error| malformed(strict::reason(&error)))?
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Result<Header, Malformed>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut header = Header::default();
        let mut refused = None;
        let mut alg = None;
        let mut seen = Seen::default();
        while let Some(Name(name)) = map.next_key()? {
            match name.as_ref() {
                "alg" => alg = Some(map.next_value::<String>()?),
                "kid" => header.kid = Some(map.next_value()?),
                "typ" => header.typ = Some(map.next_value()?),
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

/// Signs claims: `base64url(header).base64url(claims).base64url(signature)`.
///
/// # Errors
/// [`KeyRefused::NotMade`] if the crypto library fails.
pub fn sign(key: &SigningKey, typ: &str, claims: &[u8]) -> Result<String, KeyRefused> {
    sign_under(key, &header(key.kid(), key.algorithm().name(), typ), claims)
}

/// The same with a key that may be in a vault, for which it is waited.
///
/// # Errors
/// As [`SigningKey::signature`].
pub async fn signed(key: &SigningKey, typ: &str, claims: &[u8]) -> Result<String, KeyRefused> {
    let unsigned = unsigned(&header(key.kid(), key.algorithm().name(), typ), claims);
    let signature = key.signature(unsigned.as_bytes()).await?;
    Ok(with_signature(unsigned, &signature))
}

/// The same for a thread that may wait: never for one that serves requests.
///
/// # Errors
/// As [`SigningKey::signature`].
pub fn sign_waiting(key: &SigningKey, typ: &str, claims: &[u8]) -> Result<String, KeyRefused> {
    let unsigned = unsigned(&header(key.kid(), key.algorithm().name(), typ), claims);
    let signature = key.sign_waiting(unsigned.as_bytes())?;
    Ok(with_signature(unsigned, &signature))
}

/// Signs claims under a header.
pub(crate) fn sign_under(
    key: &SigningKey,
    header: &str,
    claims: &[u8],
) -> Result<String, KeyRefused> {
    let unsigned = unsigned(header, claims);
    let signature = key.sign(unsigned.as_bytes())?;
    Ok(with_signature(unsigned, &signature))
}

fn unsigned(header: &str, claims: &[u8]) -> String {
    // 86 characters for ECDSA and Ed25519, 342 and more for RSA.
    let mut token = String::with_capacity((header.len() + claims.len()) * 4 / 3 + 360);
    URL_SAFE_NO_PAD.encode_string(header, &mut token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    token
}

fn with_signature(mut token: String, signature: &[u8]) -> String {
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

fn header(kid: &KeyId, alg: &str, typ: &str) -> String {
    // A kid is visible ASCII, in which `"` and `\` are the only characters that JSON escapes.
    let kid = kid.as_str().replace('\\', "\\\\").replace('"', "\\\"");
    format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"{typ}"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    fn encoded(header: &str) -> String {
        format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn takes_apart_what_it_wrote() {
        let kid = KeyId::new(r#"odd"\kid"#).unwrap();
        let der = SigningKey::generate(Algorithm::Es256).unwrap().to_pkcs8().unwrap();
        let key = SigningKey::from_pkcs8(der.expose(), None, Some(kid)).unwrap();
        let token = sign(&key, "at+jwt", br#"{"sub":"x"}"#).unwrap();
        let compact = Compact::parse(&token).unwrap();
        assert_eq!(compact.header.kid.as_deref(), Some(r#"odd"\kid"#));
        assert_eq!(compact.header.alg, "ES256");
        assert_eq!(compact.header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(compact.claims, br#"{"sub":"x"}"#);
        assert!(token.starts_with(compact.signed));
    }

    #[test]
    fn refuses_every_header_by_which_a_token_chooses_its_own_rules() {
        assert!(Compact::parse(&encoded(r#"{"alg":"ES256","x5t":"a","extra":{"b":[1]}}"#)).is_ok());
        for name in REFUSED {
            let token = encoded(&format!(r#"{{"alg":"ES256","{name}":["x"]}}"#));
            assert_eq!(Compact::parse(&token).unwrap_err(), Malformed::Header(name));
            let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
            let token = encoded(&format!(r#"{{"alg":"ES256","{escaped}":null}}"#));
            assert_eq!(Compact::parse(&token).unwrap_err(), Malformed::Header(name));
        }
    }

    #[test]
    fn refuses_headers_that_two_parsers_could_read_differently() {
        for header in [
            r#"{"alg":"none","alg":"ES256"}"#,
            r#"{"alg":"ES256","x":{"a":1,"a":2}}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["ES256"]}"#,
            r#"{"kid":"k"}"#,
            r#"{"alg":"ES256","kid":7}"#,
            r#"["alg"]"#,
            r#""alg""#,
            "{\"alg\":\"ES256\"} {}",
            "",
        ] {
            assert!(Compact::parse(&encoded(header)).is_err(), "{header}");
        }
    }

    #[test]
    fn refuses_other_shapes_and_other_spellings() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
        let good = format!("{header}.e30.AA");
        assert!(Compact::parse(&good).is_ok());
        for bad in [
            String::new(),
            "..".into(),
            format!("{header}.e30"),
            format!("{header}.e30."),
            format!("{header}..AA"),
            format!("{good}.AA"),
            format!("{good}.AA.AA"),
            format!("{good}="),
            format!("{good}\n"),
            format!(" {good}"),
            format!("{header}.e30.AB"), // trailing bits that are not zero
            format!("{header}.e3+.AA"),
            format!("{header}.e3/.AA"),
            format!("{header}.e30.é"),
            good.replace('.', "\u{2024}"),
        ] {
            assert!(Compact::parse(&bad).is_err(), "{bad:?}");
        }
        let long = format!("{header}.{}.AA", "A".repeat(LONGEST));
        assert_eq!(Compact::parse(&long).unwrap_err(), Malformed::TooLong);
        assert!(Compact::parse(&".".repeat(LONGEST)).is_err());
    }
}
