//! Key rings whose private keys are in a vault.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use tegata_core::{
    Batch, BoxFuture, ManualClock,
    port::{KeyInVault, PublicHalf, Scheme, Vault, VaultRefused},
};
use tegata_token::{
    Algorithm, Jwk, KeyRefused, Keys, KeysRefused, Order, RingRefused, RotationRules, SigningKey,
    VerifyingKey, jws,
    keys::{Renewal, Rings},
    ring::KeyState,
};
use tokio::{sync::watch, time::timeout};

use super::world::World;

/// A vault in memory, which can be away, can answer with what another key signed, and can hang.
#[derive(Default)]
struct Chest {
    keys: Mutex<BTreeMap<u64, Arc<SigningKey>>>,
    made: AtomicU64,
    away: AtomicBool,
    lies: AtomicBool,
    /// Whether signatures of keys on P-256 never come.
    hangs: watch::Sender<bool>,
}

impl Chest {
    fn check(&self) -> Result<(), VaultRefused> {
        if self.away.load(Ordering::Acquire) {
            return Err(VaultRefused::Unavailable { detail: "it is away".to_owned() });
        }
        Ok(())
    }

    fn signed(&self, handle: &[u8], message: &[u8]) -> Result<Vec<u8>, VaultRefused> {
        self.check()?;
        let number = u64::from_be_bytes(handle.try_into().unwrap());
        let missing = || VaultRefused::NoKey { detail: "it was destroyed".to_owned() };
        let key = self.keys.lock().get(&number).cloned().ok_or_else(missing)?;
        let key = if self.lies.load(Ordering::Acquire) {
            Arc::new(SigningKey::generate(key.algorithm()).unwrap())
        } else {
            key
        };
        Ok(key.sign(message).unwrap())
    }

    fn count(&self) -> usize {
        self.keys.lock().len()
    }
}

impl Vault for Chest {
    fn make(&self, scheme: Scheme) -> BoxFuture<'_, Result<KeyInVault, VaultRefused>> {
        Box::pin(async move {
            self.check()?;
            let algorithm = match scheme {
                Scheme::Ed25519 => Algorithm::EdDsa,
                scheme => {
                    assert_eq!(scheme, Scheme::P256);
                    Algorithm::Es256
                }
            };
            let key = SigningKey::generate(algorithm).unwrap();
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            let read = |member: &Option<String>| {
                URL_SAFE_NO_PAD.decode(member.as_deref().unwrap()).unwrap()
            };
            let x = read(&key.jwk().x);
            let public = match algorithm {
                Algorithm::EdDsa => PublicHalf::Ed25519(x),
                _ => PublicHalf::P256 { x, y: read(&key.jwk().y) },
            };
            self.keys.lock().insert(number, Arc::new(key));
            Ok(KeyInVault { handle: number.to_be_bytes().to_vec(), public })
        })
    }

    fn sign<'a>(
        &'a self,
        handle: &'a [u8],
        scheme: Scheme,
        message: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, VaultRefused>> {
        Box::pin(async move {
            if scheme == Scheme::P256 {
                self.hangs.subscribe().wait_for(|hangs| !*hangs).await.unwrap();
            }
            self.signed(handle, message)
        })
    }

    fn sign_waiting(
        &self,
        handle: &[u8],
        _: Scheme,
        message: &[u8],
    ) -> Result<Vec<u8>, VaultRefused> {
        self.signed(handle, message)
    }

    fn destroy<'a>(&'a self, handle: &'a [u8]) -> BoxFuture<'a, Result<(), VaultRefused>> {
        Box::pin(async move {
            self.check()?;
            self.keys.lock().remove(&u64::from_be_bytes(handle.try_into().unwrap()));
            Ok(())
        })
    }

    fn trouble(&self, _: &[u8]) -> Option<String> {
        self.away.load(Ordering::Acquire).then(|| "it is away".to_owned())
    }

    fn signed_within(&self, _: Duration) -> bool {
        false
    }
}

const RULES: RotationRules = RotationRules {
    published_for: Duration::from_secs(300),
    verifies_for: Duration::from_secs(3660),
    signs_for: Some(Duration::from_secs(86_400)),
};

fn rings(vault: &Arc<Chest>, makes_in_vault: bool) -> Rings {
    Rings {
        algorithms: vec![Algorithm::Es256],
        vault: Some(Arc::clone(vault) as Arc<dyn Vault>),
        makes_in_vault,
    }
}

async fn opened(
    world: &World,
    vault: &Arc<Chest>,
    makes_in_vault: bool,
) -> Result<Keys, KeysRefused> {
    opened_with(world, rings(vault, makes_in_vault)).await
}

async fn opened_with(world: &World, rings: Rings) -> Result<Keys, KeysRefused> {
    Keys::open(
        world.node.clone(),
        world.realm.clone(),
        world.records.clone(),
        world.feed.clone(),
        world.revoker.clone(),
        RULES,
        rings,
    )
    .await
}

async fn world() -> (World, Arc<ManualClock>, Arc<Chest>, Keys) {
    let (world, clock) = World::in_memory().await;
    let vault = Arc::new(Chest::default());
    let keys = opened(&world, &vault, true).await.unwrap();
    (world, clock, vault, keys)
}

async fn made(keys: &Keys) -> SigningKey {
    keys.make(Algorithm::Es256).await.unwrap().unwrap()
}

async fn rotate(keys: &Keys) {
    keys.rotate(&made(keys).await, true).await.unwrap();
}

fn states(keys: &Keys) -> Vec<&'static str> {
    keys.now().list().map(|(.., state)| state.name()).collect()
}

async fn signs(keys: &Keys) -> Result<(), KeyRefused> {
    signs_with(keys, Algorithm::Es256).await
}

async fn signs_with(keys: &Keys, algorithm: Algorithm) -> Result<(), KeyRefused> {
    let key = keys.now().signer(algorithm).unwrap();
    let token = jws::signed(&key, "at+jwt", b"{}").await?;
    assert!(verifies(keys, &key, &token));
    Ok(())
}

/// Whether whoever has fetched the keys takes a token.
fn verifies(keys: &Keys, key: &SigningKey, token: &str) -> bool {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let published = keys.now().jwks();
    let known = published.iter().find(|it| it.kid.as_deref() == Some(key.kid().as_str())).unwrap();
    VerifyingKey::from_jwk(known).unwrap().verifies(message.as_bytes(), &signature)
}

#[tokio::test]
async fn keys_in_a_vault_live_as_others_and_are_destroyed_when_they_are_retired() {
    let (world, clock, vault, keys) = world().await;
    assert_eq!((states(&keys), vault.count()), (vec!["current", "next"], 2));
    signs(&keys).await.unwrap();
    let first = keys.now().signer(Algorithm::Es256).unwrap();
    assert!(keys.now().is_held(first.kid()));
    assert_eq!(first.to_pkcs8().unwrap_err(), KeyRefused::InVault);
    assert_eq!(first.sign(b"m").unwrap_err(), KeyRefused::InVault);

    let early = made(&keys).await;
    let refused = keys.rotate(&early, false).await.unwrap_err();
    assert!(matches!(refused, KeysRefused::Ring(RingRefused::TooSoon { .. })), "{refused}");
    assert_eq!(vault.count(), 2, "what was made for nothing was destroyed");
    clock.advance(RULES.published_for);
    keys.rotate(&made(&keys).await, false).await.unwrap();
    assert_eq!((states(&keys), vault.count()), (vec!["previous", "current", "next"], 3));
    signs(&keys).await.unwrap();
    // Another node, which has not heard of it, still signs.
    assert!(first.signature(b"m").await.is_ok());

    clock.advance(RULES.verifies_for);
    // While it is away, the ring remembers what is to be destroyed.
    vault.away.store(true, Ordering::Release);
    keys.tidy().await.unwrap();
    assert_eq!((states(&keys), vault.count()), (vec!["retired", "current", "next"], 3));
    vault.away.store(false, Ordering::Release);
    keys.tidy().await.unwrap();
    assert_eq!(vault.count(), 2);
    assert!(matches!(first.signature(b"m").await, Err(KeyRefused::Vault(_))));
    keys.tidy().await.unwrap();
    let other = opened(&world, &vault, true).await.unwrap();
    signs(&other).await.unwrap();
    assert_eq!(vault.count(), 2);
}

#[tokio::test]
async fn of_nodes_that_start_at_once_one_leaves_keys() {
    let (world, _) = World::in_memory().await;
    let vault = Arc::new(Chest::default());
    let open = || opened(&world, &vault, true);
    let (one, two, three, four) = tokio::join!(open(), open(), open(), open());
    for keys in [one, two, three, four] {
        signs(&keys.unwrap()).await.unwrap();
    }
    assert_eq!(vault.count(), 2, "of {} that were made", vault.made.load(Ordering::Relaxed));
}

#[tokio::test]
async fn what_another_key_signed_never_gets_out() {
    let (_world, _, vault, keys) = world().await;
    vault.lies.store(true, Ordering::Release);
    let refused = signs(&keys).await.unwrap_err();
    assert!(matches!(refused, KeyRefused::NotOurs(_)), "{refused}");
    let key = keys.now().signer(Algorithm::Es256).unwrap();
    assert!(matches!(jws::sign_waiting(&key, "JWT", b"{}"), Err(KeyRefused::NotOurs(_))));
    // A key that does not sign right is none, and does not stay.
    assert!(keys.make(Algorithm::Es256).await.is_err());
    assert_eq!(vault.count(), 2);
}

#[tokio::test]
async fn a_leaked_key_is_taken_back_while_the_vault_is_away_and_the_ring_heals() {
    let (_world, clock, vault, keys) = world().await;
    let leaked = keys.now().signer(Algorithm::Es256).unwrap().kid().clone();
    vault.away.store(true, Ordering::Release);
    assert!(keys.make(Algorithm::Es256).await.is_err());
    let order = Order { reason: "leaked".into(), actor: "usr_9".into() };
    keys.expel(&leaked, None, &order).await.unwrap();
    assert_eq!(states(&keys), ["retired", "current"]);
    let is_it = |jwk: &Jwk| jwk.kid.as_deref() == Some(leaked.as_str());
    assert!(!keys.now().jwks().iter().any(is_it));
    // The one that took its place leaks, too: nothing signs any more.
    let second = keys.now().signer(Algorithm::Es256).unwrap().kid().clone();
    keys.expel(&second, None, &order).await.unwrap();
    assert_eq!(states(&keys), ["retired", "retired"]);
    assert!(keys.now().signer(Algorithm::Es256).is_none());

    vault.away.store(false, Ordering::Release);
    assert_eq!(keys.due(), [Algorithm::Es256]);
    assert!(keys.rotate_due(&made(&keys).await).await.unwrap());
    assert_eq!(states(&keys), ["retired", "retired", "next"]);
    assert!(keys.due().is_empty(), "verifiers may not know it yet");
    clock.advance(RULES.published_for);
    assert_eq!(keys.due(), [Algorithm::Es256]);
    assert!(keys.rotate_due(&made(&keys).await).await.unwrap());
    assert_eq!(states(&keys), ["retired", "retired", "current", "next"]);
    signs(&keys).await.unwrap();
    keys.tidy().await.unwrap();
    assert_eq!(vault.count(), 2, "what was taken back is destroyed");
}

#[tokio::test]
async fn an_expelled_key_is_destroyed_at_once() {
    let (_world, _, vault, keys) = world().await;
    let leaked = keys.now().signer(Algorithm::Es256).unwrap();
    let order = Order { reason: "leaked".into(), actor: "usr_9".into() };
    keys.expel(leaked.kid(), Some(&made(&keys).await), &order).await.unwrap();
    assert!(matches!(leaked.signature(b"m").await, Err(KeyRefused::Vault(_))));
    assert_eq!(vault.count(), 2);
    // Of one that is retired already, nothing takes its place: what was made is destroyed.
    keys.expel(leaked.kid(), Some(&made(&keys).await), &order).await.unwrap();
    assert_eq!(vault.count(), 2);
}

#[tokio::test]
async fn a_copy_whose_keys_are_renewed_destroys_none_of_those_of_before() {
    let (world, clock, vault, keys) = world().await;
    rotate(&keys).await;
    let signing = keys.now().signer(Algorithm::Es256).unwrap();
    let order = Order { reason: "restored".into(), actor: "operator".into() };
    let (realm, records) = (&world.realm, world.records.as_ref());
    let rings = rings(&vault, true);
    let renewal = Renewal::of(&world.node, realm, records, &rings, &order).await.unwrap();
    let batch = renewal.changes.into_iter().fold(Batch::new(realm.clone()), Batch::with);
    records.commit(batch).await.unwrap();

    let copy = opened(&world, &vault, true).await.unwrap();
    assert_eq!(states(&copy), ["retired", "retired", "retired", "current", "next"]);
    clock.advance(RULES.verifies_for * 2);
    copy.tidy().await.unwrap();
    assert_eq!(vault.count(), 5, "those of before are somebody else's by now");
    signing.signature(b"m").await.unwrap();
    signs(&copy).await.unwrap();
}

#[tokio::test]
async fn no_key_from_outside_signs_where_keys_never_leave() {
    let (_world, _, _, keys) = world().await;
    let outside = SigningKey::generate(Algorithm::Es256).unwrap();
    let refused = keys.import(&outside).await.unwrap_err();
    assert_eq!(refused, KeysRefused::Ring(RingRefused::MadeInVault));
    assert_eq!(states(&keys), ["current", "next"]);
}

#[tokio::test]
async fn a_ring_moves_into_a_vault_and_out_of_it_by_rotations() {
    let (world, _) = World::in_memory().await;
    let vault = Arc::new(Chest::default());
    let keys = opened(&world, &vault, false).await.unwrap();
    assert_eq!(vault.count(), 0);
    let held = |keys: &Keys| {
        let current = keys.now().signer(Algorithm::Es256).unwrap();
        keys.now().is_held(current.kid())
    };
    let keys = {
        signs(&keys).await.unwrap();
        opened(&world, &vault, true).await.unwrap()
    };
    assert!(!held(&keys));
    rotate(&keys).await;
    rotate(&keys).await;
    assert!(held(&keys));
    signs(&keys).await.unwrap();

    let keys = opened(&world, &vault, false).await.unwrap();
    signs(&keys).await.unwrap();
    for _ in 0..2 {
        assert!(keys.make(Algorithm::Es256).await.unwrap().is_none());
        keys.rotate(&SigningKey::generate(Algorithm::Es256).unwrap(), true).await.unwrap();
    }
    assert!(!held(&keys));
    signs(&keys).await.unwrap();
    assert!(keys.now().list().any(|(.., state)| matches!(state, KeyState::Previous { .. })));
}

#[tokio::test]
async fn without_its_vault_a_ring_is_not_opened() {
    let (world, _, _vault, _keys) = world().await;
    let refused = Keys::open(
        world.node.clone(),
        world.realm.clone(),
        world.records.clone(),
        world.feed.clone(),
        world.revoker.clone(),
        RULES,
        &[Algorithm::Es256],
    );
    let refused = refused.await.unwrap_err();
    assert!(matches!(refused, KeysRefused::Key(KeyRefused::NoVault(_))), "{refused}");
    assert!(refused.to_string().contains("[keys.pkcs11]"), "{refused}");
}

#[tokio::test]
async fn a_signature_that_never_comes_holds_up_nobody_but_those_who_wait_for_it() {
    let (world, _) = World::in_memory().await;
    let vault = Arc::new(Chest::default());
    let both = vec![Algorithm::Es256, Algorithm::EdDsa];
    let rings = Rings { algorithms: both, ..rings(&vault, true) };
    let keys = opened_with(&world, rings).await.unwrap();
    let hung = keys.now().signer(Algorithm::Es256).unwrap();
    let before = jws::signed(&hung, "at+jwt", b"{}").await.unwrap();
    vault.hangs.send_replace(true);
    let mut waits = pin!(jws::signed(&hung, "at+jwt", b"{}"));
    // A key that was made has to sign once.
    let mut makes = pin!(keys.make(Algorithm::Es256));
    assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
    assert!(timeout(Duration::ZERO, &mut makes).await.is_err());
    let meanwhile = async {
        assert!(verifies(&keys, &hung, &before));
        for _ in 0..2 {
            signs_with(&keys, Algorithm::EdDsa).await.unwrap();
            let next = keys.make(Algorithm::EdDsa).await.unwrap().unwrap();
            keys.rotate(&next, true).await.unwrap();
        }
        keys.reload().await.unwrap();
        keys.tidy().await.unwrap();
        assert!(verifies(&keys, &hung, &before));
    };
    timeout(Duration::from_secs(60), meanwhile).await.expect("they are held up");
    assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
    vault.hangs.send_replace(false);
    assert!(verifies(&keys, &hung, &waits.await.unwrap()));
    makes.await.unwrap().unwrap();
}
