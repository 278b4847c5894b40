use std::{pin::pin, time::Duration};

use tegata_core::{
    EventId, Expect, ManualClock,
    port::{Append, DataKey, Put, Space},
};
use tokio::{sync::watch, time::timeout};

use super::*;
use crate::{FileCustody, MemoryEphemeral, MemoryRecords};

static NOTES: Kind =
    Kind { name: "note", indexes: &["owner"], lifetime: Lifetime::Kept, secret: true };
static OTHERS: Kind = Kind { name: "other", indexes: &[], lifetime: Lifetime::Kept, secret: false };
static CODES: Space = Space { name: "code", indexed: false };

const TEXT: &[u8] = b"nobody but the owner reads this";

fn store() -> Arc<dyn Records> {
    let clock = Arc::new(ManualClock::default());
    Arc::new(MemoryRecords::new(&[&NOTES, &OTHERS, &DATA_KEYS], clock).unwrap())
}

fn root(letter: char) -> Arc<dyn Custody> {
    let key = format!("{}{letter}AA=", "Root".repeat(10));
    Arc::new(FileCustody::from_text(&key, "`KEY`", &Node::start()).unwrap())
}

async fn sealed(inner: &Arc<dyn Records>) -> Sealed {
    Sealed::open(inner.clone(), root('A'), &Node::start()).await.unwrap()
}

fn put(kind: &'static Kind, key: &str, body: Body) -> Change {
    Change::Put { kind, key: key.to_owned(), expect: Expect::Any, body, indexes: Vec::new() }
}

fn batch(change: Change) -> Batch {
    Batch::new(Realm::default()).with(change)
}

async fn write(records: &dyn Records, kind: &'static Kind, key: &str) {
    records.commit(batch(put(kind, key, Body::Plain(TEXT.to_vec())))).await.unwrap();
}

async fn stored(inner: &Arc<dyn Records>, kind: &'static Kind, key: &str) -> Vec<u8> {
    match inner.load(&Realm::default(), kind, key).await.unwrap().unwrap().body {
        Body::Sealed(bytes) => bytes,
        Body::Plain(_) => panic!("a body was stored as it was"),
    }
}

/// Puts bytes where a record stands, as somebody who has the store and not the root key would.
async fn plant(inner: &Arc<dyn Records>, kind: &'static Kind, key: &str, body: Body) {
    inner.commit(batch(put(kind, key, body))).await.unwrap();
}

async fn assert_corrupt(sealed: &Sealed, kind: &'static Kind, key: &str) {
    let read = sealed.load(&Realm::default(), kind, key).await;
    let Err(StoreError::Corrupt { kind: named, key: at, detail, .. }) = read else {
        panic!("what was planted at `{key}` was answered as if it were true: {read:?}");
    };
    assert_eq!((named, at.as_str()), (kind.name, key));
    assert!(!detail.contains("owner"));
}

#[tokio::test]
async fn the_store_holds_nothing_that_can_be_read() {
    let inner = store();
    let sealed = sealed(&inner).await;
    write(&sealed, &NOTES, "one").await;
    write(&sealed, &NOTES, "two").await;
    let entry = Append { log: Log::Journal, id: EventId([1; 16]), body: TEXT.to_vec() };
    sealed.commit(Batch::new(Realm::default()).append(entry)).await.unwrap();

    let (one, two) = (stored(&inner, &NOTES, "one").await, stored(&inner, &NOTES, "two").await);
    let log = inner.pull(Log::Journal, 0, 1).await.unwrap().entries.remove(0).body;
    for bytes in [&one, &two, &log] {
        assert_eq!(bytes.len(), TEXT.len() + 37);
        for piece in TEXT.windows(4) {
            assert!(!bytes.windows(4).any(|bytes| bytes == piece));
        }
    }
    assert_ne!(one[21..], two[21..], "equal bodies can be told by their sealed forms");
    let again = sealed.load(&Realm::default(), &NOTES, "one").await.unwrap().unwrap();
    assert_eq!(again.body, Body::Plain(TEXT.to_vec()));
}

#[tokio::test]
async fn refuses_every_altered_byte() {
    let inner = store();
    let sealed = sealed(&inner).await;
    write(&sealed, &NOTES, "one").await;
    let bytes = stored(&inner, &NOTES, "one").await;
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        plant(&inner, &NOTES, "one", Body::Sealed(altered)).await;
        assert_corrupt(&sealed, &NOTES, "one").await;
        plant(&inner, &NOTES, "one", Body::Sealed(bytes[..at].to_vec())).await;
        assert_corrupt(&sealed, &NOTES, "one").await;
    }
    plant(&inner, &NOTES, "one", Body::Sealed(bytes)).await;
    assert!(sealed.load(&Realm::default(), &NOTES, "one").await.is_ok());
}

#[tokio::test]
async fn refuses_what_was_sealed_for_another_place() {
    let inner = store();
    let sealed = sealed(&inner).await;
    let elsewhere = Realm::new("elsewhere").unwrap();
    write(&sealed, &NOTES, "one").await;
    write(&sealed, &OTHERS, "one").await;
    let body = Body::Plain(TEXT.to_vec());
    let other_realm = Batch::new(elsewhere.clone()).with(put(&NOTES, "one", body));
    sealed.commit(other_realm).await.unwrap();
    let log = Append { log: Log::Journal, id: EventId([b'a'; 16]), body: TEXT.to_vec() };
    sealed.commit(Batch::new(Realm::default()).append(log)).await.unwrap();

    let of_log = inner.pull(Log::Journal, 0, 1).await.unwrap().entries.remove(0).body;
    let of_realm = inner.load(&elsewhere, &NOTES, "one").await.unwrap().unwrap().body;
    let of_kind = Body::Sealed(stored(&inner, &OTHERS, "one").await);
    let of_key = Body::Sealed(stored(&inner, &NOTES, "one").await);
    for (key, body) in [("one", of_kind), ("one", of_realm), ("two", of_key)] {
        plant(&inner, &NOTES, key, body).await;
        assert_corrupt(&sealed, &NOTES, key).await;
    }
    // The entry's id is the key of its place, so even a record under the same bytes is another.
    let same_key = "a".repeat(16);
    plant(&inner, &NOTES, &same_key, Body::Sealed(of_log.clone())).await;
    assert_corrupt(&sealed, &NOTES, &same_key).await;
    let moved = Append { log: Log::Revocations, id: EventId([b'a'; 16]), body: of_log };
    inner.commit(Batch::new(Realm::default()).append(moved)).await.unwrap();
    let pulled = sealed.pull(Log::Revocations, 0, 1).await;
    assert!(matches!(pulled, Err(StoreError::Corrupt { kind: "revocations", .. })), "{pulled:?}");
}

#[tokio::test]
async fn refuses_what_was_never_sealed() {
    let inner = store();
    let sealed = sealed(&inner).await;
    plant(&inner, &OTHERS, "planted", Body::Plain(b"anything".to_vec())).await;
    assert_corrupt(&sealed, &OTHERS, "planted").await;
    assert!(sealed.scan(&Realm::default(), &OTHERS, Page { after: None, limit: 9 }).await.is_err());
}

#[tokio::test]
async fn refuses_another_root_key_and_makes_no_new_data_key() {
    let inner = store();
    write(&sealed(&inner).await, &NOTES, "one").await;
    let refused = Sealed::open(inner.clone(), root('B'), &Node::start()).await.err().unwrap();
    assert!(matches!(refused, SealRefused::OtherRoot { number: 1 }), "{refused}");
    let page = Page { after: None, limit: 9 };
    let keys = inner.scan(&Realm::default(), &DATA_KEYS, page).await.unwrap();
    assert_eq!(keys.len(), 1, "a data key was made beside the one that does not open");
    let read = sealed(&inner).await.load(&Realm::default(), &NOTES, "one").await.unwrap();
    assert!(read.is_some());
}

#[tokio::test]
async fn refuses_a_data_key_that_was_altered_or_moved() {
    let inner = store();
    sealed(&inner).await.rotate().await.unwrap();
    let load = async |key| inner.load(&Realm::default(), &DATA_KEYS, key).await.unwrap().unwrap();
    let second = load("0000000002").await.body;
    let first = load("0000000001").await.body;
    plant(&inner, &DATA_KEYS, "0000000001", second).await;
    let refused = Sealed::open(inner.clone(), root('A'), &Node::start()).await.err().unwrap();
    assert!(matches!(refused, SealRefused::OtherRoot { number: 1 }), "{refused}");

    plant(&inner, &DATA_KEYS, "0000000001", first).await;
    plant(&inner, &DATA_KEYS, "not a number", Body::Plain(vec![])).await;
    let refused = Sealed::open(inner.clone(), root('A'), &Node::start()).await.err().unwrap();
    assert!(matches!(refused, SealRefused::Store(StoreError::Corrupt { .. })), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_open_an_empty_store_at_once_use_one_key() {
    let inner = store();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let inner = inner.clone();
        tasks.spawn(async move {
            let sealed = sealed(&inner).await;
            write(&sealed, &NOTES, &format!("note-{n}")).await;
            sealed
        });
    }
    for sealed in tasks.join_all().await {
        for n in 0..16 {
            let key = format!("note-{n}");
            assert!(sealed.load(&Realm::default(), &NOTES, &key).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn rotation_keeps_the_old_readable_and_other_nodes_follow() {
    let inner = store();
    let (here, there) = (sealed(&inner).await, sealed(&inner).await);
    write(&here, &NOTES, "old").await;
    assert_eq!(here.rotate().await.unwrap(), 2);
    write(&here, &NOTES, "new").await;
    let number = |bytes: Vec<u8>| bytes[1..5].to_vec();
    assert_eq!(number(stored(&inner, &NOTES, "old").await), [0, 0, 0, 1]);
    assert_eq!(number(stored(&inner, &NOTES, "new").await), [0, 0, 0, 2]);

    write(&there, &NOTES, "not yet").await;
    assert_eq!(number(stored(&inner, &NOTES, "not yet").await), [0, 0, 0, 1]);
    for sealed in [&there, &here] {
        for key in ["old", "new", "not yet"] {
            assert!(sealed.load(&Realm::default(), &NOTES, key).await.unwrap().is_some());
        }
    }
    write(&there, &NOTES, "now").await;
    assert_eq!(number(stored(&inner, &NOTES, "now").await), [0, 0, 0, 2]);
    assert_eq!(there.rotate().await.unwrap(), 3);
}

#[tokio::test]
async fn data_keys_are_out_of_reach_of_callers() {
    let inner = store();
    let sealed = sealed(&inner).await;
    let key = "0000000001".to_owned();
    let remove = Change::Remove { kind: &DATA_KEYS, key: key.clone(), expect: Expect::Any };
    for change in [remove, put(&DATA_KEYS, &key, Body::Plain(vec![]))] {
        let refused = sealed.commit(batch(change)).await;
        assert!(matches!(refused, Err(CommitRefused::Store(StoreError::Misused { .. }))));
    }
}

#[tokio::test]
async fn values_are_sealed_for_their_place_too() {
    let realm = Realm::default();
    let values: Arc<dyn Ephemeral> =
        Arc::new(MemoryEphemeral::new(Arc::new(ManualClock::default())));
    let sealed = sealed(&store()).await.ephemeral(values.clone());
    let put = |key: &str, value: &[u8]| Put {
        key: key.to_owned(),
        value: value.to_vec(),
        lifetime: Duration::from_secs(60),
        index: None,
    };
    sealed.put(&realm, &CODES, put("one", TEXT)).await.unwrap();
    let bytes = values.get(&realm, &CODES, "one").await.unwrap().unwrap().value;
    assert!(!bytes.windows(4).any(|bytes| bytes == &TEXT[..4]));
    for (key, value) in [("two", bytes.as_slice()), ("three", TEXT), ("four", &[])] {
        values.put(&realm, &CODES, put(key, value)).await.unwrap();
        let read = sealed.get(&realm, &CODES, key).await;
        assert!(matches!(read, Err(StoreError::Corrupt { kind: "code", .. })), "{read:?}");
    }
    assert_eq!(sealed.take(&realm, &CODES, "one").await.unwrap().unwrap().value, TEXT);
}

#[tokio::test]
async fn what_is_as_it_was_is_not_opened_again_and_whatever_changed_is() {
    let inner = store();
    let sealed = sealed(&inner).await;
    let realm = Realm::default();
    let reread = async |known: Option<&Stamp>| sealed.reread(&realm, &NOTES, "one", known).await;
    assert_eq!(reread(None).await.unwrap(), Reread::Absent);
    write(&sealed, &NOTES, "one").await;
    let Reread::Is(first, Some(stamp)) = reread(None).await.unwrap() else { panic!("not read") };
    assert_eq!((first.version, &first.body), (1, &Body::Plain(TEXT.to_vec())));
    assert_eq!(reread(Some(&stamp)).await.unwrap(), Reread::Same);
    assert!(!format!("{stamp:?}").contains("nobody"));

    // Removed and written again, it says the same and has the same version, and is another.
    let remove = Change::Remove { kind: &NOTES, key: "one".to_owned(), expect: Expect::Any };
    sealed.commit(batch(remove)).await.unwrap();
    assert_eq!(reread(Some(&stamp)).await.unwrap(), Reread::Absent);
    write(&sealed, &NOTES, "one").await;
    let Reread::Is(second, Some(now)) = reread(Some(&stamp)).await.unwrap() else {
        panic!("what was written again was taken for what was there before")
    };
    assert_eq!(second, first);
    assert_eq!(reread(Some(&now)).await.unwrap(), Reread::Same);

    // One byte that somebody alters is noticed by whoever has read it before, too.
    let mut bytes = stored(&inner, &NOTES, "one").await;
    bytes[40] ^= 1;
    plant(&inner, &NOTES, "one", Body::Sealed(bytes)).await;
    assert!(matches!(reread(Some(&now)).await, Err(StoreError::Corrupt { .. })));
}

/// A root key that is asked and does not answer while it hangs.
struct Hanging {
    inner: Arc<dyn Custody>,
    hangs: watch::Sender<bool>,
}

impl Hanging {
    async fn answers(&self) {
        self.hangs.subscribe().wait_for(|hangs| !*hangs).await.unwrap();
    }
}

impl Custody for Hanging {
    fn wrap<'a>(
        &'a self,
        key: &'a DataKey,
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, CustodyRefused>> {
        Box::pin(async move {
            self.answers().await;
            self.inner.wrap(key, context).await
        })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<DataKey, CustodyRefused>> {
        Box::pin(async move {
            self.answers().await;
            self.inner.unwrap(wrapped, context).await
        })
    }
}

#[tokio::test]
async fn a_root_key_that_does_not_answer_holds_up_only_what_needs_it() {
    let (inner, realm) = (store(), Realm::default());
    let custody = Arc::new(Hanging { inner: root('A'), hangs: watch::Sender::new(false) });
    let custody_here: Arc<dyn Custody> = Arc::clone(&custody) as _;
    let here = Sealed::open(inner.clone(), custody_here, &Node::start()).await.unwrap();
    let other = sealed(&inner).await;
    write(&here, &NOTES, "before").await;
    custody.hangs.send_replace(true);
    // Another node rotates and writes: what it wrote is not read without the root key.
    other.rotate().await.unwrap();
    write(&other, &NOTES, "after").await;
    let mut rotates = pin!(here.rotate());
    let mut reads = pin!(here.load(&realm, &NOTES, "after"));
    assert!(timeout(Duration::ZERO, &mut rotates).await.is_err());
    assert!(timeout(Duration::ZERO, &mut reads).await.is_err());
    // All else is read and written meanwhile, by what is known of the data keys.
    let meanwhile = async {
        for key in ["one", "two", "three"] {
            write(&here, &NOTES, key).await;
            for key in [key, "before"] {
                let read = here.load(&realm, &NOTES, key).await.unwrap().unwrap();
                assert_eq!(read.body, Body::Plain(TEXT.to_vec()));
            }
        }
    };
    timeout(Duration::from_secs(60), meanwhile).await.expect("they are held up");
    assert!(timeout(Duration::ZERO, &mut rotates).await.is_err());
    assert!(timeout(Duration::ZERO, &mut reads).await.is_err());
    custody.hangs.send_replace(false);
    assert_eq!(reads.await.unwrap().unwrap().body, Body::Plain(TEXT.to_vec()));
    assert_eq!(rotates.await.unwrap(), 3);
}
