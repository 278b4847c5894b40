//! What a batch is: all of it or nothing, in order, with expectations.

use super::*;
use crate::contract::bed::id;

pub(crate) async fn a_conflict_undoes_the_whole_batch(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let before = batch(put(&NOTES, "b", Expect::Absent, "before", &[("owner", "anna")]));
    records.commit(before.with(note("c", Expect::Absent, "before"))).await.unwrap();

    let doomed = batch(note("a", Expect::Absent, "new"))
        .with(put(&NOTES, "b", Expect::Version(1), "changed", &[("owner", "ben")]))
        .with(note("c", Expect::Version(7), "changed"))
        .append(append(Log::Journal, id(1), "event"))
        .append(append(Log::Revocations, id(2), "entry"));
    assert!(is_conflict(&records.commit(doomed).await.unwrap_err()));

    assert_eq!(noted(records, "a").await, None);
    assert_eq!(noted(records, "b").await, Some((1, "before".to_owned())));
    assert_eq!(noted(records, "c").await, Some((1, "before".to_owned())));
    for (owner, expected) in [("anna", 1), ("ben", 0)] {
        let found = records.find(&realm(), &NOTES, "owner", owner, page(None, 9)).await.unwrap();
        assert_eq!(found.len(), expected, "the index finds what was undone");
    }
    for log in Log::ALL {
        assert!(entries(bed, log).await.is_empty(), "the {} kept an entry", log.name());
    }

    // What was undone leaves no trace that a later batch would stumble over.
    let again = batch(note("a", Expect::Absent, "new"))
        .append(append(Log::Journal, id(1), "event"))
        .with(Change::Remove { kind: &NOTES, key: "b".to_owned(), expect: Expect::Version(1) });
    records.commit(again).await.unwrap();
    assert_eq!(entries(bed, Log::Journal).await[0].position, 1);
}

pub(crate) async fn a_batch_is_applied_in_order(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let batch = batch(note("twice", Expect::Absent, "first"))
        .with(note("twice", Expect::Version(1), "second"))
        .with(note("gone", Expect::Absent, "here"))
        .with(Change::Remove { kind: &NOTES, key: "gone".to_owned(), expect: Expect::Version(1) })
        .append(append(Log::Journal, id(9), "first"))
        .append(append(Log::Journal, id(3), "second"));
    records.commit(batch).await.unwrap();
    assert_eq!(noted(records, "twice").await, Some((2, "second".to_owned())));
    assert_eq!(noted(records, "gone").await, None);
    let order = entries(bed, Log::Journal).await;
    assert_eq!(order.iter().map(|entry| entry.id).collect::<Vec<_>>(), [id(9), id(3)]);
}

pub(crate) async fn expectations_decide(bed: &Bed<dyn Records>) {
    type Make = fn(&str, Expect) -> Change;
    let makes: [(&str, Make); 3] = [
        ("put", |key, expect| note(key, expect, "")),
        ("remove", |key, expect| Change::Remove { kind: &NOTES, key: key.to_owned(), expect }),
        ("require", |key, expect| Change::Require { kind: &NOTES, key: key.to_owned(), expect }),
    ];
    for (what, make) in makes {
        for (there, expect, met) in [
            (false, Expect::Absent, true),
            (false, Expect::Any, true),
            (false, Expect::Version(0), false),
            (false, Expect::Version(1), false),
            (true, Expect::Absent, false),
            (true, Expect::Any, true),
            (true, Expect::Version(0), false),
            (true, Expect::Version(1), false),
            (true, Expect::Version(2), true),
            (true, Expect::Version(3), false),
            (true, Expect::Version(u64::MAX), false),
        ] {
            let key = format!("{what}-{there}-{expect:?}");
            if there {
                for _ in 0..2 {
                    bed.first().commit(batch(note(&key, Expect::Any, ""))).await.unwrap();
                }
            }
            let committed = bed.first().commit(batch(make(&key, expect))).await;
            assert_eq!(committed.is_ok(), met, "{key}: {committed:?}");
            assert!(committed.is_ok() || is_conflict(&committed.unwrap_err()), "{key}");
        }
    }
}

pub(crate) async fn a_required_record_is_left_alone(bed: &Bed<dyn Records>) {
    let records = bed.first();
    records.commit(batch(note("kept", Expect::Absent, "as it is"))).await.unwrap();
    let key = "kept".to_owned();
    let require = Change::Require { kind: &NOTES, key, expect: Expect::Version(1) };
    records.commit(batch(require)).await.unwrap();
    assert_eq!(noted(records, "kept").await, Some((1, "as it is".to_owned())));
}

pub(crate) async fn a_refused_batch_names_the_record(bed: &Bed<dyn Records>) {
    let change = put(&NOTES_TWO, "missing", Expect::Version(1), "", &[]);
    let refused = bed.first().commit(batch(note("fine", Expect::Any, "")).with(change)).await;
    let named = CommitRefused::Conflict { kind: "note_two", key: "missing".to_owned() };
    assert_eq!(refused, Err(named));
}

pub(crate) async fn an_empty_batch_is_committed(bed: &Bed<dyn Records>) {
    bed.first().commit(Batch::new(realm())).await.unwrap();
}

pub(crate) async fn a_commit_is_seen_by_every_node_at_once(bed: &Bed<dyn Records>) {
    for n in 0..100_usize {
        let (writer, reader) = (bed.node(n), bed.node(n + 1));
        let change = put(&NOTES, "seen", Expect::Any, &n.to_string(), &[("owner", "anna")]);
        writer.commit(batch(change)).await.unwrap();
        let seen = Some((n as u64 + 1, n.to_string()));
        assert_eq!(noted(reader.as_ref(), "seen").await, seen);
        let found = reader.find(&realm(), &NOTES, "owner", "anna", page(None, 1)).await.unwrap();
        assert_eq!(found.first().map(read), seen);
    }
}
