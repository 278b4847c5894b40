//! Tokens that are signed with the right key, and of which something is not as it must be.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{SignatureScheme, crypto::aws_lc_rs::sign::any_ecdsa_type, sign::SigningKey};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Map, Value, json};

use crate::case::Signed;

/// The key of an issuer, on P-256.
#[derive(Debug)]
pub struct IssuerKey(Arc<dyn SigningKey>);

impl IssuerKey {
    /// From a file, PKCS#8 in PEM.
    ///
    /// # Errors
    /// There is none in it.
    pub fn read(file: &Path) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_file(file)
            .with_context(|| format!("`{}` has no private key", file.display()))?;
        Ok(Self(any_ecdsa_type(&key)?))
    }

    /// Its public half, as a JWK (RFC 7518 §6.2.1).
    ///
    /// # Errors
    /// It does not say.
    pub fn public(&self) -> Result<Value> {
        let info = self.0.public_key().context("the key has no public half")?;
        // A point that is not compressed stands at the end (RFC 5480 §2.2).
        let at = info.len().checked_sub(64).context("the key is not on P-256")?;
        let (x, y) = info.get(at..).unwrap_or_default().split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        Ok(json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}))
    }

    /// Signs by ES256.
    ///
    /// # Errors
    /// It is a key on another curve.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>> {
        let signer = self.0.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
        let signature = signer.context("the key is not on P-256")?.sign(text)?;
        raw(&signature).context("the signature is none of P-256")
    }
}

/// Two numbers of 32 bytes each, as JWS has them (RFC 7518 §3.4), of two in DER.
fn raw(der: &[u8]) -> Option<Vec<u8>> {
    let (first, _) = integer(der.get(2..)?)?;
    let (second, _) = integer(der.get(2 + 2 + usize::from(*der.get(3)?)..)?)?;
    Some([first, second].concat())
}

fn integer(der: &[u8]) -> Option<([u8; 32], u8)> {
    let (head, rest) = der.split_first_chunk::<2>()?;
    let [kind, length] = *head;
    let bytes = rest.get(..usize::from(length)).filter(|_| kind == 2)?;
    // One that begins with a high bit has a zero before it, and zeros at its beginning are missing.
    let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let mut whole = [0; 32];
    whole.get_mut(32_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some((whole, length))
}

impl Signed {
    /// The token: as a good one with these claims, but for what the case says. `now` is in seconds, `canary` an
    /// address that nobody may fetch from.
    ///
    /// # Errors
    /// The case cannot be read, or nothing be signed.
    pub fn token(
        &self,
        (kid, claims): (&str, Value),
        (now, canary): (u64, &str),
        sign: impl Fn(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<String> {
        let mut header = json!({"alg": "ES256", "kid": kid});
        match self.typ.as_deref() {
            Some("") => {}
            typ => insert(&mut header, "typ", typ.unwrap_or("at+jwt").into()),
        }
        let header = merged(header, members(self.header.as_deref(), now, canary)?)?;
        let claims = merged(claims, members(self.claims.as_deref(), now, canary)?)?;
        let text = [header, claims].map(|it| URL_SAFE_NO_PAD.encode(it)).join(".");
        let signature = sign(text.as_bytes())?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn insert(all: &mut Value, name: &str, value: Value) {
    if let Some(all) = all.as_object_mut() {
        all.insert(name.to_owned(), value);
    }
}

/// The members that a case names.
fn members(text: Option<&str>, now: u64, canary: &str) -> Result<Map<String, Value>> {
    let mut text = text.unwrap_or("{}").replace("{canary}", canary);
    while let Some((before, after)) = text.split_once("{now") {
        let (offset, after) = after.split_once('}').context("a moment ends with `}`")?;
        let moment = now.checked_add_signed(offset.parse()?).context("no such moment")?;
        text = format!("{before}{moment}{after}");
    }
    // What is no number is one for those who read it as text.
    Ok(serde_json::from_str(&text)
        .unwrap_or_else(|_| [("raw".to_owned(), Value::from(text.as_str()))].into_iter().collect()))
}

fn merged(mut all: Value, members: Map<String, Value>) -> Result<String> {
    for (name, value) in members {
        let Some(known) = all.as_object_mut() else { bail!("there are no members") };
        match value {
            Value::Null => drop(known.shift_remove(&name)),
            value if name == "raw" => {
                // A second member of the same name would be another case.
                let text = value.as_str().unwrap_or_default().trim_matches(['{', '}']);
                known.shift_remove(text.split('"').nth(1).context("a member has a name")?);
                let whole = all.to_string();
                return Ok(format!("{},{text}}}", whole.trim_end_matches('}')));
            }
            value => drop(known.insert(name, value)),
        }
    }
    Ok(all.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_length_have_one() {
        // The first is longer than 32 bytes, for its high bit; the second shorter.
        let der = [&[0x30, 0x45, 2, 33, 0][..], &[0xff; 32], &[2, 31], &[7; 31]].concat();
        let raw = raw(&der).unwrap();
        assert_eq!(raw, [&[0xff; 32][..], &[0], &[7; 31]].concat());
        assert!(super::raw(&der[..20]).is_none() && super::raw(&[]).is_none());
    }

    #[test]
    fn a_case_changes_of_a_good_token_what_it_names() {
        let claims = json!({"iss": "a", "exp": 9, "sub": "s"});
        let made = |signed: Signed| {
            let sign = |_: &[u8]| Ok(vec![1, 2, 3]);
            let token = signed.token(("k", claims.clone()), (100, "http://x/"), sign).unwrap();
            let part = |n| {
                let part = token.split('.').nth(n).unwrap().to_owned();
                String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
            };
            (part(0), part(1))
        };
        let good = made(Signed::default());
        assert_eq!(good.0, r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#);
        assert_eq!(good.1, claims.to_string());
        let other = made(Signed {
            typ: Some(String::new()),
            header: Some(r#"{"jku": "{canary}"}"#.to_owned()),
            claims: Some(r#"{"sub": null, "exp": {now-5}}"#.to_owned()),
        });
        assert_eq!(other.0, r#"{"alg":"ES256","kid":"k","jku":"http://x/"}"#);
        assert_eq!(other.1, r#"{"iss":"a","exp":95}"#);
        // No number of JSON, as it stands.
        let odd =
            made(Signed { claims: Some(r#"{"exp": 1e999999x}"#.to_owned()), ..Signed::default() });
        assert_eq!(odd.1, r#"{"iss":"a","sub":"s","exp": 1e999999x}"#);
    }
}
