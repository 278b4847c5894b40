//! Proofs as honest clients make them, and as those make them who mean harm.

use serde_json::{Value, json};

use super::*;
use crate::{Algorithm, jws::Compact};

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
const PLACE: &str = "https://api.example/orders";

/// What a client makes proofs with.
struct Holder(SigningKey);

impl Holder {
    fn new(algorithm: Algorithm) -> Self {
        Self(SigningKey::generate(algorithm).unwrap())
    }

    fn header(&self) -> Value {
        let mut jwk = serde_json::to_value(self.0.jwk()).unwrap();
        for name in ["alg", "kid", "use"] {
            jwk.as_object_mut().unwrap().remove(name);
        }
        json!({"typ": "dpop+jwt", "alg": self.0.algorithm().name(), "jwk": jwk})
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{signature}")
    }

    fn proof(&self, claims: &Value) -> String {
        make(&self.0, claims.to_string().as_bytes()).unwrap()
    }

    fn with_header(&self, name: &str, value: Value) -> String {
        let mut header = self.header();
        header[name] = value;
        self.sign(&header.to_string(), &claims().to_string())
    }
}

fn claims() -> Value {
    json!({"jti": "a", "htm": "POST", "htu": PLACE, "iat": NOW.secs()})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn verify(text: &str, access_token: Option<&str>) -> Result<DpopProof, ProofRefused> {
    let target = TargetUri::parse(PLACE).unwrap();
    let request = Proving { method: "POST", targets: std::slice::from_ref(&target), access_token };
    DpopProof::verify(text, &request, NOW)
}

fn refused(text: &str) -> ProofRefused {
    verify(text, None).unwrap_err()
}

#[test]
fn a_proof_of_every_algorithm_names_the_thumbprint_of_its_key() {
    for algorithm in Algorithm::ALL {
        let holder = Holder::new(algorithm);
        let proof = verify(&holder.proof(&claims()), None).unwrap();
        assert_eq!(proof.jkt(), holder.0.jwk().thumbprint());
        assert!(is_thumbprint(proof.jkt()));
        assert_eq!(proof.nonce(), None);
    }
}

#[test]
fn ed25519_may_be_called_by_either_of_its_names() {
    let holder = Holder::new(Algorithm::EdDsa);
    let proof = holder.with_header("alg", json!("Ed25519"));
    assert_eq!(verify(&proof, None).unwrap().jkt(), holder.0.jwk().thumbprint());
}

/// RFC 9449 §4.1 and §7.1: the examples of the RFC, at their time.
#[test]
fn the_proofs_of_the_rfc_are_good() {
    let key = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";
    let token = format!(
        "{key}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
    );
    let target = TargetUri::parse("https://server.example.com/token").unwrap();
    let targets = std::slice::from_ref(&target);
    let request = Proving { method: "POST", targets, access_token: None };
    let proof = DpopProof::verify(&token, &request, Timestamp::from_secs(1_562_262_616)).unwrap();
    assert_eq!(proof.jkt(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

#[test]
fn a_place_with_two_addresses_takes_a_proof_for_either_and_remembers_for_which() {
    let holder = Holder::new(Algorithm::Es256);
    let places = [PLACE, "https://mtls.example/place"];
    let targets = places.map(|place| TargetUri::parse(place).unwrap());
    let verify = |place: &str, targets: &[TargetUri]| {
        let proof = holder.proof(&with("htu", json!(place)));
        DpopProof::verify(&proof, &Proving { method: "POST", targets, access_token: None }, NOW)
    };
    let [one, other] = places.map(|place| verify(place, &targets).unwrap());
    assert_ne!(one.name(), other.name());
    assert_eq!(one.name(), verify(PLACE, &targets[..1]).unwrap().name());
    let third = verify("https://third.example/place", &targets);
    assert_eq!(third.unwrap_err(), ProofRefused::Target);
    assert_eq!(verify(PLACE, &[]).unwrap_err(), ProofRefused::Target);
}

#[test]
fn refuses_a_proof_for_another_request() {
    let holder = Holder::new(Algorithm::Es256);
    for method in ["GET", "post", "POST ", ""] {
        assert_eq!(refused(&holder.proof(&with("htm", json!(method)))), ProofRefused::Method);
    }
    for place in [
        "https://api.example/orders/1",
        "http://api.example/orders",
        "https://api.example:8443/orders",
        "https://evil.example/orders",
        "/orders",
        "",
    ] {
        assert_eq!(refused(&holder.proof(&with("htu", json!(place)))), ProofRefused::Target);
    }
    for place in ["https://api.example/orders?a=b#c", "HTTPS://API.example:443/%6frders"] {
        assert!(verify(&holder.proof(&with("htu", json!(place))), None).is_ok(), "{place}");
    }
}

#[test]
fn refuses_a_proof_that_is_old_or_of_the_future() {
    let holder = Holder::new(Algorithm::Es256);
    for iat in [NOW.secs() - 60, NOW.secs() + 60] {
        assert!(verify(&holder.proof(&with("iat", json!(iat))), None).is_ok());
    }
    for iat in [0, NOW.secs() - 61, NOW.secs() + 61, 9_007_199_254_740_991] {
        assert_eq!(refused(&holder.proof(&with("iat", json!(iat)))), ProofRefused::Time);
    }
}

#[test]
fn a_proof_beside_a_token_names_that_token() {
    let holder = Holder::new(Algorithm::EdDsa);
    let good = holder.proof(&with("ath", json!(hash_of("token"))));
    assert!(verify(&good, Some("token")).is_ok());
    for bad in [
        holder.proof(&claims()),
        holder.proof(&with("ath", json!(hash_of("another")))),
        holder.proof(&with("ath", json!(format!("{}=", hash_of("token"))))),
        holder.proof(&with("ath", json!("token"))),
    ] {
        assert_eq!(verify(&bad, Some("token")), Err(ProofRefused::Token));
    }
}

#[test]
fn refuses_other_kinds_of_token_and_is_none_of_them() {
    let holder = Holder::new(Algorithm::Es256);
    for typ in ["JWT", "at+jwt", "logout+jwt", "dpop", "dpop+jwt ", "application/at+jwt", ""] {
        assert_eq!(refused(&holder.with_header("typ", json!(typ))), ProofRefused::Kind, "{typ}");
    }
    for typ in ["DPoP+JWT", "application/dpop+jwt", "Application/DPOP+jwt"] {
        assert!(verify(&holder.with_header("typ", json!(typ)), None).is_ok(), "{typ}");
    }
    let mut header = holder.header();
    header.as_object_mut().unwrap().remove("typ");
    let without = holder.sign(&header.to_string(), &claims().to_string());
    assert_eq!(refused(&without), ProofRefused::Kind);
    // No other verifier takes a proof apart.
    let proof = holder.proof(&claims());
    assert_eq!(Compact::parse(&proof).unwrap_err(), Malformed::Header("jwk"));
}

#[test]
fn refuses_algorithms_that_prove_nothing() {
    let holder = Holder::new(Algorithm::Es256);
    for alg in ["none", "None", "HS256", "HS512", "ES384", "RS384", "RS1", "es256", ""] {
        assert_eq!(refused(&holder.with_header("alg", json!(alg))), ProofRefused::Algorithm);
    }
    // One that is allowed, but not with this key.
    for alg in ["RS256", "PS256", "EdDSA", "Ed25519"] {
        assert_eq!(refused(&holder.with_header("alg", json!(alg))), ProofRefused::Key);
    }
    let unsigned = holder.with_header("alg", json!("none"));
    let unsigned = unsigned.rsplit_once('.').unwrap().0;
    assert!(verify(&format!("{unsigned}."), None).is_err());
}

#[test]
fn refuses_keys_that_are_private_symmetric_or_none() {
    let holder = Holder::new(Algorithm::Es256);
    let public = holder.header()["jwk"].clone();
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        for value in [json!("AQ"), json!(null), json!([])] {
            let mut jwk = public.clone();
            jwk[name] = value;
            let text = holder.with_header("jwk", jwk);
            assert_eq!(refused(&text), ProofRefused::PrivateKey, "{name}");
        }
    }
    let octets = json!({"kty": "oct", "k": "c2VjcmV0"});
    assert_eq!(refused(&holder.with_header("jwk", octets)), ProofRefused::PrivateKey);
    assert_eq!(
        refused(&holder.with_header("jwk", json!({"kty": "oct"}))),
        ProofRefused::PrivateKey
    );
    let mut twisted = public.clone();
    twisted["x"] = public["y"].clone();
    let mut other_alg = public.clone();
    other_alg["alg"] = json!("EdDSA");
    let mut not_for_this = public.clone();
    not_for_this["use"] = json!("enc");
    for jwk in [
        json!(null),
        json!("x"),
        json!([public.clone()]),
        json!({"keys": [public]}),
        json!({}),
        twisted,
        other_alg,
        not_for_this,
    ] {
        assert_eq!(refused(&holder.with_header("jwk", jwk.clone())), ProofRefused::Key, "{jwk}");
    }
    let mut header = holder.header();
    header.as_object_mut().unwrap().remove("jwk");
    let without = holder.sign(&header.to_string(), &claims().to_string());
    assert_eq!(refused(&without), ProofRefused::Key);
}

#[test]
fn refuses_a_header_that_names_another_key_or_two() {
    let holder = Holder::new(Algorithm::Es256);
    for name in ["jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "epk", "cty"] {
        let text = holder.with_header(name, json!(["https://evil.example/keys"]));
        assert_eq!(refused(&text), ProofRefused::Malformed(Malformed::Header(name)));
    }
    let other = Holder::new(Algorithm::Es256).header()["jwk"].to_string();
    let header = holder.header().to_string();
    let twice = format!(r#"{{"jwk":{other},{}"#, &header[1..]);
    let twice = holder.sign(&twice, &claims().to_string());
    assert!(matches!(refused(&twice), ProofRefused::Malformed(Malformed::Json { .. })));
    let inner = header.replacen(r#""kty":"#, r#""kty":"RSA","kty":"#, 1);
    assert_eq!(refused(&holder.sign(&inner, &claims().to_string())), ProofRefused::Key);
}

#[test]
fn refuses_a_proof_that_another_key_signed() {
    let (holder, thief) = (Holder::new(Algorithm::Es256), Holder::new(Algorithm::Es256));
    let stolen = thief.sign(&holder.header().to_string(), &claims().to_string());
    assert_eq!(refused(&stolen), ProofRefused::Signature);
    let good = holder.proof(&claims());
    let (head, _) = good.split_once('.').unwrap();
    let (_, signature) = good.rsplit_once('.').unwrap();
    let changed = URL_SAFE_NO_PAD.encode(with("jti", json!("b")).to_string());
    assert_eq!(refused(&format!("{head}.{changed}.{signature}")), ProofRefused::Signature);
}

#[test]
fn refuses_claims_that_are_missing_doubled_or_of_another_type() {
    let holder = Holder::new(Algorithm::Es256);
    for name in ["jti", "htm", "htu", "iat"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        assert!(matches!(refused(&holder.proof(&claims)), ProofRefused::Claims(_)), "{name}");
    }
    for (name, value) in [
        ("jti", json!("")),
        ("jti", json!("a".repeat(257))),
        ("jti", json!(7)),
        ("iat", json!("1767225600")),
        ("iat", json!(-1)),
        ("htm", json!(["POST"])),
        ("htu", json!(null)),
        ("ath", json!(null)),
        ("nonce", json!(1)),
    ] {
        let text = holder.proof(&with(name, value.clone()));
        assert!(matches!(refused(&text), ProofRefused::Claims(_)), "{name} = {value}");
    }
    let good = claims().to_string();
    let header = holder.header().to_string();
    for text in [
        format!(r#"{{"htm":"GET",{}"#, &good[1..]),
        format!(r#"{{"\u0068tm":"GET",{}"#, &good[1..]),
        format!("{good}{{}}"),
        "[]".to_owned(),
    ] {
        assert!(matches!(refused(&holder.sign(&header, &text)), ProofRefused::Claims(_)), "{text}");
    }
    let long = holder.proof(&with("x", json!("a".repeat(8192))));
    assert_eq!(refused(&long), ProofRefused::Malformed(Malformed::TooLong));
}

#[test]
fn is_remembered_by_its_key_its_target_and_its_name() {
    let (one, other) = (Holder::new(Algorithm::Es256), Holder::new(Algorithm::Es256));
    let name =
        |holder: &Holder, claims: &Value| *verify(&holder.proof(claims), None).unwrap().name();
    let first = name(&one, &claims());
    assert_eq!(first, name(&one, &with("htu", json!(format!("{PLACE}?x")))));
    assert_eq!(first, name(&one, &with("iat", json!(NOW.secs() - 1))));
    assert_ne!(first, name(&other, &claims()));
    assert_ne!(first, name(&one, &with("jti", json!("b"))));
}

#[test]
fn shows_no_more_than_its_thumbprint() {
    let holder = Holder::new(Algorithm::Es256);
    let proof = verify(&holder.proof(&with("nonce", json!("n-secret"))), None).unwrap();
    assert_eq!(proof.nonce(), Some("n-secret"));
    assert_eq!(format!("{proof:?}"), format!("DpopProof(by {})", holder.0.jwk().thumbprint()));
}
