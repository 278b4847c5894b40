use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use tegata_core::ManualClock;

use super::*;
use crate::{
    AccessToken, Algorithm, Claims, Expected, ExpectedAudience, InternalToken, Memory, SigningKey,
    Verifier, VerifyingKey, hint::IdTokenHint, jws, verifier::TokenKind,
};

const ISSUER: &str = "https://transmitter.example";
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

fn now() -> Timestamp {
    Timestamp::from_secs(1_767_225_600)
}

fn expected() -> ExpectedSet {
    ExpectedSet {
        issuer: ISSUER.into(),
        audiences: vec!["receiver".into()],
        longest: Duration::from_secs(7 * 86_400),
    }
}

fn good() -> Value {
    json!({
        "iss": ISSUER, "aud": "receiver", "iat": now().secs(), "jti": "a", "txn": "t",
        "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "usr_1"},
        "events": {REVOKED: {"event_timestamp": now().secs()}},
    })
}

fn set_of(keys: &[&SigningKey]) -> KeySet {
    let parsed = keys.iter().map(|key| Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap()));
    KeySet::new(parsed.collect())
}

fn verify(key: &SigningKey, typ: &str, claims: &Value) -> Result<SecurityEventToken, SetRefused> {
    let text = jws::sign(key, typ, claims.to_string().as_bytes()).unwrap();
    SecurityEventToken::verify(&text, &set_of(&[key]), &expected(), now())
}

#[test]
fn reads_what_it_wrote_with_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let key = SigningKey::generate(algorithm).unwrap();
        for typ in ["secevent+jwt", "SECEVENT+JWT", "application/secevent+jwt"] {
            let token = verify(&key, typ, &good()).unwrap();
            assert_eq!((token.jti.as_str(), token.events.uri.as_str()), ("a", REVOKED));
            assert_eq!(SecurityEventToken::parse(&token.to_json()), Ok(token));
        }
    }
}

#[test]
fn refuses_each_deviation_with_the_code_that_names_it() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let secs = now().secs();
    for (name, value, code) in [
        ("iss", json!("https://evil.example"), "invalid_issuer"),
        ("iss", json!(format!("{ISSUER}/")), "invalid_issuer"),
        ("iss", json!([ISSUER]), "invalid_request"),
        ("aud", json!("somebody else"), "invalid_audience"),
        ("aud", json!([]), "invalid_audience"),
        ("aud", json!(7), "invalid_request"),
        ("iat", json!(secs + 61), "invalid_request"),
        ("iat", json!(secs - 8 * 86_400), "invalid_request"),
        ("iat", json!("now"), "invalid_request"),
        ("iat", json!(-1), "invalid_request"),
        ("exp", json!(secs + 60), "invalid_request"),
        ("exp", Value::Null, "invalid_request"),
        ("sub", json!("usr_1"), "invalid_request"),
        ("sub", Value::Null, "invalid_request"),
        ("jti", json!(""), "invalid_request"),
        ("jti", json!("x".repeat(257)), "invalid_request"),
        ("sub_id", json!("usr_1"), "invalid_request"),
        ("events", json!({}), "invalid_request"),
        ("events", json!({REVOKED: {}, "urn:other": {}}), "invalid_request"),
        ("events", json!({REVOKED: "x"}), "invalid_request"),
        ("events", json!([REVOKED]), "invalid_request"),
        ("txn", json!(1), "invalid_request"),
    ] {
        let mut claims = good();
        claims[name] = value.clone();
        let refused = verify(&key, "secevent+jwt", &claims).unwrap_err();
        assert_eq!(refused.code(), code, "{name} = {value}: {refused}");
    }
    for name in ["iss", "aud", "iat", "jti", "sub_id", "events"] {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        let refused = verify(&key, "secevent+jwt", &claims).unwrap_err();
        assert_eq!(refused.code(), "invalid_request", "{name}");
    }
}

#[test]
fn refuses_other_keys_other_algorithms_and_none() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let other = SigningKey::generate(Algorithm::Es256).unwrap();
    let text = jws::sign(&key, "secevent+jwt", good().to_string().as_bytes()).unwrap();
    let verify =
        |text: &str, set: &KeySet| SecurityEventToken::verify(text, set, &expected(), now());
    assert_eq!(verify(&text, &set_of(&[&other])), Err(SetRefused::UnknownKey));
    assert_eq!(verify(&text, &KeySet::default()), Err(SetRefused::UnknownKey));
    let set = set_of(&[&key]);
    let parts: Vec<_> = text.split('.').collect();
    let altered = good().to_string().replace("usr_1", "usr_2");
    let altered = URL_SAFE_NO_PAD.encode(altered);
    assert_eq!(
        verify(&format!("{}.{altered}.{}", parts[0], parts[2]), &set),
        Err(SetRefused::Signature)
    );
    for alg in ["none", "None", "HS256", "RS256", "ES384"] {
        let header = json!({"alg": alg, "kid": key.kid(), "typ": "secevent+jwt"}).to_string();
        let header = URL_SAFE_NO_PAD.encode(header);
        for signature in [parts[2], "AA", ""] {
            let forged = format!("{header}.{}.{signature}", parts[1]);
            assert!(verify(&forged, &set).is_err(), "{alg} {signature}");
        }
    }
    let nameless = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"secevent+jwt"}"#);
    let nameless = format!("{nameless}.{}.{}", parts[1], parts[2]);
    assert_eq!(verify(&nameless, &set), Err(SetRefused::UnknownKey));
}

#[test]
fn no_other_token_passes_for_it_and_it_passes_for_no_other() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    for typ in ["at+jwt", "JWT", "logout+jwt", "tegata-internal+jwt", "statuslist+jwt", ""] {
        assert_eq!(verify(&key, typ, &good()), Err(SetRefused::Kind), "{typ}");
    }
    let text = jws::sign(&key, "secevent+jwt", good().to_string().as_bytes()).unwrap();
    assert!(!passes::<AccessToken>(&key, &text) && !passes::<InternalToken>(&key, &text));
    assert!(IdTokenHint::read(&text, &set_of(&[&key]), ISSUER).is_err());
    // Not even where everything that an access token needs is there: its `typ` says what it is.
    let claims = Claims {
        iss: ISSUER.into(),
        sub: "usr_1".into(),
        aud: "receiver".into(),
        exp: now().secs() + 60,
        iat: now().secs(),
        jti: "1.a".into(),
        ..Claims::default()
    };
    let text = jws::sign(&key, "secevent+jwt", &claims.to_json()).unwrap();
    assert!(!passes::<AccessToken>(&key, &text));
    let text = jws::sign(&key, "at+jwt", &claims.to_json()).unwrap();
    assert!(passes::<AccessToken>(&key, &text));
    let set = set_of(&[&key]);
    let refused = SecurityEventToken::verify(&text, &set, &expected(), now());
    assert_eq!(refused, Err(SetRefused::Kind));
    // And under the right name, it says what an event must not say.
    assert!(matches!(
        verify(&key, "secevent+jwt", &serde_json::from_slice(&claims.to_json()).unwrap()),
        Err(SetRefused::Claims(_))
    ));
}

fn passes<K: TokenKind>(key: &SigningKey, text: &str) -> bool {
    let audience = ExpectedAudience::DangerAny;
    let expected = Expected { issuer: ISSUER.into(), audience, leeway: Duration::ZERO };
    let clock = Arc::new(ManualClock::at(now()));
    let verifier = Verifier::<K>::new(expected, &Memory::default(), clock);
    verifier.use_keys(set_of(&[key]));
    verifier.verify(text).is_ok()
}
