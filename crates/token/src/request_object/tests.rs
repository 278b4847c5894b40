use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{
    SigningKey, VerifyingKey,
    assertion::{ClientAssertion, ExpectedAssertion},
    jws,
};

const ISSUER: &str = "https://issuer.example";

fn now() -> Timestamp {
    Timestamp::from_secs(1_767_225_600)
}

fn good() -> Value {
    let now = now().secs();
    json!({
        "iss": "web", "aud": ISSUER, "client_id": "web", "exp": now + 60, "nbf": now,
        "response_type": "code", "max_age": 60, "claims": {"userinfo": {"email": null}},
        "resource": ["https://a.example", "https://b.example"],
    })
}

fn signed(key: &SigningKey, typ: &str, claims: &Value) -> String {
    jws::sign(key, typ, claims.to_string().as_bytes()).unwrap()
}

fn verify(text: &str, key: &SigningKey, bounded: bool) -> Result<RequestObject, ObjectRefused> {
    let keys = KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())]);
    let expected =
        ExpectedObject { client: "web", keys: &keys, algorithm: None, issuer: ISSUER, bounded };
    RequestObject::verify(text, &expected, now())
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn gives_its_parameters_as_a_form_would() {
    for algorithm in Algorithm::ALL {
        let key = SigningKey::generate(algorithm).unwrap();
        for typ in ["oauth-authz-req+jwt", "JWT"] {
            let object = verify(&signed(&key, typ, &good()), &key, true).unwrap();
            let all = |name: &str| -> Vec<_> {
                let found = object.parameters.iter().filter(|(known, _)| known == name);
                found.map(|(_, value)| value.as_str()).collect()
            };
            assert_eq!(all("max_age"), ["60"]);
            assert_eq!(all("claims"), [r#"{"userinfo":{"email":null}}"#]);
            assert_eq!(all("resource"), ["https://a.example", "https://b.example"]);
            assert_eq!(all("client_id"), ["web"]);
            assert!(all("aud").is_empty() && all("iss").is_empty() && all("exp").is_empty());
        }
    }
}

#[test]
fn refuses_each_deviation() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let secs = now().secs();
    for (claims, refused) in [
        (changed("iss", json!("other")), ObjectRefused::Issuer),
        (without("iss"), ObjectRefused::Issuer),
        (changed("client_id", json!("other")), ObjectRefused::Issuer),
        (without("client_id"), ObjectRefused::Issuer),
        (changed("sub", json!("web")), ObjectRefused::Issuer),
        (changed("aud", json!("https://issuer.example/oauth2/authorize")), ObjectRefused::Audience),
        (changed("aud", json!(["https://evil.example"])), ObjectRefused::Audience),
        (changed("aud", json!([])), ObjectRefused::Audience),
        (without("aud"), ObjectRefused::Audience),
        (changed("request", json!("x.y.z")), ObjectRefused::Nested),
        (changed("request_uri", json!("https://evil.example")), ObjectRefused::Nested),
        (changed("exp", json!(secs - 30)), ObjectRefused::Time),
        (changed("nbf", json!(secs + 31)), ObjectRefused::Time),
        (changed("iat", json!(secs + 31)), ObjectRefused::Time),
    ] {
        for bounded in [false, true] {
            let refusal = verify(&signed(&key, "JWT", &claims), &key, bounded);
            assert_eq!(refusal, Err(refused), "{claims}");
        }
    }
    for (name, value) in [
        ("exp", json!("soon")),
        ("nbf", json!(-1)),
        ("scope", json!(["openid"])),
        ("claims", json!([1])),
        ("resource", json!([1])),
        ("prompt", json!(null)),
    ] {
        let refusal = verify(&signed(&key, "JWT", &changed(name, value)), &key, false);
        assert!(matches!(refusal, Err(ObjectRefused::Claims(_))), "{name}");
    }
    let twice =
        r#"{"iss":"web","aud":"https://issuer.example","client_id":"web","scope":"a","scope":"b"}"#;
    let twice = jws::sign(&key, "JWT", twice.as_bytes()).unwrap();
    let refusal = verify(&twice, &key, false);
    assert_eq!(refusal, Err(ObjectRefused::Claims("a member stands twice")));
}

/// It is bound to its client by `iss` and by its signature, for whomever else it may be; and what nobody
/// here reads is passed over, whatever it is (RFC 6749 §3.1).
#[test]
fn may_be_for_others_too_and_say_what_is_not_known_here() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let mut claims = changed("aud", json!(["https://other.example", ISSUER]));
    claims["x_flag"] = json!(true);
    claims["x_list"] = json!([{"a": 1}]);
    let read = verify(&signed(&key, "JWT", &claims), &key, true).unwrap();
    assert!(read.parameters.iter().all(|(name, _)| !name.starts_with("x_")), "{read:?}");
}

#[test]
fn where_it_must_be_bounded_both_ends_are_near() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let secs = now().secs();
    for claims in [
        without("exp"),
        without("nbf"),
        changed("exp", json!(secs + 3601)),
        changed("nbf", json!(secs - 3631)),
    ] {
        let text = signed(&key, "JWT", &claims);
        assert!(verify(&text, &key, false).is_ok(), "{claims}");
        assert_eq!(verify(&text, &key, true), Err(ObjectRefused::Time), "{claims}");
    }
}

#[test]
fn refuses_other_keys_other_algorithms_and_no_signature() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let other = SigningKey::generate(Algorithm::Es256).unwrap();
    let text = signed(&other, "JWT", &good());
    assert_eq!(verify(&text, &key, false), Err(ObjectRefused::UnknownKey));
    // The right name on the wrong key's signature.
    let (header, _) = signed(&key, "JWT", &good()).split_once('.').map(own).unwrap();
    let (_, rest) = text.split_once('.').map(own).unwrap();
    assert_eq!(verify(&format!("{header}.{rest}"), &key, false), Err(ObjectRefused::Signature));
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"RS256"}"#] {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let header = URL_SAFE_NO_PAD.encode(header);
        let refusal = verify(&format!("{header}.{rest}"), &key, false);
        assert_eq!(refusal, Err(ObjectRefused::UnknownKey));
    }
    let keys = KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())]);
    let algorithm = Some(Algorithm::Ps256);
    let expected =
        ExpectedObject { client: "web", keys: &keys, algorithm, issuer: ISSUER, bounded: false };
    let text = signed(&key, "JWT", &good());
    let refusal = RequestObject::verify(&text, &expected, now());
    assert_eq!(refusal, Err(ObjectRefused::UnknownKey));
}

fn own((head, rest): (&str, &str)) -> (String, String) {
    (head.to_owned(), rest.to_owned())
}

#[test]
fn is_no_client_assertion_and_an_assertion_is_no_request_object() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let keys = KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())]);
    let secs = now().secs();
    let assertion =
        json!({"iss": "web", "sub": "web", "aud": ISSUER, "exp": secs + 60, "jti": "a"});
    // Whatever they call themselves: what one must have, the other must not.
    for typ in ["JWT", "oauth-authz-req+jwt", "client-authentication+jwt"] {
        assert!(verify(&signed(&key, typ, &assertion), &key, false).is_err(), "{typ}");
        let mut both = assertion.clone();
        both["client_id"] = json!("web");
        assert!(verify(&signed(&key, typ, &both), &key, false).is_err(), "{typ}");
        let mut object = good();
        object["jti"] = json!("a");
        let text = signed(&key, typ, &object);
        let expected = ExpectedAssertion {
            client: "web",
            keys: &keys,
            algorithm: None,
            issuer: ISSUER,
            danger_others: &[],
            bare_audience: false,
        };
        assert!(ClientAssertion::verify(&text, &expected, now()).is_err(), "{typ}");
    }
    for typ in ["at+jwt", "dpop+jwt", "client-authentication+jwt"] {
        assert_eq!(verify(&signed(&key, typ, &good()), &key, false), Err(ObjectRefused::Kind));
    }
}
