use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tegata_core::{Clock as _, ManualClock, UserId};

use super::*;
use crate::{
    Expected, ExpectedAudience, ForeignToken, KeySet, Memory, SigningKey, Verifier, VerifyingKey,
    foreign::Name, jws,
};

const AUDIENCE: &str = "https://api.example";

/// An issuer elsewhere, as it is known here.
struct Issuer {
    name: String,
    key: SigningKey,
    clock: Arc<ManualClock>,
    tokens: Verifier<ForeignToken>,
}

impl Issuer {
    fn named(name: &str) -> Self {
        Self::with(name, ForeignRules::default())
    }

    fn with(name: &str, rules: ForeignRules) -> Self {
        // All have a key of one name.
        let kid = Some(tegata_core::KeyId::new("key-1").unwrap());
        let key = SigningKey::generate(Algorithm::Es256).unwrap().to_pkcs8().unwrap();
        let key = SigningKey::from_pkcs8(key.expose(), None, kid).unwrap();
        let clock = Arc::new(ManualClock::default());
        let expected = Expected {
            issuer: name.to_owned(),
            audience: ExpectedAudience::OneOf(vec![AUDIENCE.to_owned()]),
            leeway: Duration::from_secs(30),
        };
        let tokens = Verifier::of_another(expected, rules, &Memory::default(), clock.clone());
        tokens.use_keys(KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())]));
        Self { name: name.to_owned(), key, clock, tokens }
    }

    fn claims(&self) -> Value {
        let now = self.clock.now().secs();
        json!({
            "iss": self.name, "sub": "alice", "aud": AUDIENCE, "exp": now + 900, "iat": now,
            "jti": "t1", "client_id": "web", "sid": "s1", "scope": "orders.read",
        })
    }

    fn sign(&self, claims: &Value) -> String {
        jws::sign(&self.key, "at+jwt", claims.to_string().as_bytes()).unwrap()
    }

    fn says(&self, claims: &Value) -> Claims {
        self.tokens.verify(&self.sign(claims)).unwrap().claims().clone()
    }

    fn refuses(&self, name: &str, value: Value) -> Refusal {
        let mut claims = self.claims();
        claims[name] = value;
        self.tokens.verify(&self.sign(&claims)).unwrap_err()
    }
}

#[test]
fn what_another_issuer_names_is_nothing_of_ours() {
    let issuer = Issuer::named("https://idp.example");
    let mut claims = issuer.claims();
    claims["sub"] = json!("usr_1");
    claims["client_id"] = json!("tegata-browser");
    claims["act"] = json!({"sub": "checkout", "act": {"sub": "usr_2"}});
    // All of these would mean something in a token of ours.
    claims["fid"] = json!("1.30000.f");
    claims["roles"] = json!(["admin"]);
    claims["permissions"] = json!(["all"]);
    claims["acr"] = json!("aal3");
    claims["original_jti"] = json!("1.a");
    claims["status"] = json!({"status_list": {"idx": 1, "uri": "https://idp.example/1"}});
    let said = issuer.says(&claims);
    assert_eq!(said.sub, "https://idp.example usr_1");
    assert_eq!(said.client_id.as_deref(), Some("https://idp.example tegata-browser"));
    assert_eq!(said.jti, "https://idp.example t1");
    assert!(UserId::new(&said.sub).is_err() && tegata_core::ClientId::new(&said.sub).is_err());
    let act = said.act.unwrap();
    assert_eq!(act.sub, "https://idp.example checkout");
    assert_eq!(act.act.unwrap().sub, "https://idp.example usr_2");
    assert_eq!((said.fid, said.sid, said.acr, said.original_jti), (None, None, None, None));
    assert!(said.roles.is_empty() && said.permissions.is_none() && said.status.is_none());
    assert_eq!(said.scope.as_str(), "orders.read");
}

/// Another installation of Tegata says what its tokens were made from.
#[test]
fn a_derived_token_of_another_issuer_is_as_old_as_its_first() {
    let issuer = Issuer::named("https://idp.example");
    let mut claims = issuer.claims();
    let now = issuer.clock.now().secs();
    let covered = |claims: &Value, up_to: u64| {
        let verified = issuer.tokens.verify(&issuer.sign(claims)).unwrap();
        verified.names().unwrap().covered(up_to * 1000)
    };
    assert!(covered(&claims, now) && !covered(&claims, now - 1));
    claims["lineage"] = json!({"iat": now - 60});
    assert!(covered(&claims, now - 60) && !covered(&claims, now - 61));
    // It makes nothing younger, and what is no moment is none.
    for lineage in [json!({"iat": now + 9}), json!({"iat": "x"}), json!([]), json!({"iat": -1})] {
        claims["lineage"] = lineage;
        assert!(covered(&claims, now) && !covered(&claims, now - 1));
    }
}

#[test]
fn a_token_of_another_issuer_that_outlives_its_session_does_not_end_with_it() {
    let issuer = Issuer::named("https://idp.example");
    let session = Name::session("https://idp.example", "s1");
    let has_session = |claims: &Value| {
        let verified = issuer.tokens.verify(&issuer.sign(claims)).unwrap();
        assert!(!verified.claims().outlives_session);
        verified.names().unwrap().all().any(|(name, _)| name == session)
    };
    let mut claims = issuer.claims();
    assert!(has_session(&claims));
    claims["outlives_session"] = json!(true);
    assert!(!has_session(&claims));
    for no in [json!(false), json!("true"), json!(1), json!(null)] {
        claims["outlives_session"] = no;
        assert!(has_session(&claims), "{claims}");
    }
}

#[test]
fn one_name_at_two_issuers_is_two_names() {
    let (a, b) = (Issuer::named("https://a.example"), Issuer::named("https://b.example"));
    let (of_a, of_b) = (a.says(&a.claims()), b.says(&b.claims()));
    assert_ne!(of_a.sub, of_b.sub);
    let names = |issuer: &Issuer| {
        let verified = issuer.tokens.verify(&issuer.sign(&issuer.claims())).unwrap();
        verified.names().unwrap().all().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let (of_a, of_b) = (names(&a), names(&b));
    assert!(of_a.iter().all(|name| !of_b.contains(name)));
    assert!(of_a.contains(&Name::subject("https://a.example", "alice")));
    assert!(of_a.contains(&Name::session("https://a.example", "s1")));
    assert!(of_a.contains(&Name::client("https://a.example", "web")));
    assert!(of_a.contains(&Name::key_of("https://a.example", "key-1")));
}

#[test]
fn a_client_is_found_where_issuers_of_before_rfc_9068_name_it() {
    // Whether the claims are looked at for rights or not.
    let rules = ForeignRules { scope: None, roles: None, ..ForeignRules::default() };
    for issuer in [Issuer::named("https://a.example"), Issuer::with("https://a.example", rules)] {
        let names = |claims: &Value| {
            let verified = issuer.tokens.verify(&issuer.sign(claims)).unwrap();
            verified.names().unwrap().all().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let client = |name: &str| Name::client("https://a.example", name);
        let mut claims = issuer.claims();
        claims["azp"] = json!("shop");
        let both = names(&claims);
        assert!(both.contains(&client("shop")) && both.contains(&client("web")));
        claims.as_object_mut().unwrap().remove("client_id");
        let one = names(&claims);
        assert!(one.contains(&client("shop")) && !one.contains(&client("web")));
        claims["azp"] = json!(null);
        assert!(!names(&claims).contains(&client("shop")));
        // It gives no right.
        assert_eq!(issuer.says(&claims).client_id, None);
        assert_eq!(issuer.refuses("azp", json!(["shop"])), Refusal::Claims("`azp` is not a text"));
    }
}

#[test]
fn a_key_of_one_issuer_signs_for_no_other() {
    let (a, b) = (Issuer::named("https://a.example"), Issuer::named("https://b.example"));
    // The same `kid`, and the claims of the other.
    assert_eq!(a.tokens.verify(&b.sign(&a.claims())).unwrap_err(), Refusal::Signature);
    assert_eq!(a.tokens.verify(&b.sign(&b.claims())).unwrap_err(), Refusal::Signature);
    assert_eq!(a.tokens.verify(&a.sign(&b.claims())).unwrap_err(), Refusal::Issuer);
    // Nearly the name is another name.
    for name in ["https://a.example/", "https://A.example", "https://a.example "] {
        assert_eq!(a.refuses("iss", json!(name)), Refusal::Issuer);
    }
}

#[test]
fn the_algorithm_is_that_of_the_key_and_one_that_the_issuer_may_use() {
    let issuer = Issuer::named("https://idp.example");
    let token = issuer.sign(&issuer.claims());
    let parts: Vec<_> = token.split('.').collect();
    for alg in ["none", "HS256", "RS256", "EdDSA", "es256"] {
        let header = json!({"alg": alg, "kid": "key-1", "typ": "at+jwt"}).to_string();
        let header = URL_SAFE_NO_PAD.encode(header);
        let forged = format!("{header}.{}.{}", parts[1], parts[2]);
        assert_eq!(issuer.tokens.verify(&forged).unwrap_err(), Refusal::Algorithm, "{alg}");
    }
    let rules = ForeignRules { algorithms: vec![Algorithm::Rs256], ..ForeignRules::default() };
    let strict = Issuer::with("https://idp.example", rules);
    let refused = strict.tokens.verify(&strict.sign(&strict.claims())).unwrap_err();
    assert_eq!(refused, Refusal::Algorithm);
}

#[test]
fn only_kinds_that_were_named_count() {
    let kinds = |kinds: &[&str]| ForeignRules {
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        ..ForeignRules::default()
    };
    let typed = |issuer: &Issuer, typ: &str| {
        let token = jws::sign(&issuer.key, typ, issuer.claims().to_string().as_bytes()).unwrap();
        issuer.tokens.verify(&token).map(drop)
    };
    let usual = Issuer::named("https://idp.example");
    let older = Issuer::with("https://idp.example", kinds(&["at+jwt", "JWT"]));
    for (typ, by_usual, by_older) in [
        ("at+jwt", true, true),
        ("application/AT+JWT", true, true),
        ("JWT", false, true),
        ("tegata-internal+jwt", false, false),
        ("logout+jwt", false, false),
        ("", false, false),
    ] {
        assert_eq!(typed(&usual, typ).is_ok(), by_usual, "{typ}");
        assert_eq!(typed(&older, typ).is_ok(), by_older, "{typ}");
    }
}

#[test]
fn refuses_what_could_not_be_named_or_would_outlive_its_being_taken_back() {
    let issuer = Issuer::named("https://idp.example");
    let now = issuer.clock.now().secs();
    assert_eq!(issuer.refuses("exp", json!(now + 86_401)), Refusal::TooLong);
    // A token that was made from one of long ago is as old as that one.
    assert_eq!(issuer.refuses("lineage", json!({"iat": now - 86_400})), Refusal::TooLong);
    assert_eq!(issuer.refuses("exp", json!(9_007_199_254_740_991_u64)), Refusal::TooLong);
    assert!(matches!(issuer.refuses("jti", json!("")), Refusal::Claims(_)));
    for sub in ["", " ", "a b", "alice ", "é", "a\nb", &"x".repeat(256)] {
        assert!(matches!(issuer.refuses("sub", json!(sub)), Refusal::Claims(_)), "{sub:?}");
        assert!(matches!(issuer.refuses("client_id", json!(sub)), Refusal::Claims(_)), "{sub:?}");
    }
    assert!(matches!(issuer.refuses("scope", json!({"a": 1})), Refusal::Claims(_)));
    assert!(matches!(issuer.refuses("scope", json!("a\"b")), Refusal::Claims(_)));
    assert_eq!(issuer.refuses("aud", json!("https://other.example")), Refusal::Audience);
    assert_eq!(issuer.refuses("exp", json!(now - 31)), Refusal::Expired);
    assert!(matches!(issuer.refuses("iat", json!("1")), Refusal::Claims(_)));
}

#[test]
fn rights_stand_where_the_configuration_says() {
    let rules = ForeignRules {
        scope: Some("scp".into()),
        roles: Some("/realm_access/roles".into()),
        ..ForeignRules::default()
    };
    let issuer = Issuer::with("https://idp.example", rules);
    let mut claims = issuer.claims();
    assert_eq!((issuer.says(&claims).scope, issuer.says(&claims).roles), Default::default());
    claims["scp"] = json!(["a", "b"]);
    claims["realm_access"] = json!({"roles": ["editor"]});
    let said = issuer.says(&claims);
    assert_eq!((said.scope.as_str(), said.roles), ("a b", vec!["editor".to_owned()]));
    // What is not where it should be is not there, and what is no right is none.
    claims["realm_access"] = json!({"roles": [1]});
    assert!(issuer.tokens.verify(&issuer.sign(&claims)).is_err());
    let none = ForeignRules { scope: None, ..ForeignRules::default() };
    let none = Issuer::with("https://idp.example", none);
    assert!(none.says(&none.claims()).scope.is_empty());
}

#[test]
fn a_key_that_left_the_set_verifies_nothing_it_had_verified() {
    let issuer = Issuer::named("https://idp.example");
    let token = issuer.sign(&issuer.claims());
    issuer.tokens.verify(&token).unwrap();
    assert!(issuer.tokens.remembered(&token).is_some());
    issuer.tokens.use_keys(KeySet::default());
    assert!(issuer.tokens.remembered(&token).is_none());
    assert_eq!(issuer.tokens.verify(&token).unwrap_err(), Refusal::UnknownKey);
}
