use std::time::Duration;

use tegata_core::{ManualClock, port::BoxFuture};
use tokio::{sync::Semaphore, task::JoinSet};

use super::*;
use crate::MemoryEphemeral;

static NOTES: Space = Space { name: "note", indexed: false };
static OTHERS: Space = Space { name: "other", indexed: false };

/// A store that writes when it is let, and remembers how much was written together.
struct Counting {
    inner: MemoryEphemeral,
    lets: Semaphore,
    together: Mutex<Vec<usize>>,
    fails: bool,
}

impl Counting {
    fn new(fails: bool) -> Arc<Self> {
        let inner = MemoryEphemeral::new(Arc::new(ManualClock::default()));
        Arc::new(Self { inner, lets: Semaphore::new(0), together: Mutex::default(), fails })
    }
}

impl Ephemeral for Counting {
    fn get<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.inner.get(realm, space, key)
    }

    fn put<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.put(realm, space, put)
    }

    fn put_all<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        puts: Vec<Put>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.together.lock().push(puts.len());
            self.lets.acquire().await.unwrap().forget();
            if self.fails {
                let detail = "it was chosen to fail".to_owned();
                return Err(StoreError::Unavailable { backend: "the store", detail });
            }
            for put in puts {
                self.inner.put(realm, space, put).await?;
            }
            Ok(())
        })
    }

    fn add<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        put: Put,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.add(realm, space, put)
    }

    fn swap<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        revision: u64,
        put: Put,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        self.inner.swap(realm, space, revision, put)
    }

    fn take<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        self.inner.take(realm, space, key)
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        space: &'static Space,
        index: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(String, Held)>, StoreError>> {
        self.inner.find(realm, space, index, after, limit)
    }

    fn sweep(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.sweep()
    }
}

fn note(key: &str) -> Put {
    let lifetime = Duration::from_secs(60);
    Put { key: key.to_owned(), value: key.into(), lifetime, index: None }
}

/// Lets these be put at once, in this order.
async fn put(
    batched: &Batched,
    puts: Vec<(&'static Space, Put)>,
) -> JoinSet<Result<(), StoreError>> {
    let mut tasks = JoinSet::new();
    for (number, (space, put)) in puts.into_iter().enumerate() {
        let own = batched.clone();
        tasks.spawn(async move { own.put(&Realm::default(), space, put).await });
        // The first is being written, all others wait in this order.
        let is_so = || {
            let waiting = batched.0.waiting.lock();
            waiting.writing && waiting.puts.len() == number
        };
        while !is_so() {
            tokio::task::yield_now().await;
        }
    }
    tasks
}

#[tokio::test]
async fn whoever_comes_while_one_writes_is_written_together_up_to_a_hundred() {
    let store = Counting::new(false);
    let batched = Batched::new(store.clone());
    let puts = (0..251).map(|n| (&NOTES, note(&n.to_string()))).collect();
    let tasks = put(&batched, puts).await;
    store.lets.add_permits(1000);
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    assert_eq!(*store.together.lock(), [1, 100, 100, 50]);
    for n in 0..251 {
        let key = n.to_string();
        assert!(batched.get(&Realm::default(), &NOTES, &key).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn one_key_is_written_in_the_order_of_its_writers_and_spaces_are_apart() {
    let store = Counting::new(false);
    let batched = Batched::new(store.clone());
    let second = Put { value: b"second".to_vec(), ..note("a") };
    let puts = vec![
        (&NOTES, note("first of all")),
        (&NOTES, note("a")),
        (&NOTES, note("b")),
        (&NOTES, second),
        (&OTHERS, note("c")),
    ];
    let tasks = put(&batched, puts).await;
    store.lets.add_permits(1000);
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    assert_eq!(*store.together.lock(), [1, 2, 1, 1]);
    let stands = batched.get(&Realm::default(), &NOTES, "a").await.unwrap().unwrap();
    assert_eq!(stands.value, b"second");
}

#[tokio::test]
async fn whoever_is_in_a_batch_that_fails_is_told() {
    let store = Counting::new(true);
    let batched = Batched::new(store.clone());
    let tasks = put(&batched, vec![(&NOTES, note("a")), (&NOTES, note("b"))]).await;
    store.lets.add_permits(1000);
    assert!(tasks.join_all().await.iter().all(Result::is_err));
    // And the next is not kept from trying.
    assert!(batched.put(&Realm::default(), &NOTES, note("c")).await.is_err());
    assert_eq!(*store.together.lock(), [1, 1, 1]);
}

#[tokio::test]
async fn one_that_fails_spoils_none_of_those_it_is_written_with() {
    let store = Counting::new(true);
    let batched = Batched::new(store.clone());
    let puts = ["first", "a", "b"].map(|key| (&NOTES, note(key))).to_vec();
    let tasks = put(&batched, puts).await;
    store.lets.add_permits(1000);
    let told = tasks.join_all().await;
    // The batch of two failed, and each of the two succeeds for itself.
    assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 2);
    assert_eq!(*store.together.lock(), [1, 2]);
}
