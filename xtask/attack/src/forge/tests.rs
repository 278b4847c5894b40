use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey, VerificationAlgorithm,
};

use super::*;
use crate::case::{Case, PublicForm};

/// An issuer, and what its tokens are made of.
fn issuer() -> (IssuerKey, Value) {
    let key = Stranger::new().unwrap().key;
    let claims = json!({"iss": "https://a.example", "aud": ["b", "c"], "iat": 100, "sub": "s"});
    (key, claims)
}

fn forge<'k>((key, claims): &'k (IssuerKey, Value)) -> Forge<'k> {
    let sign = move |text: &[u8]| key.sign(text);
    Forge::with_key("k", claims, (100, "http://x/"), key.public(), sign).unwrap()
}

/// The token that a case of these lines wants.
fn wanted(lines: &str) -> Token {
    let text = format!("why: x\nexpect: 401\ntarget: {{token}}\n{lines}\n");
    Case::parse("tokens/x", &text).unwrap().token.unwrap()
}

fn made(forge: &Forge<'_>, lines: &str) -> String {
    forge.token(&wanted(lines)).unwrap_or_else(|error| panic!("{lines}: {error:#}"))
}

fn part(token: &str, part: usize) -> String {
    let part = token.split('.').nth(part).unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Whether a key signed a token, in this form.
fn signed(token: &str, spki: &[u8], form: &'static dyn VerificationAlgorithm) -> bool {
    let (text, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let point = public::point_in(spki).unwrap();
    UnparsedPublicKey::new(form, point).verify(text.as_bytes(), &signature).is_ok()
}

#[test]
fn a_case_changes_of_a_good_token_what_it_names() {
    let issuer = issuer();
    let forge = forge(&issuer);
    let good = made(&forge, "");
    assert_eq!(part(&good, 0), r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#);
    assert_eq!(part(&good, 1), issuer.1.to_string());
    assert!(signed(&good, &issuer.0.public(), &ECDSA_P256_SHA256_FIXED));
    for (lines, at, says) in [
        ("typ: ", 0, r#"{"alg":"ES256","kid":"k"}"#),
        ("typ: JWT", 0, r#"{"alg":"ES256","kid":"k","typ":"JWT"}"#),
        (
            r#"header: {"jku": "{canary}"}"#,
            0,
            r#"{"alg":"ES256","kid":"k","typ":"at+jwt","jku": "http://x/"}"#,
        ),
        (
            r#"header: {"alg":"none","alg":"ES256"}"#,
            0,
            r#"{"kid":"k","typ":"at+jwt","alg":"none","alg":"ES256"}"#,
        ),
        ("header-without: kid typ", 0, r#"{"alg":"ES256"}"#),
        (
            r#"claims: {"iat": {now-5}, "exp": 1e400, "x": [{[*3}{]*3}]}"#,
            1,
            r#"{"iss":"https://a.example","aud":["b","c"],"sub":"s","iat": 95, "exp": 1e400, "x": [[[[]]]]}"#,
        ),
        (
            r#"claims: {"iss": "{issuer/a/A}", "aud": "{audience}", "iat": null}"#,
            1,
            r#"{"sub":"s","iss": "https://A.exAmple", "aud": "b", "iat": null}"#,
        ),
        ("claims: =[{kid}]", 1, "[k]"),
        ("claims-without: iss aud iat sub", 1, "{}"),
    ] {
        let token = made(&forge, lines);
        assert_eq!(part(&token, at), says, "{lines}");
        assert!(signed(&token, &issuer.0.public(), &ECDSA_P256_SHA256_FIXED), "{lines}");
    }
    for wrong in [
        r#"claims: {"iss": "{issuer/q/A}"}"#,
        r#"claims: {"iss": 1e999999x}"#,
        "claims: {nowhere}",
        "claims: []",
    ] {
        assert!(forge.token(&wanted(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn what_signs_a_token_is_what_the_case_says() {
    let issuer = issuer();
    let forge = forge(&issuer);
    let (own, stranger) = (issuer.0.public(), forge.stranger());
    for (lines, by, form) in [
        ("signature: der", &own, &ECDSA_P256_SHA256_ASN1),
        ("signature: other", &stranger, &ECDSA_P256_SHA256_FIXED),
        ("signature: embedded-jwk", &stranger, &ECDSA_P256_SHA256_FIXED),
        ("signature: x5c", &stranger, &ECDSA_P256_SHA256_FIXED),
        ("signature: high-s", &own, &ECDSA_P256_SHA256_FIXED),
        ("signature: low-s", &own, &ECDSA_P256_SHA256_FIXED),
    ] {
        let token = made(&forge, lines);
        assert!(signed(&token, by, form), "{lines}");
    }
    for lines in ["zero", "empty", "flipped", "truncated", "hmac key", "hmac-pem"] {
        let token = made(&forge, &format!("signature: {lines}"));
        assert!(!signed(&token, &own, &ECDSA_P256_SHA256_FIXED), "{lines}");
    }
    assert_eq!(made(&forge, "signature: none").split('.').count(), 2);
    assert!(made(&forge, "signature: empty").ends_with('.'));
    // The key that is brought along is the one that signed.
    let header: Value = serde_json::from_str(&part(&made(&forge, "signature: x5c"), 0)).unwrap();
    let certificate = base64::engine::general_purpose::STANDARD;
    let certificate = certificate.decode(header["x5c"][0].as_str().unwrap()).unwrap();
    assert_eq!(public::point_in(&certificate), public::point_in(&stranger));
    let token = made(&forge, "signature: embedded-jwk");
    let header: Value = serde_json::from_str(&part(&token, 0)).unwrap();
    assert_eq!(header["jwk"].to_string(), public::jwk(&stranger).unwrap());
    // In PEM as OpenSSL writes it.
    let pem = String::from_utf8(public::in_form(&own, PublicForm::Pem).unwrap()).unwrap();
    let lines: Vec<&str> = pem.lines().collect();
    assert_eq!((lines[0], lines[1].len()), ("-----BEGIN PUBLIC KEY-----", 64));
    let read = rustls_pki_types::SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).unwrap();
    assert_eq!(read.as_ref(), own);
}

#[test]
fn parts_are_written_as_the_case_says_and_signed_as_they_are_written() {
    let issuer = issuer();
    let forge = forge(&issuer);
    for (lines, has) in [
        ("shape: padded header", "=."),
        ("shape: padded claims", "=."),
        ("shape: spaced claims", " "),
        ("shape: alphabet claims\nclaims: {\"x\": \"??????\"}", "/"),
    ] {
        let token = made(&forge, lines);
        assert!(token.contains(has), "{lines}: {token}");
        assert!(signed(&token, &issuer.0.public(), &ECDSA_P256_SHA256_FIXED), "{lines}");
    }
    assert!(made(&forge, "shape: padded signature").ends_with("=="));
    assert!(made(&forge, "shape: alphabet signature").contains(['+', '/']));
    let loose = made(&forge, "shape: loose signature");
    assert!(loose.ends_with(['B', 'R', 'h', 'x']), "{loose}");
    assert!(made(&forge, "shape: empty claims").contains(".."));
    assert_eq!(made(&forge, "shape: five").split('.').count(), 5);
    assert!(made(&forge, "shape: dots").split('.').count() > 6000);
    // Cut at its dots it is one token, and read as JSON another.
    let polyglot = made(&forge, "shape: polyglot\nclaims: {\"sub\": \"root\"}");
    assert!(part(&polyglot, 1).contains("root"));
    let json: Value = serde_json::from_str(&polyglot).unwrap();
    let [protected, payload, signature] =
        ["protected", "payload", "signature"].map(|it| json[it].as_str().unwrap());
    let token = format!("{protected}.{payload}.{signature}");
    assert!(signed(&token, &issuer.0.public(), &ECDSA_P256_SHA256_FIXED));
    assert_eq!(part(&token, 1), issuer.1.to_string());
}

#[test]
fn of_a_good_token_is_made_what_needs_no_key_of_its_issuer() {
    let issuer = issuer();
    let good = made(&forge(&issuer), "");
    let public = issuer.0.public();
    let forge = Forge::of_token(&good, Some(public.clone()), "http://x/").unwrap();
    assert_eq!(made(&forge, ""), good);
    assert_eq!(made(&forge, "signature: none"), good.rsplit_once('.').unwrap().0);
    assert!(signed(&made(&forge, "signature: der"), &public, &ECDSA_P256_SHA256_ASN1));
    for lines in ["shape: polyglot\nclaims: {\"sub\": \"root\"}", "signature: hmac-jwk"] {
        assert_ne!(made(&forge, lines), good);
    }
    let stranger = forge.stranger();
    let other = made(&forge, "signature: other\nclaims: {\"sub\": \"root\"}");
    assert!(signed(&other, &stranger, &ECDSA_P256_SHA256_FIXED));
    let lacks =
        |forge: &Forge<'_>, lines: &str| forge.token(&wanted(lines)).unwrap_err().to_string();
    assert!(lacks(&forge, "claims: {\"sub\": \"root\"}").contains("the key of the issuer"));
    let unknown = Forge::of_token(&good, None, "http://x/").unwrap();
    assert!(lacks(&unknown, "signature: hmac-der").contains("public key"));
    // Of another algorithm, which nobody else's key here has.
    let other = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"k"}"#);
    let other = format!("{other}.{}", good.split_once('.').unwrap().1);
    let other = Forge::of_token(&other, Some(public), "http://x/").unwrap();
    assert!(lacks(&other, "signature: other").contains("ES256"));
    assert!(part(&made(&other, "signature: x5c"), 0).contains("ES256"));
    assert!(Forge::of_token("a.b", None, "http://x/").is_err());
}
