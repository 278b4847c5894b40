//! Client assertions: how a client proves itself with a key of its own (RFC 7523 §3,
//! `private_key_jwt` of OpenID Connect Core §9).

use std::time::Duration;

use serde::Deserialize;
use tegata_core::Timestamp;

use crate::{
    Algorithm,
    claims::Claims,
    jws::{Compact, Malformed},
    verifier::KeySet,
};

/// How far in the future an assertion may expire.
const LONGEST: Duration = Duration::from_secs(300);
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// An assertion that has been verified. It counts once: whoever accepts it remembers `jti` until
/// `forget_at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAssertion {
    /// The client that made it.
    pub client: String,
    /// Its name, used once.
    pub jti: String,
    /// When its name may be forgotten.
    pub forget_at: Timestamp,
}

/// Whose assertions are accepted, and which.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedAssertion<'a> {
    /// The client that must have made it.
    pub client: &'a str,
    /// The client's keys.
    pub keys: &'a KeySet,
    /// The only algorithm that counts, where one was registered.
    pub algorithm: Option<Algorithm>,
    /// The issuer that it must be for.
    pub issuer: &'a str,
    /// What it may name in the issuer's place: addresses of endpoints, where that is allowed.
    pub danger_others: &'a [String],
    /// Whether a list with one audience is refused, too (FAPI 2.0 Security Profile §5.3.2.1, item 8).
    pub bare_audience: bool,
}

/// Why an assertion is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionRefused {
    /// It is not a token.
    #[error("the assertion is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// It is another kind of token.
    #[error("the assertion's `typ` is not that of an assertion")]
    Kind,
    /// None of the client's keys is named, or the algorithm is not the key's or the registered one.
    #[error("the assertion names no key of the client, or another algorithm than may be")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the assertion's signature is not valid")]
    Signature,
    /// The claims cannot be read.
    #[error("the assertion's claims cannot be used: {0}")]
    Claims(&'static str),
    /// `iss` and `sub` are not both the client.
    #[error("`iss` and `sub` are not both the client's id")]
    Subject,
    /// `aud` is not the issuer, or what may stand in its place, alone.
    #[error("`aud` must be the issuer identifier and nothing else")]
    Audience,
    /// It has expired, is not valid yet, or lives longer than five minutes.
    #[error("the assertion has expired, is not valid yet, or lives longer than 300 seconds")]
    Time,
}

impl ClientAssertion {
    /// The client that an assertion says it is of. Nothing is believed yet: this is for finding the
    /// keys to verify it with.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn claimed_client(assertion: &str) -> Result<String, AssertionRefused> {
        let compact = Compact::parse(assertion)?;
        Ok(Claims::parse_assertion(&compact.claims).map_err(AssertionRefused::Claims)?.sub)
    }

    /// Verifies an assertion.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn verify(
        assertion: &str,
        expected: &ExpectedAssertion<'_>,
        now: Timestamp,
    ) -> Result<Self, AssertionRefused> {
        let compact = Compact::parse(assertion)?;
        // RFC 7523 names no `typ`; clients send none, `JWT`, or the newer explicit one.
        let kinds = ["jwt", "client-authentication+jwt"];
        let typ = compact.header.typ.as_deref().map(str::to_ascii_lowercase);
        if typ.is_some_and(|typ| !kinds.contains(&typ.as_str())) {
            return Err(AssertionRefused::Kind);
        }
        let key = expected
            .keys
            .of_client(compact.header.kid.as_deref(), &compact.header.alg)
            .filter(|key| expected.algorithm.is_none_or(|only| only == key.algorithm()))
            .ok_or(AssertionRefused::UnknownKey)?;
        if !key.verifies(compact.signed.as_bytes(), &compact.signature) {
            return Err(AssertionRefused::Signature);
        }
        let claims = Claims::parse_assertion(&compact.claims).map_err(AssertionRefused::Claims)?;
        if claims.iss != expected.client || claims.sub != expected.client {
            return Err(AssertionRefused::Subject);
        }
        // One audience, and the issuer's own: an assertion that was meant for somebody else cannot
        // be used here, and the one meant for us can be used nowhere else.
        let [audience] = claims.aud.0.as_slice() else { return Err(AssertionRefused::Audience) };
        let is_ours = audience == expected.issuer || expected.danger_others.contains(audience);
        if !is_ours || (expected.bare_audience && !is_bare(&compact.claims)) {
            return Err(AssertionRefused::Audience);
        }
        let expires = Timestamp::from_secs(claims.exp);
        let begins = Timestamp::from_secs(claims.nbf.unwrap_or(0).max(claims.iat));
        if now >= expires + LEEWAY || expires > now + LONGEST + LEEWAY || begins > now + LEEWAY {
            return Err(AssertionRefused::Time);
        }
        Ok(Self { client: claims.sub, jti: claims.jti, forget_at: expires + LEEWAY })
    }
}

/// Whether the audience is a string, and no list with one.
fn is_bare(claims: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Bare {
        #[serde(rename = "aud")]
        _aud: String,
    }
    serde_json::from_slice::<Bare>(claims).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::{Algorithm, SigningKey, VerifyingKey, jws};

    const ISSUER: &str = "https://issuer.example";

    fn now() -> Timestamp {
        Timestamp::from_secs(1_767_225_600)
    }

    fn good() -> Value {
        let now = now().secs();
        json!({"iss": "web", "sub": "web", "aud": ISSUER, "exp": now + 60, "iat": now, "jti": "a"})
    }

    fn verify(
        key: &SigningKey,
        typ: &str,
        claims: &Value,
    ) -> Result<ClientAssertion, AssertionRefused> {
        let keys = KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())]);
        let text = jws::sign(key, typ, claims.to_string().as_bytes()).unwrap();
        ClientAssertion::verify(&text, &expected(&keys), now())
    }

    fn expected(keys: &KeySet) -> ExpectedAssertion<'_> {
        ExpectedAssertion {
            client: "web",
            keys,
            algorithm: None,
            issuer: ISSUER,
            danger_others: &[],
            bare_audience: false,
        }
    }

    #[test]
    fn accepts_a_good_assertion_with_or_without_an_issue_time() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            assert_eq!(verify(&key, "JWT", &good()).unwrap().jti, "a");
            let mut without = good();
            without.as_object_mut().unwrap().remove("iat");
            assert!(verify(&key, "client-authentication+jwt", &without).is_ok());
        }
    }

    #[test]
    fn refuses_each_deviation() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let secs = now().secs();
        let cases = [
            ("iss", json!("other"), AssertionRefused::Subject),
            ("sub", json!("other"), AssertionRefused::Subject),
            ("aud", json!("https://issuer.example/"), AssertionRefused::Audience),
            ("aud", json!("https://issuer.example/oauth2/token"), AssertionRefused::Audience),
            ("aud", json!([ISSUER, "https://evil.example"]), AssertionRefused::Audience),
            ("aud", json!([]), AssertionRefused::Audience),
            ("exp", json!(secs - 30), AssertionRefused::Time),
            ("exp", json!(secs + 331), AssertionRefused::Time),
            ("iat", json!(secs + 31), AssertionRefused::Time),
            ("nbf", json!(secs + 31), AssertionRefused::Time),
        ];
        for (name, value, refused) in cases {
            let mut claims = good();
            claims[name] = value.clone();
            assert_eq!(verify(&key, "JWT", &claims), Err(refused), "{name} = {value}");
        }
        for name in ["iss", "sub", "aud", "exp", "jti"] {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove(name);
            assert!(matches!(verify(&key, "JWT", &claims), Err(AssertionRefused::Claims(_))));
        }
        for typ in ["at+jwt", "dpop+jwt", "logout+jwt"] {
            assert_eq!(verify(&key, typ, &good()), Err(AssertionRefused::Kind));
        }
    }

    #[test]
    fn refuses_other_keys() {
        let (key, other) = (
            SigningKey::generate(Algorithm::Es256).unwrap(),
            SigningKey::generate(Algorithm::Es256).unwrap(),
        );
        let text = jws::sign(&key, "JWT", good().to_string().as_bytes()).unwrap();
        let keys = KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(other.jwk()).unwrap())]);
        let refused = ClientAssertion::verify(&text, &expected(&keys), now());
        assert_eq!(refused, Err(AssertionRefused::UnknownKey));
    }

    #[test]
    fn refuses_the_other_algorithms_of_a_client_that_has_registered_one() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let keys = KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())]);
        let text = jws::sign(&key, "JWT", good().to_string().as_bytes()).unwrap();
        let verify = |algorithm| {
            let only = ExpectedAssertion { algorithm: Some(algorithm), ..expected(&keys) };
            ClientAssertion::verify(&text, &only, now())
        };
        assert!(verify(Algorithm::Es256).is_ok());
        for other in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::EdDsa] {
            assert_eq!(verify(other), Err(AssertionRefused::UnknownKey), "{other}");
        }
    }

    #[test]
    fn what_stands_in_the_issuers_place_stands_there_alone_and_a_list_is_no_string() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let keys = KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())]);
        let endpoint = "https://issuer.example/oauth2/token";
        let others = [endpoint.to_owned()];
        let verify = |aud: Value, others: &[String], bare_audience| {
            let mut claims = good();
            claims["aud"] = aud;
            let text = jws::sign(&key, "JWT", claims.to_string().as_bytes()).unwrap();
            let expected =
                ExpectedAssertion { danger_others: others, bare_audience, ..expected(&keys) };
            ClientAssertion::verify(&text, &expected, now()).map(|_| ())
        };
        let refused = Err(AssertionRefused::Audience);
        for aud in [json!(ISSUER), json!(endpoint), json!([ISSUER]), json!([endpoint])] {
            assert_eq!(verify(aud, &others, false), Ok(()));
        }
        for aud in [
            json!([ISSUER, endpoint]),
            json!([endpoint, endpoint]),
            json!([endpoint, "https://evil.example"]),
            json!("https://issuer.example/oauth2/par"),
            json!("https://issuer.example/oauth2/token/"),
        ] {
            assert_eq!(verify(aud.clone(), &others, false), refused, "{aud}");
        }
        assert_eq!(verify(json!(endpoint), &[], false), refused);
        assert_eq!(verify(json!(ISSUER), &[], true), Ok(()));
        assert_eq!(verify(json!([ISSUER]), &[], true), refused);
    }
}
