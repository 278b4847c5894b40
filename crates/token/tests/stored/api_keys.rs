//! API keys in a store: made, replaced, taken back.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tegata_core::{Batch, ClientId, Epoch, Kind, Log, Realm, Stored as _, port::Page, repository};
use tegata_store::MemoryFeed;
use tegata_token::{
    ApiGrant, ApiKey, ApiKeyRefused, ApiKeys, Holder, Order, Revoked, Roots, Scope, Tally, Target,
    Withdrawable as _,
    api_key::{API_KEYS, LIFETIME, NotAKey, Standing, USES, form::LENGTH},
};

use super::world::World;

static ALL: [&Kind; 2] = [&API_KEYS, &USES];

async fn keys(world: &World) -> ApiKeys {
    keys_in(world, Epoch::FIRST, Realm::default()).await
}

async fn keys_in(world: &World, epoch: Epoch, realm: Realm) -> ApiKeys {
    let roots = Roots::open(world.records.as_ref(), &world.node, &realm, "api-key").await.unwrap();
    let records = world.records.clone();
    ApiKeys::new(world.node.clone(), (epoch, realm), records, &roots, world.revoker.clone())
        .unwrap()
}

fn orders() -> ClientId {
    "orders".parse().unwrap()
}

fn grant() -> ApiGrant {
    let scope = Scope::new("stock.read").unwrap();
    ApiGrant { scope, roles: vec!["worker".into()], ..ApiGrant::default() }
}

fn order() -> Order {
    Order { reason: "stolen".into(), actor: "operator".into() }
}

async fn stored(keys: &ApiKeys, key: &ApiKey) -> ApiKey {
    keys.load(&key.id).await.unwrap().unwrap().value
}

#[tokio::test]
async fn a_key_is_its_service_and_its_secret_is_nowhere() {
    let (world, clock) = World::in_memory().await;
    let keys = keys(&world).await;
    let made = keys.create(&orders(), "nightly", grant(), LIFETIME).await.unwrap();
    let secret = made.secret.expose().clone();
    assert_eq!(secret.len(), LENGTH);
    let shown = keys.read(&secret).unwrap();
    let key = stored(&keys, &made.key).await;
    assert!(key.is(&shown, &keys));
    assert_eq!(keys.standing(&key), Standing::Active);
    let claims = key.claims("https://issuer.example");
    assert_eq!((claims.sub.as_str(), claims.client_id.as_deref()), ("orders", Some("orders")));
    assert_eq!(
        (claims.scope.as_str(), claims.roles.as_slice()),
        ("stock.read", &["worker".into()][..])
    );

    // Neither the key nor its secret half stands in what is shown of it, in the log or in a record.
    let (_, half) = secret.split_once('.').unwrap();
    assert!(!format!("{key:?}{shown:?}{made:?}").contains(half));
    let log = world.records.pull(Log::Journal, 0, 100).await.unwrap();
    let mut held: Vec<Vec<u8>> = log.entries.into_iter().map(|entry| entry.body).collect();
    held.push(repository::encode(ApiKey::FORM, &key));
    for bytes in held {
        assert!(!bytes.windows(half.len()).any(|window| window == half.as_bytes()));
    }

    // A year, and no day longer.
    clock.advance(LIFETIME - Duration::from_secs(1));
    assert_eq!(keys.standing(&key), Standing::Active);
    clock.advance(Duration::from_secs(1));
    assert_eq!(keys.standing(&key), Standing::Expired);
}

#[tokio::test]
async fn nobody_but_the_realm_can_write_a_key_that_is_looked_for() {
    let (world, _) = World::in_memory().await;
    let keys = keys(&world).await;
    let [one, other] = [
        keys.create(&orders(), "", grant(), LIFETIME).await.unwrap(),
        keys.create(&orders(), "", grant(), LIFETIME).await.unwrap(),
    ];
    let (one, other) = (one.secret.expose(), other.secret.expose());
    // The right id with the secret of another key, with a checksum that holds.
    let swapped = format!("{}{}", &one[..12], &other[12..38]);
    let mixed = with_checksum(&swapped);
    assert_eq!(keys.read(&mixed).unwrap_err(), NotAKey::Seal);
    // The same, mistyped.
    assert_eq!(keys.read(&format!("{swapped}{}", &other[38..])).unwrap_err(), NotAKey::Check);
    // Another realm's key is nobody's here.
    let elsewhere: Realm = "elsewhere".parse().unwrap();
    let theirs = keys_in(&world, Epoch::FIRST, elsewhere).await;
    let of_theirs = theirs.create(&orders(), "", grant(), LIFETIME).await.unwrap();
    assert_eq!(keys.read(of_theirs.secret.expose()).unwrap_err(), NotAKey::Seal);
    assert_eq!(theirs.read(one).unwrap_err(), NotAKey::Seal);
    assert!(keys.read(one).is_ok() && theirs.read(of_theirs.secret.expose()).is_ok());
}

/// What somebody writes who knows how keys are written, and not the realm's secret.
fn with_checksum(before: &str) -> String {
    let crc = !before.bytes().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |at: u32| char::from(digits[(u64::from(crc) / 62_u64.pow(at) % 62) as usize]);
    (0..6).rev().fold(before.to_owned(), |text, at| text + &digit(at).to_string())
}

#[tokio::test]
async fn a_key_that_is_replaced_counts_beside_the_other_for_a_while() {
    let (world, clock) = World::in_memory().await;
    let keys = keys(&world).await;
    let first = keys.create(&orders(), "nightly", grant(), LIFETIME).await.unwrap();
    let hour = Duration::from_secs(3600);
    for bad in [Duration::from_secs(59), Duration::from_secs(31 * 86_400)] {
        let refused = keys.rotate(&first.key.id, bad).await;
        assert!(matches!(refused, Err(ApiKeyRefused::Grace)), "{bad:?}");
    }
    let second = keys.rotate(&first.key.id, hour).await.unwrap();
    assert_eq!(second.key.replaces.as_ref(), Some(&first.key.id));
    assert_eq!((&second.key.grant, second.key.name.as_str()), (&grant(), "nightly"));
    let both = [stored(&keys, &first.key).await, stored(&keys, &second.key).await];
    assert_eq!(both.each_ref().map(|key| keys.standing(key)), [Standing::Active; 2]);
    // Once is enough.
    let again = keys.rotate(&first.key.id, hour).await;
    assert!(matches!(again, Err(ApiKeyRefused::Ended(..))));
    clock.advance(hour);
    let both = [stored(&keys, &first.key).await, stored(&keys, &second.key).await];
    let stand = both.each_ref().map(|key| keys.standing(key));
    assert_eq!(stand, [Standing::Expired, Standing::Active]);

    let third = keys.rotate(&second.key.id, Duration::ZERO).await.unwrap();
    let second = stored(&keys, &second.key).await;
    assert_eq!(keys.standing(&second), Standing::Revoked);
    let view = world.revoker.view().realm(&world.realm);
    assert_eq!(view.check_claims(&second.claims(""), None, ""), Some(Revoked::Token));
    assert_eq!(view.check_claims(&third.key.claims(""), None, ""), None);
}

#[tokio::test]
async fn a_key_counts_for_as_long_as_a_token_that_it_just_got() {
    let (world, _) = World::in_memory().await;
    let five = Duration::from_secs(300);
    let keys = keys(&world).await.with_tokens_of(five);
    let for_tokens = ApiGrant { tokens: true, ..grant() };
    let made = keys.create(&orders(), "", for_tokens, LIFETIME).await.unwrap();
    let refused = keys.rotate(&made.key.id, five - Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(refused, ApiKeyRefused::GraceOfTokens(five));
    assert!(refused.to_string().contains("300 s"), "{refused}");
    // Nothing has happened to it.
    let next = keys.rotate(&made.key.id, five).await.unwrap();
    // At once, what it got is taken back with it.
    keys.rotate(&next.key.id, Duration::ZERO).await.unwrap();
    // One that gets none leaves nothing behind.
    let plain = keys.create(&orders(), "", grant(), LIFETIME).await.unwrap();
    keys.rotate(&plain.key.id, Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn the_event_of_a_new_key_says_what_it_may_do() {
    let (world, _) = World::in_memory().await;
    let for_tokens = ApiGrant { tokens: true, services: vec!["notes".into()], ..grant() };
    let made = keys(&world).await.create(&orders(), "", for_tokens, LIFETIME).await.unwrap();
    let journal = world.records.pull(Log::Journal, 0, 100).await.unwrap();
    let last: Value = serde_json::from_slice(&journal.entries.last().unwrap().body).unwrap();
    let data = &last["data"];
    assert_eq!(data["subject"], json!(format!("api_key:{}", made.key.id)));
    assert_eq!(
        (&data["tokens"], &data["services"], &data["scope"]),
        (&json!(true), &json!(["notes"]), &json!(grant().scope))
    );
}

#[tokio::test]
async fn the_kill_switch_finds_every_key_of_a_service_for_ever() {
    let (world, clock) = World::in_memory().await;
    let keys = keys(&world).await;
    let other: ClientId = "other".parse().unwrap();
    let stays = keys.create(&other, "", grant(), LIFETIME).await.unwrap();
    // More than are read together.
    for _ in 0..130 {
        keys.create(&orders(), "", grant(), LIFETIME).await.unwrap();
    }
    let holder = Holder::Client(orders());
    let withdraw =
        async || keys.withdraw(&world.realm, &holder, &order(), &Tally::default()).await.unwrap();
    assert_eq!((withdraw().await, withdraw().await), (130, 0));
    // Longer than the log remembers it.
    clock.advance(Duration::from_secs(90 * 86_400));
    let page = Page { after: None, limit: 500 };
    let all = keys.list(Some(&orders()), page).await.unwrap();
    assert_eq!(all.len(), 130);
    assert!(all.iter().all(|(key, _)| keys.standing(key) == Standing::Revoked));
    assert_eq!(keys.standing(&stored(&keys, &stays.key).await), Standing::Active);
    assert_eq!(keys.revoke(&all[0].0.id, &order()).await, Ok(Some(false)));
    assert_eq!(keys.revoke(&"abcd1234".to_owned().try_into().unwrap(), &order()).await, Ok(None));
}

#[tokio::test]
async fn of_two_who_replace_a_key_one_does_and_whoever_takes_it_back_wins() {
    let (world, _) = World::in_memory().await;
    let keys = keys(&world).await;
    for _ in 0..20 {
        let made = keys.create(&orders(), "", grant(), LIFETIME).await.unwrap();
        let (id, hour) = (&made.key.id, Duration::from_secs(3600));
        let order = order();
        let (one, other, taken) =
            tokio::join!(keys.rotate(id, hour), keys.rotate(id, hour), keys.revoke(id, &order));
        assert!([one, other].iter().filter(|rotated| rotated.is_ok()).count() <= 1);
        assert_eq!(taken, Ok(Some(true)));
        assert_eq!(keys.standing(&stored(&keys, &made.key).await), Standing::Revoked);
    }
}

#[tokio::test]
async fn no_key_of_before_a_restore_counts_and_each_can_be_replaced() {
    let (world, _) = World::in_memory().await;
    let before = keys(&world).await;
    let made = before.create(&orders(), "", grant(), LIFETIME).await.unwrap();
    let feed = Arc::new(MemoryFeed::new(16));
    let restored = World::in_epoch(Epoch(2), world.records.clone(), world.node.clone(), feed).await;
    let after = keys_in(&restored, Epoch(2), Realm::default()).await;
    let key = stored(&after, &made.key).await;
    assert_eq!(after.standing(&key), Standing::OfBefore);
    let new = after.rotate(&key.id, Duration::from_secs(60)).await.unwrap();
    assert_eq!(after.standing(&new.key), Standing::Active);
    assert_eq!(after.standing(&stored(&after, &made.key).await), Standing::OfBefore);
}

#[tokio::test]
async fn when_keys_were_used_is_written_beside_them() {
    let (world, _) = World::in_memory().await;
    let keys = keys(&world).await;
    let made = keys.create(&orders(), "", grant(), LIFETIME).await.unwrap();
    let version = keys.load(&made.key.id).await.unwrap().unwrap().version;
    assert_eq!(keys.used(&made.key.id).await, Ok(None));
    let now = world.node.now();
    let used: Vec<_> = (0..250).map(|_| (made.key.id.clone(), now)).collect();
    keys.note_used(&used).await.unwrap();
    assert_eq!(keys.used(&made.key.id).await, Ok(Some(now)));
    assert_eq!(keys.load(&made.key.id).await.unwrap().unwrap().version, version);
    assert_eq!(ALL.map(|kind| kind.secret), [true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_is_made_while_all_is_taken_back_is_taken_back_or_begins_afterwards() {
    let (world, clock) = World::in_memory().await;
    let keys = keys(&world).await;
    for _ in 0..100 {
        clock.advance(Duration::from_secs(2));
        let up_to = world.node.now();
        let (making, taking) = (keys.clone(), keys.clone());
        let make = tokio::spawn(async move {
            making.create(&orders(), "", ApiGrant::default(), LIFETIME).await
        });
        let (revoker, realm) = (world.revoker.clone(), world.realm.clone());
        let take = tokio::spawn(async move {
            let target = Target::Client { client: orders(), up_to };
            let until = up_to + Duration::from_secs(3600);
            let entry = order().entry(target, Vec::new(), (up_to, until));
            revoker.commit(Batch::new(realm.clone()), vec![entry]).await.unwrap();
            let holder = Holder::Client(orders());
            taking.withdraw(&realm, &holder, &order(), &Tally::default()).await.unwrap();
        });
        let made = make.await.unwrap();
        take.await.unwrap();
        let page = Page { after: None, limit: 500 };
        for (key, _) in keys.list(Some(&orders()), page).await.unwrap() {
            let alive = keys.standing(&key) == Standing::Active;
            assert!(!alive || key.claims("").iat > up_to.secs(), "{key:?} outlives the switch");
        }
        // Whoever was told that there is a key is not told of one that is dead from its beginning.
        if let Ok(made) = made {
            let key = stored(&keys, &made.key).await;
            let is_after = key.claims("").iat > up_to.secs();
            assert!(is_after || keys.standing(&key) == Standing::Revoked);
        }
    }
}
