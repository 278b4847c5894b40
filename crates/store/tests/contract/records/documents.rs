//! Documents: versions, indexes, listings, keys, bodies, and what is refused.

use super::*;
use crate::contract::bed::other_realm;
use tegata_core::StoreError;

pub(crate) async fn versions_count_writes(bed: &Bed<dyn Records>) {
    let records = bed.first();
    for version in 1..=5 {
        records.commit(batch(note("counted", Expect::Any, ""))).await.unwrap();
        assert_eq!(noted(records, "counted").await, Some((version, String::new())));
    }
    let remove =
        Change::Remove { kind: &NOTES, key: "counted".to_owned(), expect: Expect::Version(5) };
    records.commit(batch(remove)).await.unwrap();
    records.commit(batch(note("counted", Expect::Absent, ""))).await.unwrap();
    assert_eq!(noted(records, "counted").await, Some((1, String::new())));
}

pub(crate) async fn indexes_find_what_was_last_written(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let realm = realm();
    let write = async |key: &str, indexes: &[(&'static str, &str)]| {
        records.commit(batch(put(&NOTES, key, Expect::Any, "", indexes))).await.unwrap();
    };
    let found = async |index: &'static str, value: &str| {
        let found = records.find(&realm, &NOTES, index, value, page(None, 10)).await.unwrap();
        keys(&found).join(" ")
    };
    write("one", &[("owner", "anna"), ("colour", "red")]).await;
    write("two", &[("owner", "anna")]).await;
    write("three", &[]).await;
    assert_eq!(found("owner", "anna").await, "one two");
    assert_eq!(found("colour", "red").await, "one");
    assert_eq!(found("owner", "ann").await, "");

    write("one", &[("owner", "ben"), ("colour", "red")]).await;
    write("two", &[("colour", "red")]).await;
    assert_eq!(found("owner", "anna").await, "");
    assert_eq!(found("owner", "ben").await, "one");
    assert_eq!(found("colour", "red").await, "one two");

    let remove = Change::Remove { kind: &NOTES, key: "one".to_owned(), expect: Expect::Any };
    records.commit(batch(remove)).await.unwrap();
    assert_eq!(found("colour", "red").await, "two");
}

pub(crate) async fn realms_and_kinds_are_apart(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let owner = [("owner", "anna")];
    for (realm, text) in [(realm(), "ours"), (other_realm(), "theirs")] {
        let change = put(&NOTES, "same", Expect::Absent, text, &owner);
        let second = put(&NOTES_TWO, "same", Expect::Absent, "second kind", &owner);
        records.commit(Batch::new(realm).with(change).with(second)).await.unwrap();
    }
    let remove =
        Change::Remove { kind: &NOTES, key: "same".to_owned(), expect: Expect::Version(1) };
    records.commit(Batch::new(other_realm()).with(remove)).await.unwrap();

    assert_eq!(noted(records, "same").await, Some((1, "ours".to_owned())));
    for (realm, left) in [(realm(), 1), (other_realm(), 0)] {
        assert_eq!(records.load(&realm, &NOTES, "same").await.unwrap().iter().count(), left);
        let found = records.find(&realm, &NOTES, "owner", "anna", page(None, 9)).await.unwrap();
        assert_eq!(found.len(), left);
        assert_eq!(records.scan(&realm, &NOTES, page(None, 9)).await.unwrap().len(), left);
        assert_eq!(records.scan(&realm, &NOTES_TWO, page(None, 9)).await.unwrap().len(), 1);
    }
}

pub(crate) async fn listings_are_paged_in_order_of_keys(bed: &Bed<dyn Records>) {
    let records = bed.first();
    // Written in another order than that of the keys.
    for n in (0..50).map(|n| n * 7 % 50) {
        let owner = if n % 2 == 0 { "anna" } else { "ben" };
        let key = format!("key-{n:02}");
        records
            .commit(batch(put(&NOTES, &key, Expect::Absent, "", &[("owner", owner)])))
            .await
            .unwrap();
    }
    let expected = |step| (0..50).step_by(step).map(|n| format!("key-{n:02}")).collect::<Vec<_>>();
    for (found, expected) in [(true, expected(2)), (false, expected(1))] {
        let mut all = Vec::new();
        loop {
            let page = page(all.last().map(String::as_str), 7);
            let piece = match found {
                true => records.find(&realm(), &NOTES, "owner", "anna", page).await.unwrap(),
                false => records.scan(&realm(), &NOTES, page).await.unwrap(),
            };
            assert!(piece.len() <= 7);
            if piece.is_empty() {
                break;
            }
            all.extend(piece.into_iter().map(|record| record.key));
        }
        assert_eq!(all, expected);
    }
    // A cursor need not exist, and a limit of nothing answers nothing.
    let from = records.scan(&realm(), &NOTES, page(Some("key-4"), 100)).await.unwrap();
    assert_eq!(keys(&from)[0], "key-40");
    assert!(records.scan(&realm(), &NOTES, page(None, 0)).await.unwrap().is_empty());
    let all = records.scan(&realm(), &NOTES, page(None, u32::MAX)).await.unwrap();
    assert_eq!(all.len(), 50);
}

/// Keys that a backend might fold, trim, quote or order by the rules of a language.
fn odd_keys() -> Vec<String> {
    let mut keys = [
        " ",
        "  ",
        "\t",
        "\n",
        "\u{1}",
        "%",
        "_",
        "a%",
        "'",
        "''",
        "\"",
        "`",
        ";--",
        "\\",
        "\\x00",
        "$1",
        "?1",
        ":a",
        "a:b",
        "a/b",
        "../a",
        "a b",
        "a",
        "A",
        "b",
        "B",
        "Z",
        "a ",
        " a",
        "aa",
        "ä",
        "a\u{308}",
        "é",
        "ß",
        "ss",
        "I",
        "i",
        "ı",
        "İ",
        "一",
        "\u{fffd}",
        "\u{feff}a",
        "\u{200d}",
        "🦀",
        "NULL",
        "null",
        "0",
        "00",
        "1e1",
        "10",
        "-1",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push("x".repeat(255));
    keys.push("é".repeat(127));
    keys
}

pub(crate) async fn odd_keys_are_kept_apart_and_ordered_by_bytes(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let mut sorted = odd_keys();
    for key in &sorted {
        let change = put(&NOTES, key, Expect::Absent, key, &[("owner", key), ("colour", "odd")]);
        records.commit(batch(change)).await.unwrap_or_else(|refused| panic!("{key:?}: {refused}"));
    }
    sorted.sort_unstable();
    for key in &sorted {
        assert_eq!(noted(records, key).await, Some((1, key.clone())), "{key:?}");
        let found = records.find(&realm(), &NOTES, "owner", key, page(None, 9)).await.unwrap();
        assert_eq!(keys(&found), [key], "an index folds {key:?}");
    }
    let all = records.scan(&realm(), &NOTES, page(None, 100)).await.unwrap();
    assert_eq!(keys(&all), sorted);
    let all = records.find(&realm(), &NOTES, "colour", "odd", page(None, 100)).await.unwrap();
    assert_eq!(keys(&all), sorted);
    for (n, key) in sorted.iter().enumerate() {
        let next = records.scan(&realm(), &NOTES, page(Some(key), 1)).await.unwrap();
        assert_eq!(keys(&next).first().copied(), sorted.get(n + 1).map(String::as_str));
    }
}

pub(crate) async fn keys_are_bounded(bed: &Bed<dyn Records>) {
    let records = bed.first();
    for bad in [String::new(), "x".repeat(256), "é".repeat(128), "a\0b".to_owned()] {
        let misused = |answer: Result<(), StoreError>| {
            assert!(matches!(answer, Err(StoreError::Misused { .. })), "{bad:?}: {answer:?}");
        };
        let refused = |answer| match answer {
            Err(CommitRefused::Store(error)) => Err(error),
            Err(conflict) => panic!("{conflict}"),
            Ok(()) => Ok(()),
        };
        let remove = Change::Remove { kind: &NOTES, key: bad.clone(), expect: Expect::Any };
        let require = Change::Require { kind: &NOTES, key: bad.clone(), expect: Expect::Any };
        let indexed = put(&NOTES, "fine", Expect::Any, "", &[("owner", bad.as_str())]);
        for change in [note(&bad, Expect::Any, ""), remove, require, indexed] {
            misused(refused(
                records.commit(batch(note("first", Expect::Any, "")).with(change)).await,
            ));
        }
        misused(records.load(&realm(), &NOTES, &bad).await.map(drop));
        let found = records.find(&realm(), &NOTES, "owner", &bad, page(None, 1)).await;
        misused(found.map(drop));
    }
    let stored = records.scan(&realm(), &NOTES, page(None, 9)).await.unwrap();
    assert!(stored.is_empty(), "a batch that was refused left something behind");
}

pub(crate) async fn bodies_of_any_size_and_content_are_kept(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let large = (0..1_048_576_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>();
    let bodies = [vec![], vec![0], vec![0xff; 3], (0..=255).collect(), large];
    for (n, bytes) in bodies.into_iter().enumerate() {
        let (key, body) = (format!("body-{n}"), Body::Plain(bytes));
        let change = Change::Put {
            kind: &NOTES,
            key: key.clone(),
            expect: Expect::Absent,
            body: body.clone(),
            indexes: vec![("owner", key.clone())],
        };
        records.commit(batch(change)).await.unwrap();
        let record = Record { key: key.clone(), version: 1, body };
        assert_eq!(records.load(&realm(), &NOTES, &key).await.unwrap(), Some(record.clone()));
        let found = records.find(&realm(), &NOTES, "owner", &key, page(None, 2)).await.unwrap();
        assert_eq!(found, [record]);
    }
}

pub(crate) async fn what_was_not_declared_is_refused(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let misused = |error: &StoreError| matches!(error, StoreError::Misused { .. });
    let refused =
        |refused: &CommitRefused| matches!(refused, CommitRefused::Store(error) if misused(error));
    let undeclared = put(&UNDECLARED, "a", Expect::Any, "", &[]);
    assert!(refused(&records.commit(batch(undeclared)).await.unwrap_err()));
    let undeclared = put(&NOTES_TWO, "a", Expect::Any, "", &[("colour", "red")]);
    assert!(refused(&records.commit(batch(undeclared)).await.unwrap_err()));
    let twice = put(&NOTES, "a", Expect::Any, "", &[("colour", "red"), ("colour", "blue")]);
    assert!(refused(&records.commit(batch(twice)).await.unwrap_err()));
    let no_day = put(&DAILY, "no-day", Expect::Any, "", &[]);
    assert!(refused(&records.commit(batch(no_day)).await.unwrap_err()));

    assert!(misused(&records.load(&realm(), &UNDECLARED, "a").await.unwrap_err()));
    assert!(misused(&records.scan(&realm(), &UNDECLARED, page(None, 1)).await.unwrap_err()));
    let found = records.find(&realm(), &NOTES_TWO, "colour", "red", page(None, 1)).await;
    assert!(misused(&found.unwrap_err()));
    assert_eq!(records.load(&realm(), &DAILY, "no-day").await.unwrap(), None);
}

pub(crate) async fn secret_kinds_are_written_only_sealed(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let plain = records.commit(batch(put(&SECRETS, "plain", Expect::Any, "secret", &[]))).await;
    let sealed = Change::Put {
        kind: &SECRETS,
        key: "sealed".to_owned(),
        expect: Expect::Any,
        body: Body::Sealed(b"bytes".to_vec()),
        indexes: vec![],
    };
    let sealed = records.commit(batch(sealed)).await;
    let misused = |answer: Result<(), CommitRefused>| {
        matches!(answer, Err(CommitRefused::Store(StoreError::Misused { .. })))
    };
    if bed.seals {
        // Whoever seals does so once: what comes sealed already was meant for somebody else.
        assert!(plain.is_ok() && misused(sealed));
    } else {
        assert!(misused(plain) && sealed.is_ok());
        let record = records.load(&realm(), &SECRETS, "sealed").await.unwrap().unwrap();
        assert_eq!(record.body, Body::Sealed(b"bytes".to_vec()));
    }
}
