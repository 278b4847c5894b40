//! What verifying a token costs beyond its signature, how much the memory of a verifier saves, and
//! what asking about revocation costs beside it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot be set up has nothing to say"
)]

use std::{sync::Arc, time::Duration};

use tegata_core::{
    Clock as _, Epoch, FamilyId, ManualClock, Node, Realm, SeededEntropy, SystemClock, TokenId,
};
use tegata_rounds::{Effort, Turns};
use tegata_token::{
    AccessToken, Algorithm, Claims, Expected, ExpectedAudience, KeySet, ListId, Memory, RealmView,
    Scope, SigningKey, StatusIndex, Verified, Verifier, VerifyingKey, View,
    claims::{Status, StatusEntry},
    jws::{self, Compact},
    revocation::{Entry, Target},
};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example";

/// Tokens that are presented again and again, as by a busy set of callers.
const HOT: usize = 1000;

/// Tokens that do not fit into the processor's caches.
const MANY: usize = 100_000;

/// Lists that the tokens are spread over: as many as 50 million living tokens fill.
const LISTS: u32 = 48;

fn main() {
    let effort = Effort::asked();
    let node = Node::start();
    for algorithm in Algorithm::ALL {
        verification(algorithm, &node, effort);
    }
    revocation(&node, effort);
}

/// A signed token for each number below `count`.
fn tokens(key: &SigningKey, node: &Node, count: usize) -> Vec<String> {
    (0..count).map(|number| jws::sign(key, "at+jwt", &claims(node, number)).unwrap()).collect()
}

/// What the provider writes into the access token of a person.
fn claims(node: &Node, number: usize) -> Vec<u8> {
    let (now, list) = (node.now(), list(u32::try_from(number).unwrap() % LISTS, node));
    let claims = Claims {
        iss: ISSUER.to_owned(),
        sub: format!("usr_{number:022}"),
        aud: AUDIENCE.into(),
        exp: now.secs() + 3600,
        iat: now.secs(),
        jti: TokenId::generate(Epoch::FIRST, node.entropy()).as_str().to_owned(),
        client_id: Some("web".to_owned()),
        scope: Scope::new("openid orders.read orders.write").unwrap(),
        roles: vec!["customer".to_owned()],
        sid: Some(format!("1.20500.session{number:015}")),
        fid: Some(format!("1.20500.family{number:016}")),
        acr: Some("aal1".to_owned()),
        amr: vec!["pwd".to_owned()],
        auth_time: Some(now.secs()),
        status: Some(Status {
            status_list: StatusEntry {
                // Even places are these tokens', odd ones are those that are revoked below.
                idx: random(number) % (1 << 19) * 2,
                uri: format!("{ISSUER}/status-lists/{list}"),
            },
        }),
        ..Claims::default()
    };
    claims.to_json()
}

fn list(number: u32, node: &Node) -> ListId {
    ListId { epoch: Epoch::FIRST, slot: ListId::slot_at(node.now()), number }
}

/// A number that looks random (Knuth's multiplicative hash).
fn random(number: usize) -> u32 {
    u32::try_from(number).unwrap().wrapping_mul(2_654_435_769) >> 7
}

fn verifier(key: &SigningKey, node: &Node, remembered: usize) -> Verifier<AccessToken> {
    let expected = Expected {
        issuer: ISSUER.to_owned(),
        audience: ExpectedAudience::OneOf(vec![AUDIENCE.to_owned()]),
        leeway: Duration::from_secs(30),
    };
    let memory = Memory { tokens: remembered, longest: Duration::from_secs(3600) };
    let verifier = Verifier::new(expected, &memory, Arc::clone(node.clock()));
    verifier.use_keys(KeySet::new(vec![Arc::new(VerifyingKey::from_jwk(key.jwk()).unwrap())]));
    verifier
}

/// A verifier that remembers these tokens.
fn remembering(key: &SigningKey, node: &Node, tokens: &[String]) -> Verifier<AccessToken> {
    let verifier = verifier(key, node, tokens.len() * 2);
    for token in tokens {
        verifier.verify(token).unwrap();
    }
    verifier
}

/// Walks through something over and over: in a random order, so that the next is never near.
fn walk<'a, T>(all: &'a [T]) -> impl FnMut() -> &'a T {
    let mut at = 0_usize;
    move || {
        // A step that has no divisor in common with the sizes above reaches everything.
        at = (at + 61_803) % all.len();
        &all[at]
    }
}

fn verification(algorithm: Algorithm, node: &Node, effort: Effort) {
    let key = SigningKey::generate(algorithm).unwrap();
    // PS256 tokens are as long as those of RS256, and dear to make.
    let many = if algorithm == Algorithm::Ps256 { HOT } else { MANY };
    let all = tokens(&key, node, effort.size(many, HOT));
    let hot = &all[..HOT];
    let parsed: Vec<_> = hot.iter().map(|token| Compact::parse(token).unwrap()).collect();
    let public = VerifyingKey::from_jwk(key.jwk()).unwrap();
    let forgetful = verifier(&key, node, 0);
    let (few, full) = (remembering(&key, node, hot), remembering(&key, node, &all));

    let (mut raw, mut anew, mut again, mut far) = (walk(&parsed), walk(hot), walk(hot), walk(&all));
    let length = hot.first().map_or(0, String::len);
    let mut turns = Turns::new(format!("verify {algorithm}, tokens of {length} bytes"))
        .case("the signature alone", || {
            let token = raw();
            assert!(public.verifies(token.signed.as_bytes(), &token.signature));
        })
        .case("verify, nothing remembered", || forgetful.verify(anew()).unwrap())
        .case("verify, 1,000 remembered tokens", || few.verify(again()).unwrap());
    if all.len() > HOT {
        let name = "verify, 100,000 remembered tokens";
        turns = turns.case(name, || full.verify(far()).unwrap());
    }
    turns.measure(effort);
    assert_eq!(full.memory_use().misses, u64::try_from(all.len()).unwrap(), "all were remembered");
}

/// What has been revoked in a view.
#[derive(Clone, Copy)]
enum Revoked {
    /// Places in status lists: what stays when names have been forgotten.
    Places(u32),
    /// Families by name, each with the place of a token: what the log holds of recent sign-outs.
    Families(u32),
}

/// A view in which this is revoked, and none of the tokens above.
fn view(revoked: Revoked) -> Arc<RealmView> {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let node = Node::with(clock, Arc::new(SeededEntropy::new(2)));
    let (view, realm) = (View::new(node.clone()), Realm::default());
    let (Revoked::Places(count) | Revoked::Families(count)) = revoked;
    let until = node.now() + Duration::from_secs(3600);
    for number in 0..count {
        let index = random(usize::try_from(number).unwrap()) % (1 << 19) * 2 + 1;
        let entry = Entry {
            target: match revoked {
                // A token with a place is not kept by its name.
                Revoked::Places(_) => {
                    Target::Token(TokenId::generate(Epoch::FIRST, node.entropy()))
                }
                Revoked::Families(_) => {
                    Target::Family(FamilyId::generate(Epoch::FIRST, until, node.entropy()))
                }
            },
            places: vec![StatusIndex { list: list(number % LISTS, &node), index }],
            at: node.now(),
            until,
            reason: "logout".to_owned(),
            actor: "system".to_owned(),
        };
        view.apply(&realm, &entry);
    }
    view.realm(&realm)
}

fn revocation(node: &Node, effort: Effort) {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let texts = tokens(&key, node, HOT);
    let verifier = remembering(&key, node, &texts);
    let verified: Vec<Arc<Verified<AccessToken>>> =
        texts.iter().map(|token| verifier.verify(token).unwrap()).collect();
    let million = u32::try_from(effort.size(1_000_000, 1000)).unwrap();
    let views = [
        ("check, nothing revoked", Revoked::Places(0)),
        ("check, 1,000 places", Revoked::Places(1000)),
        ("check, 1,000,000 places", Revoked::Places(million)),
        ("check, 1,000 families", Revoked::Families(1000)),
        ("check, 1,000,000 families", Revoked::Families(million)),
    ]
    .map(|(name, revoked)| (name, view(revoked)));
    let mut hot = walk(&texts);
    let mut turns = Turns::new("revocation, 1,000 tokens in 48 lists")
        .case("verify, 1,000 remembered tokens", || verifier.verify(hot()).unwrap());
    for (name, view) in views {
        let mut next = walk(&verified);
        turns = turns.case(name, move || assert_eq!(view.check(next().as_ref()), None));
    }
    turns.measure(effort);
}
