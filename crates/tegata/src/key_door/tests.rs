//! What the store is asked about keys.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tegata_core::{
    Batch, BoxFuture, ClientId, CommitRefused, Kind, Log, NodeId, Records, StoreError, Timestamp,
    port::{Page, Pull, Record, Sequenced},
};
use tegata_token::{
    ApiGrant, Roots,
    api_key::{API_KEYS, LIFETIME},
};

use super::*;
use crate::{compose::for_tests, in_time::PATIENCE};

/// Counts how often it is asked for a key.
struct Counting {
    of: Arc<dyn Records>,
    asked: AtomicUsize,
    /// Whether it answers nobody who asks for one.
    silent: AtomicBool,
}

impl Records for Counting {
    fn load<'a>(
        &'a self,
        realm: &'a tegata_core::Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        if kind.name == API_KEYS.name {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.silent.load(Ordering::SeqCst) {
                return Box::pin(std::future::pending());
            }
        }
        self.of.load(realm, kind, key)
    }

    fn find<'a>(
        &'a self,
        realm: &'a tegata_core::Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.of.find(realm, kind, index, value, page)
    }

    fn scan<'a>(
        &'a self,
        realm: &'a tegata_core::Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.of.scan(realm, kind, page)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        self.of.commit(batch)
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        self.of.pull(log, after, limit)
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        self.of.sequence(log, node)
    }

    fn purge(&self, now: Timestamp, before: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.of.purge(now, before)
    }
}

/// A door before a store that counts, and a key.
async fn door(composed: &Composed) -> (KeyDoor, Arc<Counting>, String) {
    let (of, asked) = (Arc::clone(&composed.records), AtomicUsize::new(0));
    let counting = Arc::new(Counting { of, asked, silent: AtomicBool::new(false) });
    let (records, node) = (Arc::clone(&counting) as Arc<dyn Records>, composed.node.clone());
    let roots = Roots::open(records.as_ref(), &node, &composed.realm, "api-key").await.unwrap();
    let place = (composed.epoch, composed.realm.clone());
    let keys = ApiKeys::new(node, place, records, &roots, composed.revoker.clone()).unwrap();
    let client: ClientId = "orders".parse().unwrap();
    let made = keys.create(&client, "", ApiGrant::default(), LIFETIME).await.unwrap();
    let door = KeyDoor { keys, ..KeyDoor::new(composed) };
    (door, counting, made.secret.expose().clone())
}

#[tokio::test]
async fn keys_that_do_not_count_are_refused_without_asking_the_store() {
    let place = tempfile::tempdir().unwrap();
    let composed = for_tests(place.path()).await;
    let (door, counting, key) = door(&composed).await;
    let digits: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let random = |count: usize| -> String {
        let mut bytes = vec![0; count];
        composed.node.entropy().fill(&mut bytes);
        bytes.iter().map(|byte| digits[usize::from(*byte) % 62]).collect()
    };
    for _ in 0..100_000 {
        let made_up = format!("sk_{}.{}", random(8), random(32));
        assert_eq!(door.judge(&made_up).await.unwrap_err(), KeyUnfit::Malformed);
    }
    // The right id, with what somebody guesses.
    for _ in 0..1_000 {
        let guessed = format!("{}{}", &key[..12], random(32));
        assert!(door.judge(&guessed).await.is_err());
    }
    for text in ["", "sk_", &key[..43], &key.to_uppercase(), &format!("{key}x"), "at_x"] {
        assert_eq!(door.judge(text).await.unwrap_err(), KeyUnfit::Malformed, "{text}");
    }
    assert_eq!(counting.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn many_who_show_one_key_ask_the_store_once_and_its_use_is_written_later() {
    let place = tempfile::tempdir().unwrap();
    let composed = for_tests(place.path()).await;
    let (door, counting, key) = door(&composed).await;
    let all = futures_util::future::join_all((0..500).map(|_| door.judge(&key))).await;
    let first = all[0].as_ref().unwrap();
    assert!(all.iter().all(|one| Arc::ptr_eq(one.as_ref().unwrap(), first)));
    assert_eq!(counting.asked.load(Ordering::SeqCst), 1);
    assert_eq!(composed.api_keys.used(&first.id).await, Ok(None));
    write_uses(&composed).await.unwrap();
    assert!(composed.api_keys.used(&first.id).await.unwrap().is_some());
    assert!(composed.key_uses.take().is_empty());
}

#[tokio::test]
async fn a_store_that_says_nothing_holds_no_request_for_longer_than_is_bearable() {
    let place = tempfile::tempdir().unwrap();
    let composed = for_tests(place.path()).await;
    let (door, counting, key) = door(&composed).await;
    counting.silent.store(true, Ordering::SeqCst);
    tokio::time::pause();
    // Also where somebody always waits already: nobody joins those who wait for ever.
    let late = async {
        let _ = tokio::time::timeout(PATIENCE / 2, std::future::pending::<()>()).await;
        door.judge(&key).await
    };
    let both =
        tokio::time::timeout(2 * PATIENCE, futures_util::future::join(door.judge(&key), late));
    let (first, second) = both.await.expect("they wait for ever");
    for refused in [first, second] {
        assert_eq!(refused.unwrap_err(), KeyUnfit::Unavailable);
    }
    assert_eq!(counting.asked.load(Ordering::SeqCst), 1);
    // Whoever comes once it speaks again is not refused for it.
    counting.silent.store(false, Ordering::SeqCst);
    // The store answers on a thread of its own, in time as it is.
    tokio::time::resume();
    assert!(door.judge(&key).await.is_ok());
}

#[tokio::test]
async fn a_copy_of_a_key_serves_nobody_once_it_is_taken_back() {
    let place = tempfile::tempdir().unwrap();
    let composed = for_tests(place.path()).await;
    let (door, _, key) = door(&composed).await;
    let seen = door.judge(&key).await.unwrap();
    let view = composed.view.realm(&composed.realm);
    assert_eq!(view.check_claims(&seen.claims, None, ""), None);
    let order = tegata_token::Order { reason: "test".into(), actor: "system".into() };
    assert_eq!(composed.api_keys.revoke(&seen.id, &order).await, Ok(Some(true)));
    // The copy still says that it counts; what it says is looked up, as at every request.
    let copy = door.judge(&key).await.unwrap();
    assert!(view.check_claims(&copy.claims, None, "").is_some());
}
