use std::time::Duration;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value, json};

use super::*;
use crate::{Algorithm, SigningKey, certificate::NoSvid, jws, spiffe::LARGEST};

const ISSUER: &str = "https://issuer.example";
const ID: &str = "spiffe://example.org/billing";

type Authority = CertifiedIssuer<'static, KeyPair>;
type Change<'a> = &'a dyn Fn(&mut CertificateParams);

/// Halfway through 2026.
fn now() -> Timestamp {
    Timestamp::from_secs(1_782_000_000)
}

fn domain(name: &str) -> TrustDomain {
    TrustDomain::new(name).unwrap()
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a workload shows, but for one thing.
fn svid(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "SPIRE");
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.is_ca = IsCa::ExplicitNoCa;
    params
}

fn signed(params: &CertificateParams, by: &Authority) -> ClientCertificate {
    let made = params.signed_by(&KeyPair::generate().unwrap(), by).unwrap();
    ClientCertificate::read(&[made.der().clone()]).unwrap()
}

fn x509(by: &Authority) -> Value {
    json!({"use": "x509-svid", "kty": "EC", "x5c": [STANDARD.encode(by.der())]})
}

fn jwt(key: &SigningKey) -> Value {
    let mut jwk = serde_json::to_value(key.jwk()).unwrap();
    jwk["use"] = json!("jwt-svid");
    jwk.as_object_mut().unwrap().remove("alg");
    jwk
}

fn bundle(keys: &[Value]) -> Bundle {
    read(&json!({"keys": keys})).unwrap()
}

fn read(said: &Value) -> Result<Bundle, BundleRefused> {
    Bundle::read(said.to_string().as_bytes())
}

fn trusting(name: &str, keys: &[Value]) -> TrustDomains {
    let domains = TrustDomains::new([domain(name)]);
    domains.trust(&domain(name), bundle(keys));
    domains
}

fn good() -> Value {
    let now = now().secs();
    json!({"sub": ID, "aud": [ISSUER], "exp": now + 300, "iat": now})
}

fn token(key: &SigningKey, typ: &str, claims: &Value) -> String {
    jws::sign(key, typ, claims.to_string().as_bytes()).unwrap()
}

/// One that says by no name which key signed it.
fn without_kid(key: &SigningKey, claims: &Value) -> String {
    let header = json!({"alg": key.algorithm().name(), "typ": "JWT"});
    let [header, claims] = [&header, claims].map(|it| URL_SAFE_NO_PAD.encode(it.to_string()));
    let text = format!("{header}.{claims}");
    let signature = key.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_certificate_is_of_the_workload_that_its_own_domain_answers_for() {
    let (ours, theirs) = (authority(), authority());
    let domains = trusting("example.org", &[x509(&ours)]);
    let id = domains.certified(&signed(&svid(ID), &ours), now()).unwrap();
    assert_eq!(id.as_str(), ID);
    // Another authority; another domain of this one's, which nobody knows.
    let refused = domains.certified(&signed(&svid(ID), &theirs), now()).unwrap_err();
    assert!(matches!(refused, SvidRefused::NotVouched(_)), "{refused}");
    let other = signed(&svid("spiffe://other.org/billing"), &ours);
    assert_eq!(domains.certified(&other, now()), Err(SvidRefused::Domain));
    // A key for JWT-SVIDs signs no certificates, whatever certificate it has.
    let mut for_tokens = x509(&ours);
    for_tokens["use"] = json!("jwt-svid");
    let domains = trusting("example.org", &[for_tokens]);
    assert!(domains.certified(&signed(&svid(ID), &ours), now()).is_err());
}

#[test]
fn domains_are_never_merged() {
    let (ours, theirs) = (authority(), authority());
    let keys = [Algorithm::Es256; 2].map(|algorithm| SigningKey::generate(algorithm).unwrap());
    let names = [domain("example.org"), domain("other.org")];
    let domains = TrustDomains::new(names.clone());
    let text = token(&keys[0], "JWT", &good());
    // Before a bundle was had, nobody is anybody.
    assert_eq!(domains.certified(&signed(&svid(ID), &ours), now()), Err(SvidRefused::NoBundle));
    assert_eq!(domains.asserted(&text, ISSUER, now()), Err(SvidRefused::NoBundle));
    domains.trust(&names[0], bundle(&[x509(&ours), jwt(&keys[0])]));
    domains.trust(&names[1], bundle(&[x509(&theirs), jwt(&keys[1])]));
    assert!(domains.certified(&signed(&svid(ID), &ours), now()).is_ok());
    assert!(domains.asserted(&text, ISSUER, now()).is_ok());
    // The keys of the other domain sign for its own workloads alone.
    assert!(domains.certified(&signed(&svid(ID), &theirs), now()).is_err());
    let forged = domains.asserted(&token(&keys[1], "JWT", &good()), ISSUER, now());
    assert_eq!(forged, Err(SvidRefused::Jwt(JwtRefused::UnknownKey)));
    // What a domain takes back with an empty bundle does not count any more.
    domains.trust(&names[0], bundle(&[]));
    assert!(domains.certified(&signed(&svid(ID), &ours), now()).is_err());
    assert!(domains.asserted(&text, ISSUER, now()).is_err());
}

#[test]
fn a_certificate_that_is_no_svid_is_of_nobody() {
    let ours = authority();
    let domains = trusting("example.org", &[x509(&ours)]);
    let changed = |change: Change<'_>| {
        let mut params = svid(ID);
        change(&mut params);
        domains.certified(&signed(&params, &ours), now())
    };
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    assert!(
        changed(&|it| it.subject_alt_names.push(SanType::DnsName("a".try_into().unwrap()))).is_ok()
    );
    let broken: [(NoSvid, Change<'_>); 8] = [
        (NoSvid::Uris, &|it| it.subject_alt_names.clear()),
        (NoSvid::Uris, &|it| it.subject_alt_names.push(uri("https://billing.example"))),
        (NoSvid::Uris, &|it| it.subject_alt_names.push(uri(ID))),
        (NoSvid::Authority, &|it| it.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
        (NoSvid::Usage, &|it| it.key_usages.clear()),
        (NoSvid::Usage, &|it| it.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        (NoSvid::Usage, &|it| it.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        (NoSvid::Usage, &|it| it.key_usages.push(KeyUsagePurpose::CrlSign)),
    ];
    for (refused, change) in broken {
        assert_eq!(changed(change), Err(SvidRefused::X509(refused)));
    }
    for id in ["spiffe://example.org", "spiffe://Example.org/a", "spiffe://example.org/a/../b"] {
        let refused = changed(&|it| it.subject_alt_names = vec![uri(id)]).unwrap_err();
        assert!(matches!(refused, SvidRefused::X509(NoSvid::Id(_))), "{id}: {refused}");
    }
    // A second one that cannot be read is a second one.
    let twice =
        [&[0x86, u8::try_from(ID.len()).unwrap()], ID.as_bytes(), &[0x86, 2, 0xc3, 0x28]].concat();
    let twice = [&[0x30, u8::try_from(twice.len()).unwrap()], twice.as_slice()].concat();
    let refused = changed(&|it| {
        it.subject_alt_names.clear();
        let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], twice.clone());
        it.custom_extensions.push(names);
    });
    assert_eq!(refused, Err(SvidRefused::X509(NoSvid::Malformed)));
    let unvouched: [Change<'_>; 3] = [
        &|it| it.not_after = date_time_ymd(2026, 1, 1),
        &|it| it.not_before = date_time_ymd(2027, 1, 1),
        // For servers alone.
        &|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
    ];
    for change in unvouched {
        assert!(matches!(changed(change), Err(SvidRefused::NotVouched(_))));
    }
}

#[test]
fn a_token_counts_for_us_and_for_a_few_minutes() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256] {
        let key = SigningKey::generate(algorithm).unwrap();
        let domains = trusting("example.org", &[jwt(&key)]);
        for typ in ["JWT", "JOSE"] {
            let svid = domains.asserted(&token(&key, typ, &good()), ISSUER, now()).unwrap();
            assert_eq!((svid.id.as_str(), &svid.jti), (ID, &None));
        }
        // Its issuer says nothing, and an address in it leads nobody anywhere.
        let mut said = good();
        said["iss"] = json!("https://evil.example");
        said["jti"] = json!("once");
        let svid = domains.asserted(&token(&key, "JWT", &said), ISSUER, now()).unwrap();
        assert_eq!(svid.jti.as_deref(), Some("once"));
    }
}

#[test]
fn a_token_that_differs_in_one_thing_is_of_nobody() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let domains = trusting("example.org", &[jwt(&key)]);
    let asserted = |typ: &str, claims: &Value| {
        domains.asserted(&token(&key, typ, claims), ISSUER, now()).unwrap_err()
    };
    let refused = |why| SvidRefused::Jwt(why);
    let at = now().secs();
    for (name, value, why) in [
        ("aud", json!("https://issuer.example/"), JwtRefused::Audience),
        ("aud", json!("https://issuer.example/oauth2/token"), JwtRefused::Audience),
        ("aud", json!([ISSUER, "https://evil.example"]), JwtRefused::Audience),
        ("aud", json!([]), JwtRefused::Audience),
        ("exp", json!(at - 30), JwtRefused::Time),
        ("exp", json!(at + 331), JwtRefused::Time),
        ("iat", json!(at + 31), JwtRefused::Time),
        ("nbf", json!(at + 31), JwtRefused::Time),
        ("sub", json!("billing"), JwtRefused::Subject),
        ("sub", json!("spiffe://example.org"), JwtRefused::Subject),
        ("sub", json!("spiffe://example.org/*"), JwtRefused::Subject),
    ] {
        let mut claims = good();
        claims[name] = value.clone();
        assert_eq!(asserted("JWT", &claims), refused(why), "{name} = {value}");
    }
    let mut other = good();
    other["sub"] = json!("spiffe://other.org/billing");
    assert_eq!(asserted("JWT", &other), SvidRefused::Domain);
    for name in ["sub", "aud", "exp"] {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        assert!(
            matches!(asserted("JWT", &claims), SvidRefused::Jwt(JwtRefused::Claims(_))),
            "{name}"
        );
    }
    for (name, value) in
        [("jti", json!("")), ("jti", json!("a".repeat(1025))), ("exp", json!("soon"))]
    {
        let mut claims = good();
        claims[name] = value;
        assert!(
            matches!(asserted("JWT", &claims), SvidRefused::Jwt(JwtRefused::Claims(_))),
            "{name}"
        );
    }
    for typ in ["at+jwt", "jwt", "wit+jwt", "logout+jwt"] {
        assert_eq!(asserted(typ, &good()), refused(JwtRefused::Kind), "{typ}");
    }
    // Another key of this name, and a signature of another text.
    let forged = SigningKey::generate(Algorithm::Es256).unwrap();
    let forged = token(&forged, "JWT", &good());
    let forged = domains.asserted(&forged, ISSUER, now());
    assert_eq!(forged, Err(refused(JwtRefused::UnknownKey)));
    let (one, two) = (token(&key, "JWT", &good()), token(&key, "JWT", &other));
    let mixed = format!("{}.{}", one.rsplit_once('.').unwrap().0, two.rsplit_once('.').unwrap().1);
    assert_eq!(domains.asserted(&mixed, ISSUER, now()), Err(refused(JwtRefused::Signature)));
}

#[test]
fn a_key_counts_for_what_it_is_published_for() {
    let ed = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let es = SigningKey::generate(Algorithm::Es256).unwrap();
    let of = |purpose: Option<&str>| {
        let mut key = jwt(&es);
        match purpose {
            Some(purpose) => key["use"] = json!(purpose),
            None => drop(key.as_object_mut().unwrap().remove("use")),
        }
        key
    };
    let text = token(&es, "JWT", &good());
    assert!(
        trusting("example.org", &[of(Some("jwt-svid"))]).asserted(&text, ISSUER, now()).is_ok()
    );
    for purpose in [Some("x509-svid"), Some("wit-svid"), Some("sig"), None] {
        let refused = trusting("example.org", &[of(purpose)]).asserted(&text, ISSUER, now());
        assert_eq!(refused, Err(SvidRefused::Jwt(JwtRefused::UnknownKey)), "{purpose:?}");
    }
    let refused =
        trusting("example.org", &[jwt(&ed)]).asserted(&token(&ed, "JWT", &good()), ISSUER, now());
    assert_eq!(refused, Err(SvidRefused::Jwt(JwtRefused::UnknownKey)));
    // One without a name is none that a token could mean.
    let mut nameless = jwt(&es);
    nameless.as_object_mut().unwrap().remove("kid");
    assert!(trusting("example.org", &[nameless]).asserted(&text, ISSUER, now()).is_err());
    // What is no certificate of an authority vouches for nobody.
    let ours = authority();
    let leaf = svid(ID).signed_by(&KeyPair::generate().unwrap(), &ours).unwrap();
    let as_key = |x5c: Value| json!({"use": "x509-svid", "kty": "EC", "x5c": x5c});
    let (own, leaf) = (STANDARD.encode(ours.der()), STANDARD.encode(leaf.der()));
    for x5c in [json!([leaf]), json!([leaf, own]), json!([]), json!(["x"]), json!(own)] {
        let domains = trusting("example.org", &[as_key(x5c.clone())]);
        assert!(domains.certified(&signed(&svid(ID), &ours), now()).is_err(), "{x5c}");
    }
    // The first is the key's own, whatever stands behind it.
    let domains = trusting("example.org", &[as_key(json!([own, leaf]))]);
    assert!(domains.certified(&signed(&svid(ID), &ours), now()).is_ok());
    // An authority whose key is not for certificates is none.
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let other = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let domains = trusting("example.org", &[x509(&other)]);
    assert!(domains.certified(&signed(&svid(ID), &other), now()).is_err());
}

#[test]
fn a_key_signs_by_the_algorithm_that_it_names_alone() {
    let key = SigningKey::generate(Algorithm::Rs256).unwrap();
    let text = token(&key, "JWT", &good());
    for (named, counts) in
        [("RS256", true), ("PS256", false), ("RS512", false), ("none", false), ("", false)]
    {
        let mut published = jwt(&key);
        published["alg"] = json!(named);
        let domains = trusting("example.org", &[published]);
        assert_eq!(domains.asserted(&text, ISSUER, now()).is_ok(), counts, "{named}");
    }
    let mut published = jwt(&key);
    published["alg"] = json!(["RS256"]);
    assert!(trusting("example.org", &[published]).asserted(&text, ISSUER, now()).is_err());
}

#[test]
fn a_token_that_names_no_key_is_of_the_only_one() {
    let keys = [Algorithm::Rs256, Algorithm::Es256].map(|it| SigningKey::generate(it).unwrap());
    for key in &keys {
        let text = without_kid(key, &good());
        let domains = trusting("example.org", &[jwt(key)]);
        assert!(domains.asserted(&text, ISSUER, now()).is_ok());
        let domains = trusting("example.org", &keys.each_ref().map(jwt));
        let refused = domains.asserted(&text, ISSUER, now());
        assert_eq!(refused, Err(SvidRefused::Jwt(JwtRefused::UnknownKey)));
    }
}

#[test]
fn what_is_no_bundle_is_refused_and_what_is_not_known_passed_over() {
    let es = jwt(&SigningKey::generate(Algorithm::Es256).unwrap());
    let said = json!({
        "keys": [es, {"kty": "EC", "crv": "P-384", "use": "jwt-svid", "kid": "a"}, {"use": "new"}, {}],
        "spiffe_sequence": 7, "spiffe_refresh_hint": 60, "more": true,
    });
    let bundle = read(&said).unwrap();
    assert_eq!(bundle.to_string(), "0 for X.509-SVIDs, 1 for JWT-SVIDs, 3 passed over");
    assert_eq!(bundle.refresh_hint().unwrap().as_secs(), 60);
    for text in [
        "",
        "{}",
        "[]",
        "{\"keys\":{}}",
        "{\"keys\":[1]}",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[]}x",
        "{\"keys\":[],\"spiffe_sequence\":-1}",
        "{\"keys\":[{\"use\":\"a\",\"use\":\"b\"}]}",
    ] {
        let refused = Bundle::read(text.as_bytes()).unwrap_err();
        assert!(matches!(refused, BundleRefused::Malformed(_)), "{text}");
    }
    let large = format!("{{\"keys\":[]{}}}", " ".repeat(LARGEST));
    assert_eq!(Bundle::read(large.as_bytes()).unwrap_err(), BundleRefused::TooLarge);
}

#[test]
fn an_older_bundle_does_not_bring_back_what_was_taken_out() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let text = token(&key, "JWT", &good());
    let numbered = |number: u64, keys: &[Value]| {
        read(&json!({"keys": keys, "spiffe_sequence": number})).unwrap()
    };
    let (name, old) = (domain("example.org"), [jwt(&key)]);
    let domains = TrustDomains::new([name.clone()]);
    let until = now() + Duration::from_secs(60);
    domains.renew(&name, numbered(6, &old), until).unwrap();
    assert!(domains.asserted(&text, ISSUER, now()).is_ok());
    domains.renew(&name, numbered(7, &[]), until).unwrap();
    assert_eq!(domains.renew(&name, numbered(6, &old), until), Err(BundleRefused::Older));
    // Nor is one without a number, which could be any.
    assert_eq!(domains.renew(&name, bundle(&old), until), Err(BundleRefused::Older));
    assert!(domains.asserted(&text, ISSUER, now()).is_err());
    // An operator's file is what it is.
    domains.trust(&name, numbered(6, &old));
    assert!(domains.asserted(&text, ISSUER, now()).is_ok());
    // Of whom nobody was told, nobody is taken for anybody.
    domains.trust(&domain("other.org"), numbered(1, &old));
    assert!(domains.bundle(&domain("other.org"), now()).is_err());
}

#[test]
fn what_a_domain_published_counts_for_its_time_and_no_longer() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let name = domain("example.org");
    let domains = TrustDomains::new([name.clone()]);
    let (end, second) = (now() + Duration::from_secs(60), Duration::from_secs(1));
    let asserted = |at: Timestamp| {
        let mut claims = good();
        claims["exp"] = json!(at.secs() + 60);
        claims["iat"] = json!(at.secs());
        domains.asserted(&token(&key, "JWT", &claims), ISSUER, at).map(drop)
    };
    domains.confirm(&name, end);
    assert_eq!(asserted(now()), Err(SvidRefused::NoBundle));
    assert_eq!(domains.until().count(), 0);
    domains.renew(&name, bundle(&[jwt(&key)]), end).unwrap();
    assert_eq!(domains.until().collect::<Vec<_>>(), [(&name, end)]);
    assert_eq!(asserted(now()), Ok(()));
    assert_eq!(asserted(end), Err(SvidRefused::Stale));
    // It was had again: the same, or, where it is an older one, not.
    domains.confirm(&name, end + second);
    assert_eq!(asserted(end), Ok(()));
    let numbered = read(&json!({"keys": [jwt(&key)], "spiffe_sequence": u64::MAX})).unwrap();
    domains.renew(&name, numbered, end).unwrap();
    let later = domains.renew(&name, bundle(&[jwt(&key)]), end + second);
    assert_eq!((later, asserted(end)), (Err(BundleRefused::Older), Err(SvidRefused::Stale)));
    // What an operator puts there has no end.
    domains.trust(&name, bundle(&[jwt(&key)]));
    assert_eq!(asserted(end + Duration::from_secs(1 << 32)), Ok(()));
}
