//! The contract of `Ephemeral`, from the hardest point down.

use std::{collections::BTreeSet, time::Duration};

use tegata_core::{
    Ephemeral, StoreError,
    port::{Held, Put, Space, Swap},
};

use super::bed::{Bed, other_realm, realm};

static CODES: Space = Space { name: "code", indexed: true };
static CODES_TWO: Space = Space { name: "code_two", indexed: true };
const MINUTE: Duration = Duration::from_secs(60);

fn value(key: &str, value: &str) -> Put {
    Put { key: key.to_owned(), value: value.into(), lifetime: MINUTE, index: None }
}

fn indexed(key: &str, value: &str, index: &str) -> Put {
    Put { index: Some(index.to_owned()), ..self::value(key, value) }
}

async fn held(store: &dyn Ephemeral, key: &str) -> Option<Held> {
    store.get(&realm(), &CODES, key).await.unwrap()
}

async fn found(store: &dyn Ephemeral, index: &str) -> Vec<String> {
    let found = store.find(&realm(), &CODES, index, None, 100).await.unwrap();
    found.into_iter().map(|(key, _)| key).collect()
}

pub(crate) async fn one_of_many_swaps_wins(bed: &Bed<dyn Ephemeral>) {
    for round in 0..3 {
        let key = format!("swapped-{round}");
        bed.first().put(&realm(), &CODES, value(&key, "start")).await.unwrap();
        let read = held(bed.first(), &key).await.unwrap();
        let results = bed
            .crowd(300, |node, n| {
                let put = value(&key, &n.to_string());
                async move { (n, node.swap(&realm(), &CODES, read.revision, put).await.unwrap()) }
            })
            .await;
        let stands = held(bed.first(), &key).await.unwrap();
        let mut winners = 0;
        for (n, swap) in results {
            match swap {
                Swap::Won(revision) => {
                    winners += 1;
                    let won = Held { value: n.to_string().into(), revision };
                    assert_eq!(stands, won);
                }
                Swap::Lost(other) => assert_eq!(other, stands),
                Swap::Gone => panic!("the value was there all the time"),
            }
        }
        assert_eq!(winners, 1);
    }
}

pub(crate) async fn one_of_many_gets_what_is_taken(bed: &Bed<dyn Ephemeral>) {
    for round in 0..3 {
        let key = format!("taken-{round}");
        bed.first().put(&realm(), &CODES, value(&key, "once")).await.unwrap();
        let takers = bed
            .crowd(300, |node, _| {
                let key = key.clone();
                async move { node.take(&realm(), &CODES, &key).await.unwrap() }
            })
            .await;
        let got = takers.into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].value, b"once");
        assert_eq!(held(bed.first(), &key).await, None);
    }
}

pub(crate) async fn one_of_many_adds_wins(bed: &Bed<dyn Ephemeral>) {
    // The second round adds where a dead value stands.
    for round in 0..2 {
        let results = bed
            .crowd(300, |node, n| {
                let put = value("added", &format!("{round}-{n}"));
                async move { (n, node.add(&realm(), &CODES, put).await.unwrap()) }
            })
            .await;
        let winners = results.iter().filter(|(_, won)| *won).collect::<Vec<_>>();
        assert_eq!(winners.len(), 1, "winners of round {round}");
        let stands = held(bed.first(), "added").await.unwrap();
        assert_eq!(stands.value, format!("{round}-{}", winners[0].0).into_bytes());
        bed.clock.advance(MINUTE);
    }
}

pub(crate) async fn a_value_is_taken_or_swapped_but_not_both(bed: &Bed<dyn Ephemeral>) {
    for round in 0..50 {
        let key = format!("either-{round}");
        bed.first().put(&realm(), &CODES, value(&key, "start")).await.unwrap();
        let revision = held(bed.first(), &key).await.unwrap().revision;
        let results = bed
            .crowd(2, |node, n| {
                let key = key.clone();
                async move {
                    if n == 0 {
                        let taken = node.take(&realm(), &CODES, &key).await.unwrap();
                        return taken.is_some_and(|held| held.value == b"start");
                    }
                    let swap = node.swap(&realm(), &CODES, revision, value(&key, "next")).await;
                    matches!(swap.unwrap(), Swap::Won(_))
                }
            })
            .await;
        assert_eq!(results.iter().filter(|won| **won).count(), 1, "round {round}");
    }
}

/// A revision that somebody still holds must not fit a value that was written later, or a swap
/// would win against something its caller has never seen.
pub(crate) async fn a_revision_never_returns(bed: &Bed<dyn Ephemeral>) {
    let mut revisions = BTreeSet::new();
    let store = bed.first();
    let mut note = |held: Held| assert!(revisions.insert(held.revision), "a revision returned");
    for _ in 0..3 {
        store.put(&realm(), &CODES, value("again", "put")).await.unwrap();
        note(held(store, "again").await.unwrap());
        store.put(&realm(), &CODES, value("again", "put")).await.unwrap();
        let second = held(store, "again").await.unwrap();
        note(second.clone());
        let swap = store.swap(&realm(), &CODES, second.revision, value("again", "put")).await;
        let third = held(store, "again").await.unwrap();
        assert_eq!(swap.unwrap(), Swap::Won(third.revision));
        note(third);
        store.take(&realm(), &CODES, "again").await.unwrap();
        assert!(store.add(&realm(), &CODES, value("again", "added")).await.unwrap());
        note(held(store, "again").await.unwrap());
        bed.clock.advance(MINUTE);
        store.sweep().await.unwrap();
        assert!(store.add(&realm(), &CODES, value("again", "added")).await.unwrap());
        let last = held(store, "again").await.unwrap();
        note(last.clone());
        let stale = store.swap(&realm(), &CODES, second.revision, value("again", "stale")).await;
        assert_eq!(stale.unwrap(), Swap::Lost(last));
    }
}

pub(crate) async fn what_has_outlived_its_lifetime_is_not_answered(bed: &Bed<dyn Ephemeral>) {
    let store = bed.first();
    for key in ["get", "swap", "take", "add", "find", "again"] {
        store.put(&realm(), &CODES, indexed(key, "old", "anna")).await.unwrap();
    }
    let revision = held(store, "swap").await.unwrap().revision;
    let again = held(store, "again").await.unwrap().revision;
    bed.clock.advance(MINUTE - Duration::from_millis(1));
    assert!(held(store, "get").await.is_some());
    let renewed = store.swap(&realm(), &CODES, again, value("again", "new")).await.unwrap();
    assert!(matches!(renewed, Swap::Won(_)));
    bed.clock.advance(Duration::from_millis(1));

    // Nothing has been swept.
    assert_eq!(held(store, "get").await, None);
    let swap = store.swap(&realm(), &CODES, revision, value("swap", "new")).await.unwrap();
    assert_eq!(swap, Swap::Gone);
    assert_eq!(store.take(&realm(), &CODES, "take").await.unwrap(), None);
    assert!(store.add(&realm(), &CODES, value("add", "new")).await.unwrap());
    assert_eq!(found(store, "anna").await, ["again"], "a swap starts the lifetime anew");
}

pub(crate) async fn lifetimes_are_exact_and_bounded(bed: &Bed<dyn Ephemeral>) {
    let store = bed.first();
    let put = |key: &str, lifetime| Put { lifetime, ..value(key, "") };
    let none = Duration::ZERO;
    store.put(&realm(), &CODES, put("none", none)).await.unwrap();
    assert_eq!(held(store, "none").await, None);

    // Rounded up to milliseconds.
    store.put(&realm(), &CODES, put("short", Duration::from_nanos(1))).await.unwrap();
    assert!(held(store, "short").await.is_some());
    bed.clock.advance(Duration::from_millis(1));
    assert_eq!(held(store, "short").await, None);

    let longest = 400 * 24 * 60 * MINUTE;
    store.put(&realm(), &CODES, put("longest", longest)).await.unwrap();
    let longer = store.put(&realm(), &CODES, put("longer", longest + MINUTE)).await;
    assert!(matches!(longer, Err(StoreError::Misused { .. })), "{longer:?}");
    bed.clock.advance(longest - Duration::from_millis(1));
    assert!(held(store, "longest").await.is_some());
}

pub(crate) async fn a_sweep_takes_the_dead_alone(bed: &Bed<dyn Ephemeral>) {
    let store = bed.first();
    for n in 0..30 {
        let lifetime = MINUTE * (1 + n % 2);
        let put = Put { lifetime, ..indexed(&format!("swept-{n:02}"), "", "anna") };
        store.put(&realm(), &CODES, put).await.unwrap();
    }
    bed.clock.advance(MINUTE);
    // Backends that sweep by themselves answer 0.
    assert!([0, 15].contains(&store.sweep().await.unwrap()));
    assert_eq!(store.sweep().await.unwrap(), 0);
    assert_eq!(found(store, "anna").await.len(), 15);
}

pub(crate) async fn a_value_is_overwritten_by_put_alone(bed: &Bed<dyn Ephemeral>) {
    let store = bed.first();
    assert!(store.add(&realm(), &CODES, value("one", "first")).await.unwrap());
    assert!(!store.add(&realm(), &CODES, value("one", "second")).await.unwrap());
    assert_eq!(held(store, "one").await.unwrap().value, b"first");
    store.put(&realm(), &CODES, value("one", "third")).await.unwrap();
    let third = held(bed.node(1).as_ref(), "one").await.unwrap();
    assert_eq!(third.value, b"third");
    let missing = store.swap(&realm(), &CODES, third.revision, value("none", "")).await.unwrap();
    assert_eq!(missing, Swap::Gone);
    assert_eq!(held(store, "none").await, None);
    assert_eq!(store.take(&realm(), &CODES, "none").await.unwrap(), None);
}

pub(crate) async fn an_index_is_kept_or_replaced(bed: &Bed<dyn Ephemeral>) {
    let store = bed.first();
    store.put(&realm(), &CODES, indexed("one", "", "anna")).await.unwrap();
    store.put(&realm(), &CODES, value("one", "kept by put")).await.unwrap();
    assert_eq!(found(store, "anna").await, ["one"]);
    let revision = held(store, "one").await.unwrap().revision;
    let swap = store.swap(&realm(), &CODES, revision, value("one", "kept by swap")).await.unwrap();
    let Swap::Won(revision) = swap else { panic!("{swap:?}") };
    assert_eq!(found(store, "anna").await, ["one"]);
    store.swap(&realm(), &CODES, revision, indexed("one", "", "ben")).await.unwrap();
    assert_eq!(found(store, "anna").await, [""; 0]);
    assert_eq!(found(store, "ben").await, ["one"]);
    store.take(&realm(), &CODES, "one").await.unwrap();
    assert_eq!(found(store, "ben").await, [""; 0]);

    // The index of a dead or taken value does not come back with its key.
    store.put(&realm(), &CODES, value("one", "new")).await.unwrap();
    store.put(&realm(), &CODES, indexed("two", "", "ben")).await.unwrap();
    bed.clock.advance(MINUTE);
    store.put(&realm(), &CODES, value("two", "new")).await.unwrap();
    assert_eq!(found(store, "ben").await, [""; 0]);
}

pub(crate) async fn finds_are_paged_in_order_of_keys(bed: &Bed<dyn Ephemeral>) {
    let store = bed.first();
    for n in (0..20).map(|n| n * 7 % 20) {
        let (key, owner) = (format!("key-{n:02}"), if n % 2 == 0 { "anna" } else { "ann" });
        store.put(&realm(), &CODES, indexed(&key, &key, owner)).await.unwrap();
    }
    let mut all = Vec::<String>::new();
    loop {
        let after = all.last().map(String::as_str);
        let piece = store.find(&realm(), &CODES, "anna", after, 3).await.unwrap();
        assert!(piece.len() <= 3);
        if piece.is_empty() {
            break;
        }
        for (key, held) in piece {
            assert_eq!(held.value, key.as_bytes());
            all.push(key);
        }
    }
    assert_eq!(all, (0..20).step_by(2).map(|n| format!("key-{n:02}")).collect::<Vec<_>>());
    assert!(store.find(&realm(), &CODES, "anna", None, 0).await.unwrap().is_empty());
}

pub(crate) async fn realms_and_spaces_are_apart(bed: &Bed<dyn Ephemeral>) {
    let store = bed.first();
    store.put(&realm(), &CODES, indexed("same", "ours", "anna")).await.unwrap();
    store.put(&other_realm(), &CODES, indexed("same", "theirs", "anna")).await.unwrap();
    store.put(&realm(), &CODES_TWO, indexed("same", "second", "anna")).await.unwrap();
    store.take(&other_realm(), &CODES, "same").await.unwrap().unwrap();
    store.take(&realm(), &CODES_TWO, "same").await.unwrap().unwrap();
    assert_eq!(held(store, "same").await.unwrap().value, b"ours");
    assert_eq!(found(store, "anna").await, ["same"]);
    let theirs = store.find(&other_realm(), &CODES, "anna", None, 9).await.unwrap();
    assert!(theirs.is_empty());
}

pub(crate) async fn odd_keys_and_values_are_kept(bed: &Bed<dyn Ephemeral>) {
    let store = bed.first();
    let mut keys = [
        " ", "a", "A", "a ", "'", "\"", "%", "_", "*", "a*", "{a}", ":", "a:b", "\r\n", "ä",
        "a\u{308}", "🦀", "\u{1}",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push("x".repeat(255));
    for key in &keys {
        let put = Put { value: [&[0, 0xff], key.as_bytes()].concat(), ..indexed(key, "", key) };
        assert!(store.add(&realm(), &CODES, put).await.unwrap(), "{key:?} stands already");
    }
    for key in &keys {
        let value = held(store, key).await.unwrap().value;
        assert_eq!(value, [&[0, 0xff], key.as_bytes()].concat());
        assert_eq!(found(store, key).await, [key.as_str()]);
    }
    let large = vec![9; 1_048_576];
    let put = Put { value: large.clone(), ..value("large", "") };
    store.put(&realm(), &CODES, put).await.unwrap();
    assert_eq!(held(store, "large").await.unwrap().value, large);
}

pub(crate) async fn keys_are_bounded(bed: &Bed<dyn Ephemeral>) {
    let store = bed.first();
    let misused = |error: StoreError| assert!(matches!(error, StoreError::Misused { .. }));
    for bad in [String::new(), "x".repeat(256), "a\0b".to_owned()] {
        misused(store.get(&realm(), &CODES, &bad).await.unwrap_err());
        misused(store.put(&realm(), &CODES, value(&bad, "")).await.unwrap_err());
        misused(store.put(&realm(), &CODES, indexed("fine", "", &bad)).await.unwrap_err());
        misused(store.add(&realm(), &CODES, value(&bad, "")).await.unwrap_err());
        misused(store.swap(&realm(), &CODES, 1, value(&bad, "")).await.unwrap_err());
        misused(store.take(&realm(), &CODES, &bad).await.unwrap_err());
        misused(store.find(&realm(), &CODES, &bad, None, 1).await.unwrap_err());
    }
    assert_eq!(held(store, "fine").await, None);
}

/// One test for each clause of the contract of `Ephemeral`.
macro_rules! ephemeral_contract {
    ($adapter:ident, $bed:expr) => {
        mod $adapter {
            use crate::contract::ephemeral as clauses;

            clauses! { $bed,
                one_of_many_swaps_wins
                one_of_many_gets_what_is_taken
                one_of_many_adds_wins
                a_value_is_taken_or_swapped_but_not_both
                a_revision_never_returns
                what_has_outlived_its_lifetime_is_not_answered
                lifetimes_are_exact_and_bounded
                a_sweep_takes_the_dead_alone
                a_value_is_overwritten_by_put_alone
                an_index_is_kept_or_replaced
                finds_are_paged_in_order_of_keys
                realms_and_spaces_are_apart
                odd_keys_and_values_are_kept
                keys_are_bounded
            }
        }
    };
}
