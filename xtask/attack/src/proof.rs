//! Proofs that whoever asks has a key (RFC 9449): good ones, for those who come beside the ill-meaning.

use anyhow::{Context as _, Result};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::forge::{IssuerKey, public};

/// What a proof is about.
#[derive(Debug, Clone, Copy)]
pub struct Proven<'p> {
    /// The method of the request.
    pub method: &'p str,
    /// Where it is sent.
    pub target: &'p str,
    /// The moment, in seconds since 1970.
    pub now: u64,
    /// Another one for each proof.
    pub id: &'p str,
    /// The token that is shown beside it, if any.
    pub token: Option<&'p str>,
    /// What the server said last in `DPoP-Nonce`, if anything.
    pub nonce: Option<&'p str>,
}

impl Proven<'_> {
    /// The proof, signed by the key.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn by(&self, key: &IssuerKey) -> Result<String> {
        let jwk: Value = serde_json::from_str(&public::jwk(&key.public())?)?;
        let head = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let mut claims = json!({
            "jti": self.id, "htm": self.method, "htu": self.target, "iat": self.now,
        });
        let said = claims.as_object_mut().context("claims are an object")?;
        if let Some(token) = self.token {
            said.insert("ath".to_owned(), hash(token.as_bytes()).into());
        }
        if let Some(nonce) = self.nonce {
            said.insert("nonce".to_owned(), nonce.into());
        }
        let text = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = key.sign(text.as_bytes())?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// SHA-256, in base64url.
fn hash(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_proof_names_its_key_and_the_token() {
        // RFC 9449 §7.1.
        let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
        assert_eq!(hash(token.as_bytes()), "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
        let file = "../../crates/gateway/tests/gateway/tls/key.pem";
        let key = IssuerKey::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let proven = Proven {
            method: "GET",
            target: "https://localhost/a",
            now: 7,
            id: "one",
            token: Some(token),
            nonce: None,
        };
        let proof = proven.by(&key).unwrap();
        let parts: Vec<Value> = (proof.split('.').take(2))
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts[1]["ath"], "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
        let x = URL_SAFE_NO_PAD.decode(parts[0]["jwk"]["x"].as_str().unwrap()).unwrap();
        assert_eq!(x.len(), 32);
    }
}
