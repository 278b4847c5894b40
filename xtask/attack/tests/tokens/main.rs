//! Each token of the corpus that must be refused breaks one rule, and is taken by whoever lacks that rule and no other.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this is tests, and what does not hold is to end them"
)]

use std::path::Path;

use serde_json::json;
use tegata_attack::{
    case::{Case, Expect, Say, read_all},
    forge::{Forge, IssuerKey},
};

use self::careless::{Refusal, Rule, Verifier};

mod careless;
mod json;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example";
const CANARY: &str = "http://127.0.0.1:9/";
const NOW: u64 = 1_800_000_000;

/// The cases that show a token.
fn cases() -> Vec<Case> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/gateway");
    let mut cases = read_all(&corpus).unwrap();
    cases.retain(|case| case.token.is_some());
    cases
}

/// An issuer, and what its tokens are made of.
struct World {
    public: Vec<u8>,
    forge: Forge<'static>,
}

impl World {
    fn new() -> Self {
        let made = rcgen::KeyPair::generate().unwrap();
        let key = IssuerKey::of(&made.serialize_der()).unwrap();
        let claims = json!({
            "iss": ISSUER, "sub": "usr_alice", "aud": AUDIENCE, "exp": NOW + 900, "iat": NOW,
            "jti": "1.a", "client_id": "web", "scope": "orders.read", "roles": ["customer"],
        });
        let public = key.public();
        let sign = move |text: &[u8]| key.sign(text);
        let forge = Forge::with_key("k", &claims, (NOW, CANARY), public.clone(), sign).unwrap();
        Self { public, forge }
    }

    fn token(&self, case: &Case) -> String {
        let wanted = case.token.as_ref().unwrap();
        self.forge.token(wanted).unwrap_or_else(|error| panic!("{}: {error:#}", case.name))
    }

    fn verify(&self, token: &str, lacks: Option<Rule>) -> Result<(), Refusal> {
        let stranger = self.forge.stranger();
        let verifier = Verifier {
            kid: "k",
            issuer: ISSUER,
            audience: AUDIENCE,
            now: NOW,
            public: &self.public,
            fetched: (CANARY, &stranger),
            lacks,
        };
        verifier.verify(token)
    }
}

/// Whether a request shows the token as it must be shown, and nowhere else (RFC 6750 §2.1).
fn is_in_its_place(case: &Case) -> bool {
    let Say::Request { target, fields, body, .. } = &case.say else { return false };
    let shows = |text: &str| text.contains("{token}");
    let elsewhere = fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
    let shown: Vec<_> =
        fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("authorization")).collect();
    let is_bearer = matches!(shown.as_slice(), [(_, value)] if value
        .split_once(' ')
        .is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && token == "{token}"));
    is_bearer
        && !shows(target)
        && !body.as_deref().is_some_and(shows)
        && !elsewhere.into_iter().any(|(_, value)| shows(value))
}

#[test]
fn each_case_breaks_the_one_rule_that_it_names() {
    let world = World::new();
    let mut broken = Vec::new();
    for case in cases() {
        let (name, token) = (&case.name, world.token(&case));
        let strict = world.verify(&token, None);
        let rule = match (&case.expect, case.rule.as_deref()) {
            (Expect::Served, rule) => {
                assert_eq!((rule, strict), (None, Ok(())), "{name}");
                continue;
            }
            (_, None) => panic!("`{name}` says of no rule that it breaks it"),
            (_, Some("-")) => {
                assert!(strict.is_err(), "{name}");
                continue;
            }
            // A token that counts, where none is looked for.
            (_, Some("place")) => {
                assert_eq!((strict, is_in_its_place(&case)), (Ok(()), false), "{name}");
                continue;
            }
            (_, Some(rule)) => Rule::ALL.iter().find(|(known, _)| *known == rule),
        };
        let (_, rule) = *rule.unwrap_or_else(|| panic!("`{name}` breaks a rule that is not known"));
        assert!(is_in_its_place(&case), "{name}");
        assert_eq!(strict, Err(Refusal::Broken(rule)), "{name}");
        assert_eq!(world.verify(&token, Some(rule)), Ok(()), "{name}");
        broken.push(rule);
    }
    for (name, rule) in Rule::ALL {
        assert!(broken.contains(&rule), "no case breaks `{name}`");
    }
}

/// A refusal for another reason would prove another rule, or none.
#[test]
fn each_refused_token_says_how_its_problem_is_called() {
    for case in cases() {
        let is_said = case.problem.is_some() || case.expect == Expect::Served;
        assert!(is_said, "{}", case.name);
    }
}

#[test]
fn a_good_token_is_taken_by_all() {
    let world = World::new();
    let good = Case::parse("tokens/x", "why: -\nexpect: served\ntarget: {token}\n").unwrap();
    let token = world.token(&good);
    for lacks in Rule::ALL.map(|(_, rule)| Some(rule)).into_iter().chain([None]) {
        assert_eq!(world.verify(&token, lacks), Ok(()), "{lacks:?}");
    }
}
