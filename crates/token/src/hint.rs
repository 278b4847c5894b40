//! ID tokens that come back to their issuer as a hint about who asks (OpenID Connect Core §3.1.2.1).

use crate::{claims::Claims, jws::Compact, verifier::KeySet};

/// What an ID token of this issuer said, however long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTokenHint {
    /// Whom it spoke of.
    pub sub: String,
    /// Which client it was for.
    pub client: String,
    /// Which session it spoke of.
    pub sid: Option<String>,
}

/// The text is not an ID token of this issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an ID token of this issuer")]
pub struct NotAnIdToken;

impl IdTokenHint {
    /// Reads an ID token that this issuer signed. It may have expired: a hint gives nothing away.
    ///
    /// # Errors
    /// [`NotAnIdToken`], whatever is wrong.
    pub fn read(token: &str, keys: &KeySet, issuer: &str) -> Result<Self, NotAnIdToken> {
        let compact = Compact::parse(token).map_err(|_| NotAnIdToken)?;
        let kid = compact.header.kid.as_deref().ok_or(NotAnIdToken)?;
        let key = keys.named(kid).ok_or(NotAnIdToken)?;
        let is_id_token = compact.header.typ.as_deref().is_none_or(|typ| typ == "JWT");
        if !is_id_token
            || compact.header.alg != key.algorithm().name()
            || !key.verifies(compact.signed.as_bytes(), &compact.signature)
        {
            return Err(NotAnIdToken);
        }
        let claims = Claims::parse_id(&compact.claims).map_err(|_| NotAnIdToken)?;
        let ([client], true) = (claims.aud.0.as_slice(), claims.iss == issuer) else {
            return Err(NotAnIdToken);
        };
        Ok(Self { sub: claims.sub, client: client.clone(), sid: claims.sid })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{Algorithm, SigningKey, VerifyingKey, jws};

    #[test]
    fn reads_old_id_tokens_of_its_own_and_nothing_else() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let other = SigningKey::generate(Algorithm::Es256).unwrap();
        let set = KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())]);
        let claims =
            json!({"iss": "i", "sub": "usr_1", "aud": "web", "exp": 2, "iat": 1, "sid": "1.2.s"});
        let text = claims.to_string();
        let read = |key: &SigningKey, typ: &str, issuer: &str| {
            IdTokenHint::read(&jws::sign(key, typ, text.as_bytes()).unwrap(), &set, issuer)
        };
        let hint = read(&key, "JWT", "i").unwrap();
        assert_eq!((hint.sub.as_str(), hint.client.as_str()), ("usr_1", "web"));
        assert!(read(&other, "JWT", "i").is_err());
        assert!(read(&key, "at+jwt", "i").is_err());
        assert!(read(&key, "JWT", "j").is_err());
        assert!(IdTokenHint::read("x", &set, "i").is_err());
    }
}
