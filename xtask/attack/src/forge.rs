//! Makes the tokens that cases show: of the issuer's key and what it would say, or of a good token alone, as whoever
//! has one can.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Map, Value, json};

use self::stranger::Stranger;
use crate::case::{How, Part, Shape, Signature, Token, Which};

mod members;
mod numbers;
pub mod public;
mod stranger;

/// The key of an issuer, on P-256.
#[derive(Debug)]
pub struct IssuerKey(EcdsaKeyPair);

impl IssuerKey {
    /// From a file, PKCS#8 in PEM.
    ///
    /// # Errors
    /// There is none in it.
    pub fn read(file: &Path) -> Result<Self> {
        let key = PrivatePkcs8KeyDer::from_pem_file(file)
            .map_err(|error| anyhow!("`{}` has no private key: {error}", file.display()))?;
        Self::of(key.secret_pkcs8_der())
    }

    /// From PKCS#8 in DER.
    ///
    /// # Errors
    /// It is none.
    pub fn of(der: &[u8]) -> Result<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        Ok(Self(pair.map_err(|_| anyhow!("the key is none of P-256"))?))
    }

    /// Its public half, as SPKI in DER.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        public::of_point(self.0.public_key().as_ref())
    }

    /// Signs by ES256.
    ///
    /// # Errors
    /// The crypto library fails.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>> {
        let signature = self.0.sign(&SystemRandom::new(), text);
        Ok(signature.map_err(|_| anyhow!("nothing can be signed"))?.as_ref().to_vec())
    }
}

/// What tokens are made of.
pub struct Forge<'f> {
    header: Said,
    claims: Said,
    by: By<'f>,
    /// The issuer's public key, as SPKI in DER.
    public: Option<Vec<u8>>,
    stranger: Stranger,
    now: u64,
    canary: String,
}

/// A part of a good token: what it says, and how that is written.
struct Said {
    members: Map<String, Value>,
    written: String,
}

/// Who vouches.
enum By<'f> {
    /// The issuer, for whatever it is asked to.
    Key(Box<Sign<'f>>),
    /// The issuer, for one text.
    Token { text: String, signature: Vec<u8> },
}

/// Signs by ES256.
type Sign<'f> = dyn Fn(&[u8]) -> Result<Vec<u8>> + 'f;

impl<'f> Forge<'f> {
    /// With the key of an issuer on P-256, of this name, and the claims of a good token. `now` is in seconds, `canary`
    /// an address that nobody may fetch from.
    ///
    /// # Errors
    /// The claims are no object, or there is no randomness.
    pub fn with_key(
        kid: &str,
        claims: &Value,
        (now, canary): (u64, &str),
        public: Vec<u8>,
        sign: impl Fn(&[u8]) -> Result<Vec<u8>> + 'f,
    ) -> Result<Self> {
        let header = json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"});
        Ok(Self {
            header: Said::of(&header)?,
            claims: Said::of(claims)?,
            by: By::Key(Box::new(sign)),
            public: Some(public),
            stranger: Stranger::new()?,
            now,
            canary: canary.to_owned(),
        })
    }

    /// With a good token, and the public key of its issuer where that is known (SPKI in DER). When it was issued
    /// counts for now.
    ///
    /// # Errors
    /// It is no token.
    pub fn of_token(token: &str, public: Option<Vec<u8>>, canary: &str) -> Result<Self> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            bail!("a token has three parts");
        };
        let (header, claims) = (Said::read(header)?, Said::read(claims)?);
        let text = format!("{}.{}", header.written, claims.written);
        let signature = URL_SAFE_NO_PAD.decode(signature).context("a signature is base64url")?;
        let now = claims.members.get("iat").and_then(Value::as_u64).context("there is no `iat`")?;
        Ok(Self {
            header,
            claims,
            by: By::Token { text, signature },
            public,
            stranger: Stranger::new()?,
            now,
            canary: canary.to_owned(),
        })
    }

    /// The public half of the key that is nobody's whom anybody trusts, as SPKI in DER.
    #[must_use]
    pub fn stranger(&self) -> Vec<u8> {
        self.stranger.key.public()
    }

    /// A token as a case wants it.
    ///
    /// # Errors
    /// What is missing to make it.
    pub fn token(&self, wanted: &Token) -> Result<String> {
        let written = |which| match wanted.shape {
            Shape::Written(how, part) if part == which => Some(how),
            _ => None,
        };
        let header = self.header(wanted)?;
        let header = self.header.part(&self.filled(&header)?, written(Which::Header))?;
        let claims = self.filled(&wanted.claims)?;
        let claims = self.claims.part(&claims, written(Which::Claims))?;
        let text = format!("{header}.{claims}");
        let mut signature = None;
        // One in some ten signatures has neither of the two letters in which the alphabets differ.
        for _ in 0..100 {
            let bytes = match wanted.shape {
                Shape::Polyglot => Some(self.right(&self.good())?),
                _ => self.signature(&wanted.signature, &text)?,
            };
            signature = bytes.map(|it| encoded(&it, written(Which::Signature)));
            if !matches!(signature, Some(Err(_))) {
                break;
            }
        }
        let Some(signature) = signature.transpose()? else { return Ok(text) };
        let good = self.good();
        let (good_header, good_claims) = good.split_once('.').unwrap_or_default();
        Ok(match wanted.shape {
            Shape::Compact | Shape::Written(..) => format!("{text}.{signature}"),
            Shape::Five => format!("{text}.{signature}.AAAA.AAAA"),
            Shape::Dots => format!("{text}.{signature}{}", ".".repeat(6000)),
            Shape::Encrypted => format!("{header}.AAAA.AAAA.{claims}.{signature}"),
            Shape::Flattened => format!(
                r#"{{"protected":"{header}","payload":"{claims}","signature":"{signature}"}}"#
            ),
            Shape::General => format!(
                r#"{{"payload":"{claims}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#
            ),
            Shape::Polyglot => format!(
                r#"{{"  {header}.{claims}.":"","protected":"{good_header}","payload":"{good_claims}","signature":"{signature}"}}"#
            ),
        })
    }

    /// What a good token would have signed.
    fn good(&self) -> String {
        format!("{}.{}", self.header.written, self.claims.written)
    }

    /// What the header says otherwise, beside what the case says: the kind, and what belongs to the signature.
    fn header(&self, wanted: &Token) -> Result<Part> {
        let mut part = wanted.header.clone();
        let mut further = Map::new();
        match wanted.typ.as_deref() {
            Some("") => part.without.push("typ".to_owned()),
            Some(typ) => drop(further.insert("typ".to_owned(), typ.into())),
            None => {}
        }
        match wanted.signature {
            Signature::EmbeddedJwk => {
                drop(further.insert(
                    "jwk".to_owned(),
                    serde_json::from_str(&public::jwk(&self.stranger())?)?,
                ));
            }
            Signature::X5c => drop(further.insert(
                "x5c".to_owned(),
                json!([
                    base64::engine::general_purpose::STANDARD.encode(&self.stranger.certificate)
                ]),
            )),
            _ => {}
        }
        if matches!(wanted.signature, Signature::EmbeddedJwk | Signature::X5c) {
            further.insert("alg".to_owned(), "ES256".into());
        }
        if !further.is_empty() {
            let text = part.text.unwrap_or_else(|| "{}".to_owned());
            part.text = Some(members::with(&Value::Object(further).to_string(), &text)?);
        }
        Ok(part)
    }

    fn filled(&self, part: &Part) -> Result<Part> {
        let text = part.text.as_deref().map(|text| members::filled(text, |it| self.place(it)));
        Ok(Part { text: text.transpose()?, without: part.without.clone() })
    }

    /// What a place in a text stands for; `None`: it is none.
    fn place(&self, place: &str) -> Result<Option<String>> {
        if let Some(offset) = place.strip_prefix("now") {
            let moment = self.now.checked_add_signed(offset.parse()?).context("no such moment")?;
            return Ok(Some(moment.to_string()));
        }
        if place == "canary" {
            return Ok(Some(self.canary.clone()));
        }
        if place == "kid" {
            return Ok(Some(name(&self.header.members, "kid")?.to_owned()));
        }
        let mut words = place.split('/');
        let whole = match words.next() {
            Some("issuer") => name(&self.claims.members, "iss")?,
            Some("audience") => name(&self.claims.members, "aud")?,
            _ => return Ok(None),
        };
        Ok(Some(match (words.next(), words.next(), words.next()) {
            (None, ..) => whole.to_owned(),
            (Some(from), Some(to), None) => {
                ensure!(whole.contains(from), "`{whole}` has no `{from}`");
                whole.replace(from, to)
            }
            _ => bail!("`{place}` is no place"),
        }))
    }

    fn signature(&self, wanted: &Signature, text: &str) -> Result<Option<Vec<u8>>> {
        Ok(Some(match wanted {
            Signature::None => return Ok(None),
            Signature::Empty => vec![],
            Signature::Zero => vec![0; 64],
            Signature::Right => self.right(text)?,
            Signature::Der => numbers::der(&self.of_p256(text)?)?,
            Signature::HighS => numbers::with_high(&self.of_p256(text)?)?,
            Signature::LowS => numbers::with_low(&self.of_p256(text)?)?,
            Signature::Truncated => {
                let mut signature = self.right(text)?;
                signature.pop();
                signature
            }
            Signature::Flipped => {
                let mut signature = self.right(text)?;
                *signature.last_mut().context("a signature has bytes")? ^= 1;
                signature
            }
            Signature::Hmac(key) => mac(key.as_bytes(), text),
            Signature::HmacPublic(form) => {
                let public = self.public.as_deref();
                let public = public.context("the issuer's public key (`--public-key`)")?;
                mac(&public::in_form(public, *form)?, text)
            }
            Signature::Other => {
                self.check_es256()?;
                self.stranger.key.sign(text.as_bytes())?
            }
            Signature::EmbeddedJwk | Signature::X5c => self.stranger.key.sign(text.as_bytes())?,
        }))
    }

    /// The issuer's signature.
    fn right(&self, text: &str) -> Result<Vec<u8>> {
        match &self.by {
            By::Key(sign) => sign(text.as_bytes()),
            By::Token { text: own, signature } if own == text => Ok(signature.clone()),
            By::Token { .. } => {
                bail!("the key of the issuer, which only a gateway of its own has")
            }
        }
    }

    fn of_p256(&self, text: &str) -> Result<Vec<u8>> {
        self.check_es256()?;
        self.right(text)
    }

    fn check_es256(&self) -> Result<()> {
        let is_es256 = name(&self.header.members, "alg")? == "ES256";
        ensure!(is_es256, "a good token that is signed with ES256");
        Ok(())
    }
}

impl Said {
    fn of(said: &Value) -> Result<Self> {
        let members = said.as_object().context("a part is an object")?.clone();
        Ok(Self { members, written: URL_SAFE_NO_PAD.encode(said.to_string()) })
    }

    fn read(written: &str) -> Result<Self> {
        let text = URL_SAFE_NO_PAD.decode(written).context("a part is base64url")?;
        let members = serde_json::from_slice(&text).context("a part is an object")?;
        Ok(Self { members, written: written.to_owned() })
    }

    /// The part as it is written, with what a case says.
    fn part(&self, other: &Part, how: Option<How>) -> Result<String> {
        if *other == Part::default() && how.is_none() {
            return Ok(self.written.clone());
        }
        let mut text = members::said(&self.members, other)?;
        if matches!(how, Some(How::Padded | How::Loose)) {
            // Of JSON, white space at its end is no part; of what is encoded, it moves the end.
            while text.len().is_multiple_of(3) {
                text.push(' ');
            }
        }
        encoded(text.as_bytes(), how)
    }
}

/// A member that is a text, or the first of several.
fn name<'m>(members: &'m Map<String, Value>, member: &str) -> Result<&'m str> {
    let value = members.get(member).map(|value| match value {
        Value::Array(several) => several.first().unwrap_or(value),
        one => one,
    });
    value.and_then(Value::as_str).with_context(|| format!("a good token has no `{member}`"))
}

/// Bytes as a part is written, or as it must not be.
fn encoded(bytes: &[u8], how: Option<How>) -> Result<String> {
    let text = URL_SAFE_NO_PAD.encode(bytes);
    Ok(match how {
        None => text,
        Some(How::Empty) => String::new(),
        Some(How::Padded) => {
            let padded = URL_SAFE.encode(bytes);
            ensure!(padded != text, "there is nothing to pad");
            padded
        }
        Some(How::Alphabet) => {
            let other = STANDARD_NO_PAD.encode(bytes);
            ensure!(other != text, "it is the same in both alphabets");
            other
        }
        Some(How::Spaced) => {
            let (first, rest) = text.split_at(text.len() / 2);
            format!("{first} {rest}")
        }
        Some(How::Loose) => {
            ensure!(!bytes.len().is_multiple_of(3), "there are no bits that say nothing");
            // The last letter ends with bits that are zero, so that the next one differs in them alone.
            let mut letters = text.into_bytes();
            let last = letters.last_mut().context("there are letters")?;
            *last = match *last {
                b'A'..=b'Y' | b'a'..=b'y' | b'0'..=b'8' => *last + 1,
                other => bail!("`{}` ends with a bit that says something", char::from(other)),
            };
            String::from_utf8(letters)?
        }
    })
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests;
