use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tegata_core::ManualClock;

use super::*;
use crate::{Algorithm, SigningKey, jws};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example";

struct Bench {
    clock: Arc<ManualClock>,
    keys: Vec<SigningKey>,
    verifier: Verifier<AccessToken>,
}

impl Bench {
    fn new() -> Self {
        Self::remembering(&Memory::default())
    }

    fn remembering(memory: &Memory) -> Self {
        let clock = Arc::new(ManualClock::default());
        let keys: Vec<_> = Algorithm::ALL.map(|alg| SigningKey::generate(alg).unwrap()).into();
        let expected = Expected {
            issuer: ISSUER.into(),
            audience: ExpectedAudience::OneOf(vec![AUDIENCE.into()]),
            leeway: Duration::from_secs(30),
        };
        let verifier = Verifier::new(expected, memory, clock.clone());
        verifier.use_keys(set(&keys));
        Self { clock, keys, verifier }
    }

    fn claims(&self) -> Value {
        let now = self.clock.now().secs();
        json!({"iss": ISSUER, "sub": "usr_1", "aud": AUDIENCE, "exp": now + 900, "iat": now, "jti": "1.a"})
    }

    fn token(&self, claims: &Value) -> String {
        jws::sign(&self.keys[2], "at+jwt", claims.to_string().as_bytes()).unwrap()
    }

    fn refusal(&self, token: &str) -> Refusal {
        self.verifier.verify(token).unwrap_err()
    }
}

fn set(keys: &[SigningKey]) -> KeySet {
    KeySet::new(
        keys.iter().map(|key| Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())).collect(),
    )
}

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

/// A token with any header, signed as RS256 would be signed.
fn with_header(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[test]
fn accepts_a_good_token_of_every_algorithm() {
    let bench = Bench::new();
    for key in &bench.keys {
        let token = jws::sign(key, "at+jwt", bench.claims().to_string().as_bytes()).unwrap();
        let verified = bench.verifier.verify(&token).unwrap();
        assert_eq!(verified.claims().sub, "usr_1");
        assert_eq!(verified.kid(), key.kid());
    }
}

#[test]
fn refuses_none_in_every_spelling() {
    let bench = Bench::new();
    let kid = bench.keys[0].kid().as_str();
    for alg in ["none", "None", "NONE", "nOnE", "", "none "] {
        let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"});
        let token = with_header(&bench.keys[0], &header, &bench.claims());
        assert_eq!(bench.refusal(&token), Refusal::Algorithm, "{alg:?}");
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert!(bench.verifier.verify(&format!("{signed}.")).is_err());
        assert!(bench.verifier.verify(signed).is_err());
    }
}

#[test]
fn the_algorithm_is_the_keys_and_never_the_tokens() {
    let bench = Bench::new();
    for key in &bench.keys {
        for alg in
            ["HS256", "HS512", "RS256", "PS256", "ES256", "EdDSA", "RS384", " RS256", "rs256"]
        {
            if alg == key.algorithm().name() {
                continue;
            }
            let header = json!({"alg": alg, "kid": key.kid().as_str(), "typ": "at+jwt"});
            let token = with_header(key, &header, &bench.claims());
            assert_eq!(bench.refusal(&token), Refusal::Algorithm, "{alg} with {key:?}");
        }
    }
}

#[test]
fn refuses_a_public_key_used_as_a_shared_secret() {
    let bench = Bench::new();
    let jwk = serde_json::to_vec(bench.keys[0].jwk()).unwrap();
    let header = json!({"alg": "HS256", "kid": bench.keys[0].kid().as_str(), "typ": "at+jwt"});
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(bench.claims().to_string())
    );
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &jwk);
    let mac = aws_lc_rs::hmac::sign(&secret, signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()));
    assert_eq!(bench.refusal(&token), Refusal::Algorithm);
}

#[test]
fn refuses_keys_that_are_not_in_the_set_and_signatures_that_are_not_theirs() {
    let bench = Bench::new();
    let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
    let claims = bench.claims().to_string();
    let theirs = jws::sign(&stranger, "at+jwt", claims.as_bytes()).unwrap();
    assert_eq!(bench.refusal(&theirs), Refusal::UnknownKey);

    let der = stranger.to_pkcs8().unwrap();
    let borrowed =
        SigningKey::from_pkcs8(der.expose(), None, Some(bench.keys[2].kid().clone())).unwrap();
    let forged = jws::sign(&borrowed, "at+jwt", claims.as_bytes()).unwrap();
    assert_eq!(bench.refusal(&forged), Refusal::Signature);

    for kid in
        [json!("../../dev/null"), json!("' OR 1=1 --"), json!("http://127.0.0.1/"), json!("")]
    {
        let header = json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"});
        let token = with_header(&bench.keys[2], &header, &bench.claims());
        assert_eq!(bench.refusal(&token), Refusal::UnknownKey);
    }
    let header = json!({"alg": "ES256", "typ": "at+jwt"});
    let token = with_header(&bench.keys[2], &header, &bench.claims());
    assert_eq!(bench.refusal(&token), Refusal::UnknownKey);
}

#[test]
fn refuses_degenerate_and_altered_signatures() {
    let bench = Bench::new();
    for key in &bench.keys {
        let token = jws::sign(key, "at+jwt", bench.claims().to_string().as_bytes()).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        // CVE-2022-21449: r = s = 0 verified for every message.
        let degenerate = [vec![0; bytes.len()], vec![0xff; bytes.len()], vec![0], vec![0; 4096]];
        let altered = (0..bytes.len()).step_by(7).map(|at| {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            altered
        });
        let longer = [[&bytes[..], &[0]].concat(), bytes[..bytes.len() - 1].to_vec()];
        for bad in degenerate.into_iter().chain(altered).chain(longer) {
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bad));
            assert!(bench.verifier.verify(&token).is_err(), "{key:?}");
        }
    }
}

#[test]
fn refuses_altered_claims_even_when_the_good_token_is_remembered() {
    let bench = Bench::new();
    let token = bench.token(&bench.claims());
    bench.verifier.verify(&token).unwrap();
    let parts: Vec<_> = token.split('.').collect();
    let forged = with(&bench.claims(), "sub", json!("usr_2")).to_string();
    let forged = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(forged), parts[2]);
    assert_eq!(bench.refusal(&forged), Refusal::Signature);
}

#[test]
fn refuses_other_kinds_of_token() {
    let bench = Bench::new();
    let claims = bench.claims().to_string();
    for typ in [
        "JWT",
        "jwt",
        "logout+jwt",
        "dpop+jwt",
        "tegata-internal+jwt",
        "statuslist+jwt",
        "",
        "at+jwt ",
    ] {
        let token = jws::sign(&bench.keys[2], typ, claims.as_bytes()).unwrap();
        assert_eq!(bench.refusal(&token), Refusal::Kind, "{typ:?}");
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/at+JWT"] {
        let token = jws::sign(&bench.keys[2], typ, claims.as_bytes()).unwrap();
        assert!(bench.verifier.verify(&token).is_ok(), "{typ:?}");
    }
    let header = json!({"alg": "ES256", "kid": bench.keys[2].kid().as_str()});
    assert_eq!(
        bench.refusal(&with_header(&bench.keys[2], &header, &bench.claims())),
        Refusal::Kind
    );
}

#[test]
fn holds_issuer_and_audience_to_the_letter() {
    let bench = Bench::new();
    for issuer in ["https://issuer.example/", "https://ISSUER.example", "https://evil.example", ""]
    {
        let token = bench.token(&with(&bench.claims(), "iss", json!(issuer)));
        assert_eq!(bench.refusal(&token), Refusal::Issuer, "{issuer}");
    }
    for audience in [json!("https://api.example/"), json!([]), json!(["a", "b"]), json!("")] {
        let token = bench.token(&with(&bench.claims(), "aud", audience.clone()));
        assert_eq!(bench.refusal(&token), Refusal::Audience, "{audience}");
    }
    let several = bench.token(&with(&bench.claims(), "aud", json!(["other", AUDIENCE])));
    assert!(bench.verifier.verify(&several).is_ok());
}

#[test]
fn holds_times_with_no_more_than_the_leeway_also_for_remembered_tokens() {
    let bench = Bench::new();
    let now = bench.clock.now().secs();
    let claims = bench.claims();
    let at = |name, secs: u64| bench.token(&with(&claims, name, json!(secs)));
    assert_eq!(bench.refusal(&at("exp", now - 30)), Refusal::Expired);
    assert!(bench.verifier.verify(&at("exp", now - 29)).is_ok());
    assert_eq!(bench.refusal(&at("nbf", now + 31)), Refusal::NotYet);
    assert!(bench.verifier.verify(&at("nbf", now + 30)).is_ok());
    assert_eq!(bench.refusal(&at("iat", now + 31)), Refusal::NotYet);

    let token = at("exp", now + 10);
    bench.verifier.verify(&token).unwrap();
    bench.clock.advance(Duration::from_secs(40));
    assert_eq!(bench.refusal(&token), Refusal::Expired);
    bench.clock.jump(Timestamp::from_secs(now - 31));
    assert_eq!(bench.refusal(&token), Refusal::NotYet);
}

#[test]
fn leeway_is_never_more_than_a_minute() {
    let expected = Expected {
        issuer: ISSUER.into(),
        audience: ExpectedAudience::DangerAny,
        leeway: Duration::from_secs(3600),
    };
    let bench = Bench::new();
    let verifier = Verifier::<AccessToken>::new(expected, &Memory::default(), bench.clock.clone());
    verifier.use_keys(set(&bench.keys));
    let token = bench.token(&with(&bench.claims(), "exp", json!(bench.clock.now().secs() - 60)));
    assert_eq!(verifier.verify(&token).unwrap_err(), Refusal::Expired);
}

#[test]
fn remembers_and_counts_but_forgets_when_the_key_leaves() {
    let bench = Bench::new();
    let token = bench.token(&bench.claims());
    bench.verifier.verify(&token).unwrap();
    bench.verifier.verify(&token).unwrap();
    assert_eq!(bench.verifier.memory_use(), MemoryUse { hits: 1, misses: 1 });

    bench.verifier.use_keys(set(&bench.keys[..2]));
    assert_eq!(bench.refusal(&token), Refusal::UnknownKey);
    bench.verifier.use_keys(set(&bench.keys));
    assert!(bench.verifier.verify(&token).is_ok());
}

#[test]
fn forgets_after_its_longest_time_and_remembers_nothing_when_told_so() {
    let bench = Bench::new();
    let token = bench.token(&bench.claims());
    bench.verifier.verify(&token).unwrap();
    bench.clock.advance(Duration::from_secs(301));
    bench.verifier.verify(&token).unwrap();
    assert_eq!(bench.verifier.memory_use(), MemoryUse { hits: 0, misses: 2 });

    let bench = Bench::remembering(&Memory { tokens: 0, ..Memory::default() });
    let token = bench.token(&bench.claims());
    bench.verifier.verify(&token).unwrap();
    bench.verifier.verify(&token).unwrap();
    assert_eq!(bench.verifier.memory_use(), MemoryUse { hits: 0, misses: 2 });
}

#[test]
fn refuses_what_was_issued_before_a_restore() {
    let bench = Bench::new();
    let expected = Expected {
        issuer: ISSUER.into(),
        audience: ExpectedAudience::DangerAny,
        leeway: Duration::ZERO,
    };
    let verifier = Verifier::<AccessToken>::new(expected, &Memory::default(), bench.clock.clone());
    let verifier = verifier.since(Epoch(2));
    verifier.use_keys(set(&bench.keys));
    for (jti, passes) in
        [("1.a", false), ("2.a", true), ("3.a", true), ("a", false), ("02.a", false)]
    {
        let token = bench.token(&with(&bench.claims(), "jti", json!(jti)));
        assert_eq!(verifier.verify(&token).is_ok(), passes, "{jti}");
    }
}

#[test]
fn a_token_can_be_taken_back_whatever_the_clock_says() {
    let bench = Bench::new();
    let claims = with(&bench.claims(), "iat", json!(bench.clock.now().secs() + 300));
    let token = bench.token(&claims);
    assert_eq!(bench.refusal(&token), Refusal::NotYet);
    assert!(bench.verifier.danger_verify_at_any_time(&token).is_ok());
    let forged = format!("{token}A");
    assert!(bench.verifier.danger_verify_at_any_time(&forged).is_err());
}

#[test]
fn what_was_verified_is_taken_back_without_its_signature_until_its_key_is_gone() {
    let bench = Bench::new();
    let token = bench.token(&bench.claims());
    let verified = bench.verifier.verify(&token).unwrap();
    let remembered = bench.verifier.danger_verify_at_any_time(&token).unwrap();
    assert!(Arc::ptr_eq(&verified, &remembered));
    // However its times are by now.
    bench.clock.advance(Duration::from_secs(100_000));
    assert!(bench.verifier.danger_verify_at_any_time(&token).is_ok());
    assert!(bench.verifier.danger_verify_at_any_time(&format!("{token}A")).is_err());
    bench.verifier.use_keys(KeySet::default());
    let refused = bench.verifier.danger_verify_at_any_time(&token).map(drop);
    assert_eq!(refused, Err(Refusal::UnknownKey));
}

#[test]
fn a_refusal_shows_nothing_of_the_token() {
    let bench = Bench::new();
    for bad in ["secret.secret.secret", "c2VjcmV0.c2VjcmV0.c2VjcmV0", "secret"] {
        let refusal = bench.refusal(bad);
        assert!(!format!("{refusal} {refusal:?}").contains("secret"));
    }
}

#[test]
fn a_token_that_hides_its_subject_is_nothing_to_whoever_cannot_reveal_it() {
    let pairwise = |seed| {
        let roots = crate::Roots::for_tests(seed);
        Arc::new(Pairwise::new(&roots, &tegata_core::Realm::default()).unwrap())
    };
    let Bench { clock, keys, verifier } = Bench::new();
    let bench = Bench { clock, keys, verifier: verifier.revealing(pairwise(1)) };
    let plain = Claims::parse(bench.claims().to_string().as_bytes()).unwrap();
    let hidden = pairwise(1).hide("app.example", plain.clone()).unwrap();
    let token = bench.token(&serde_json::to_value(&hidden).unwrap());
    // The second time it is remembered.
    for _ in 0..2 {
        let verified = bench.verifier.verify(&token).unwrap();
        assert_eq!((verified.claims(), verified.subject_told()), (&plain, hidden.sub.as_str()));
    }
    let taken_back = bench.verifier.danger_verify_at_any_time(&token).unwrap();
    assert_eq!(taken_back.claims().sub, "usr_1");
    let verified = bench.verifier.verify(&bench.token(&bench.claims())).unwrap();
    assert_eq!((verified.claims(), verified.subject_told()), (&plain, "usr_1"));

    let blind = Bench { keys: bench.keys, ..Bench::new() };
    blind.verifier.use_keys(set(&blind.keys));
    assert!(matches!(blind.refusal(&token), Refusal::Claims(why) if why.contains("hidden")));
    let other = Bench { verifier: blind.verifier.revealing(pairwise(2)), ..blind };
    assert!(matches!(other.refusal(&token), Refusal::Claims(_)));
    for veil in [json!(""), json!("AAAA")] {
        let broken = with(&serde_json::to_value(&hidden).unwrap(), "veil", veil);
        assert!(matches!(other.refusal(&other.token(&broken)), Refusal::Claims(_)));
    }
}
