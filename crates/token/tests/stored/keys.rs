//! Key rings on a store, used by two nodes.

use std::{sync::Arc, time::Duration};

use tegata_core::{Log, ManualClock, Realm, Records, StoreError, port::Topic};
use tegata_store::MemoryRecords;
use tegata_token::{
    AccessToken, Algorithm, Expected, ExpectedAudience, Keys, KeysRefused, Memory, Order, Refusal,
    Revoked, RingRefused, RotationRules, SigningKey, Verifier, hint::IdTokenHint, jws,
};

use super::world::{World, kinds};

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Es256, Algorithm::EdDsa];

async fn keys(world: &World) -> Keys {
    keys_with(world, RotationRules::default()).await
}

async fn keys_with(world: &World, rules: RotationRules) -> Keys {
    Keys::open(
        world.node.clone(),
        world.realm.clone(),
        world.records.clone(),
        world.feed.clone(),
        world.revoker.clone(),
        rules,
        &ALGORITHMS,
    )
    .await
    .unwrap()
}

fn verifier(world: &World, keys: &Keys) -> Arc<Verifier<AccessToken>> {
    let expected = Expected {
        issuer: "https://issuer.example".into(),
        audience: ExpectedAudience::DangerAny,
        leeway: Duration::ZERO,
    };
    let clock = Arc::clone(world.node.clock());
    let verifier = Arc::new(Verifier::new(expected, &Memory::default(), clock));
    let listening = Arc::clone(&verifier);
    keys.listen(move |keys| listening.use_keys(keys.clone()));
    verifier
}

fn sign(world: &World, keys: &Keys) -> String {
    let now = world.node.now().secs();
    let claims = serde_json::json!({
        "iss": "https://issuer.example", "sub": "usr_1", "aud": "a",
        "exp": now + 900, "iat": now, "jti": "1.a",
    });
    let key = keys.now().signer(Algorithm::Es256).unwrap();
    jws::sign(&key, "at+jwt", claims.to_string().as_bytes()).unwrap()
}

fn fresh() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap()
}

#[tokio::test]
async fn two_nodes_that_start_at_once_have_the_same_keys() {
    let clock = Arc::new(ManualClock::default());
    let store: Arc<dyn Records> = Arc::new(MemoryRecords::new(&kinds(), clock.clone()).unwrap());
    let one = World::on(store.clone(), clock.clone(), 1).await;
    let two = World::on(store, clock, 2).await;
    let (one, two) = tokio::join!(keys(&one), keys(&two));
    assert_eq!(one.now().jwks(), two.now().jwks());
    assert_eq!(one.now().jwks().len(), 4);
}

#[tokio::test]
async fn rotation_fails_no_verification_on_a_node_that_reads_its_rings_now_and_then() {
    let (world, clock) = World::in_memory().await;
    let (signing, elsewhere) = (keys(&world).await, keys(&world).await);
    let verifier = verifier(&world, &elsewhere);
    let mut alive: Vec<(String, u64)> = vec![];
    for _ in 0..16 {
        clock.advance(Duration::from_secs(300));
        signing.rotate(&fresh(), false).await.unwrap();
        let now = world.node.now().secs();
        alive.push((sign(&world, &signing), now + 900));
        alive.retain(|(_, exp)| *exp > now);
        for (token, _) in &alive {
            // The other node has not read its rings since before the rotation.
            assert!(verifier.verify(token).is_ok());
        }
        elsewhere.reload().await.unwrap();
        for (token, _) in &alive {
            assert!(verifier.verify(token).is_ok());
        }
        signing.tidy().await.unwrap();
    }
    assert!(signing.now().list().any(|(_, _, state)| state.name() == "retired"));
}

#[tokio::test]
async fn a_rotation_that_verifiers_could_miss_is_refused_unless_forced() {
    let (world, _) = World::in_memory().await;
    let keys = keys(&world).await;
    let early = keys.rotate(&fresh(), false).await.unwrap_err();
    assert!(matches!(early, KeysRefused::Ring(RingRefused::TooSoon { .. })));
    keys.rotate(&fresh(), true).await.unwrap();
}

const MONTHLY: RotationRules = RotationRules {
    published_for: Duration::from_secs(300),
    verifies_for: Duration::from_secs(3660),
    signs_for: Some(Duration::from_secs(30 * 86_400)),
};

/// Nodes that all see that it is time, at once: the keys move by one, and no verification fails.
#[tokio::test]
async fn of_many_nodes_that_find_a_key_due_one_replaces_it() {
    let (world, clock) = World::in_memory().await;
    let mut nodes = vec![];
    for _ in 0..8 {
        nodes.push(keys_with(&world, MONTHLY).await);
    }
    let elsewhere = keys_with(&world, MONTHLY).await;
    let verifier = verifier(&world, &elsewhere);
    let next = nodes[0]
        .now()
        .list()
        .find(|(_, it, state)| *it == Algorithm::Es256 && state.name() == "next")
        .unwrap()
        .0
        .clone();
    clock.advance(Duration::from_secs(30 * 86_400 - 1));
    assert_eq!(nodes[0].due(), []);
    assert!(!nodes[0].rotate_due(&fresh()).await.unwrap());
    clock.advance(Duration::from_secs(1));
    assert_eq!(nodes[0].due(), ALGORITHMS);
    let rotating = nodes
        .into_iter()
        .map(|node| tokio::spawn(async move { node.rotate_due(&fresh()).await.unwrap() }));
    let mut turned = 0;
    for done in rotating.collect::<Vec<_>>() {
        turned += u32::from(done.await.unwrap());
    }
    assert_eq!(turned, 1);
    // The other node has not read its rings since.
    let signing = keys_with(&world, MONTHLY).await;
    assert_eq!(signing.now().signer(Algorithm::Es256).unwrap().kid(), &next);
    assert!(verifier.verify(&sign(&world, &signing)).is_ok());
    assert_eq!(signing.due(), [Algorithm::EdDsa]);
}

/// A ring whose key has just been replaced by hand has a next key that verifiers may not know: being
/// due does not make it sign.
#[tokio::test]
async fn a_key_that_is_due_waits_until_verifiers_may_know_the_next_one() {
    let (world, clock) = World::in_memory().await;
    let rules = RotationRules { signs_for: Some(Duration::from_secs(60)), ..MONTHLY };
    let keys = keys_with(&world, rules).await;
    clock.advance(Duration::from_secs(299));
    assert_eq!(keys.due(), []);
    assert!(!keys.rotate_due(&fresh()).await.unwrap());
    clock.advance(Duration::from_secs(1));
    assert!(keys.rotate_due(&fresh()).await.unwrap());
}

/// An ID token that comes back at sign-out may be older than any key that is published.
#[tokio::test]
async fn what_a_key_signed_that_outlived_its_tokens_is_remembered_and_what_an_expelled_one_did_is_not()
 {
    let (world, clock) = World::in_memory().await;
    let keys = keys(&world).await;
    let id_token = || {
        let claims =
            serde_json::json!({"iss": "i", "sub": "usr_1", "aud": "web", "exp": 2, "iat": 1});
        let key = keys.now().signer(Algorithm::Es256).unwrap();
        let text = jws::sign(&key, "JWT", claims.to_string().as_bytes()).unwrap();
        (key.kid().clone(), text)
    };
    let read = |text: &str| IdTokenHint::read(text, keys.now().remembered(), "i").is_ok();
    let (first, old) = id_token();
    keys.rotate(&fresh(), true).await.unwrap();
    clock.advance(RotationRules::default().verifies_for);
    keys.tidy().await.unwrap();
    assert!(!keys.now().jwks().iter().any(|jwk| jwk.kid.as_deref() == Some(first.as_str())));
    assert!(read(&old));
    let (leaked, forged) = id_token();
    let order = Order { reason: "leaked".into(), actor: "usr_9".into() };
    for kid in [&leaked, &first] {
        keys.expel(kid, Some(&fresh()), &order).await.unwrap();
    }
    assert!(!read(&forged));
    assert!(!read(&old));
}

#[tokio::test]
async fn a_change_is_told_to_the_other_nodes() {
    let (world, _) = World::in_memory().await;
    let mut heard = world.feed.subscribe(Topic::Keys).await.unwrap();
    keys(&world).await.rotate(&fresh(), true).await.unwrap();
    assert!(heard.next().await.is_some());
}

#[tokio::test]
async fn an_expelled_key_takes_everything_it_signed_with_it() {
    let (world, _) = World::in_memory().await;
    let keys = keys(&world).await;
    let verifier = verifier(&world, &keys);
    let token = sign(&world, &keys);
    let verified = verifier.verify(&token).unwrap();
    let leaked = verified.kid().clone();
    let order = Order { reason: "leaked".into(), actor: "usr_9".into() };
    keys.expel(&leaked, Some(&fresh()), &order).await.unwrap();
    assert_eq!(verifier.verify(&token).unwrap_err(), Refusal::UnknownKey);
    // A verifier elsewhere that still has the key refuses by the view.
    let view = world.revoker.view().realm(&world.realm);
    assert_eq!(view.check(&verified), Some(Revoked::Key));
    assert!(verifier.verify(&sign(&world, &keys)).is_ok());
    assert!(!keys.now().jwks().iter().any(|jwk| jwk.kid.as_deref() == Some(leaked.as_str())));
}

#[tokio::test]
async fn an_imported_key_signs_and_both_generations_verify() {
    let (world, _) = World::in_memory().await;
    let keys = keys(&world).await;
    let verifier = verifier(&world, &keys);
    let before = sign(&world, &keys);
    let foreign = fresh();
    keys.import(&foreign).await.unwrap();
    let after = sign(&world, &keys);
    assert_eq!(verifier.verify(&after).unwrap().kid(), foreign.kid());
    assert!(verifier.verify(&before).is_ok());
}

#[tokio::test]
async fn a_key_of_an_algorithm_that_is_not_used_is_refused() {
    let (world, _) = World::in_memory().await;
    let keys = keys(&world).await;
    let before = keys.now().jwks();
    let unused = SigningKey::generate(Algorithm::Ps256).unwrap();
    let order = Order { reason: "leaked".into(), actor: "usr_9".into() };
    for refused in [
        keys.import(&unused).await,
        keys.rotate(&unused, true).await,
        keys.expel(unused.kid(), Some(&unused), &order).await,
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, KeysRefused::Ring(RingRefused::Unused(_))), "{refused}");
        assert!(refused.to_string().contains("`algorithms` of `[keys]`"), "{refused}");
    }
    keys.reload().await.unwrap();
    assert_eq!(keys.now().jwks(), before);
    let ring = world.records.load(&world.realm, &tegata_token::ring::KEY_RINGS, "PS256").await;
    assert_eq!(ring.unwrap(), None);
}

/// Every key that changes its state is told of: also the one whose tokens have died.
#[tokio::test]
async fn a_key_is_not_retired_without_an_event() {
    let (world, clock) = World::in_memory().await;
    let keys = keys(&world).await;
    let first = keys.now().signer(Algorithm::Es256).unwrap();
    keys.rotate(&fresh(), true).await.unwrap();
    clock.advance(RotationRules::default().verifies_for);
    keys.tidy().await.unwrap();
    keys.tidy().await.unwrap();
    let journal = world.records.pull(Log::Journal, 0, 100).await.unwrap();
    let events: Vec<serde_json::Value> =
        journal.entries.iter().map(|it| serde_json::from_slice(&it.body).unwrap()).collect();
    let of_first: Vec<_> = events
        .iter()
        .filter(|event| {
            event["type"] == "KEY_ROTATED" && event["data"]["kid"] == first.kid().as_str()
        })
        .map(|event| event["data"]["state"].as_str().unwrap())
        .collect();
    assert_eq!(of_first, ["previous", "retired"]);
}

#[tokio::test]
async fn one_key_cannot_be_in_two_rings() {
    let (world, _) = World::in_memory().await;
    let keys = keys(&world).await;
    let foreign = fresh();
    keys.import(&foreign).await.unwrap();
    let pkcs8 = foreign.to_pkcs8().unwrap();
    let renamed =
        SigningKey::from_pkcs8(pkcs8.expose(), None, Some("another".parse().unwrap())).unwrap();
    let other = SigningKey::generate(Algorithm::EdDsa).unwrap().to_pkcs8().unwrap();
    let borrowed =
        SigningKey::from_pkcs8(other.expose(), None, Some(foreign.kid().clone())).unwrap();
    for twice in [&foreign, &renamed, &borrowed] {
        let refused = keys.import(twice).await.unwrap_err();
        assert!(matches!(refused, KeysRefused::Ring(RingRefused::Exists(_))), "{refused}");
    }
}

#[tokio::test]
async fn rings_of_realms_are_apart() {
    let (world, _) = World::in_memory().await;
    let here = keys(&world).await;
    let there = Keys::open(
        world.node.clone(),
        Realm::new("other").unwrap(),
        world.records.clone(),
        world.feed.clone(),
        world.revoker.clone(),
        RotationRules::default(),
        &ALGORITHMS,
    )
    .await
    .unwrap();
    assert_ne!(here.now().jwks(), there.now().jwks());
}

#[tokio::test]
async fn private_keys_are_refused_by_a_store_that_does_not_seal() {
    let clock = Arc::new(ManualClock::default());
    let bare: Arc<dyn Records> = Arc::new(MemoryRecords::new(&kinds(), clock).unwrap());
    let (world, _) = World::in_memory().await;
    let opened = Keys::open(
        world.node.clone(),
        world.realm.clone(),
        bare,
        world.feed.clone(),
        world.revoker.clone(),
        RotationRules::default(),
        &ALGORITHMS,
    )
    .await;
    assert!(matches!(opened, Err(KeysRefused::Store(StoreError::Misused { .. }))));
}
