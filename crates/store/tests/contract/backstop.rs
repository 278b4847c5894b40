//! The contract of `Backstop`: marks and ends only grow.

use std::time::Duration;

use tegata_core::{Backstop, Clock as _, StoreError, Timestamp, port::Withdrawal};

use super::bed::{Bed, other_realm, realm};

fn withdrawal(key: &str, mark: u64, until: Timestamp) -> Withdrawal {
    Withdrawal { key: key.to_owned(), mark, until }
}

fn later(bed: &Bed<dyn Backstop>, secs: u64) -> Timestamp {
    bed.clock.now() + Duration::from_secs(secs)
}

pub(crate) async fn marks_and_ends_grow_whoever_records_at_once(bed: &Bed<dyn Backstop>) {
    let base = bed.clock.now();
    let results = bed
        .crowd(64, |node, n| {
            // Marks and ends grow in opposite orders, so that no single record holds both maxima.
            let (mark, secs) = (n as u64 * 29 % 64, (63 - n as u64) * 29 % 64);
            let one = withdrawal("raced", mark, base + Duration::from_secs(100 + secs));
            async move { node.record(&realm(), &[one]).await }
        })
        .await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let greatest = withdrawal("raced", 63, later(bed, 163));
    for node in &bed.nodes {
        assert_eq!(node.withdrawn(&realm(), "raced").await.unwrap(), Some(greatest.clone()));
    }
}

pub(crate) async fn marks_and_ends_grow_in_any_order(bed: &Bed<dyn Backstop>) {
    let values = [(5, 50), (9, 10), (1, 90), (5, 50), (0, 1), (u64::MAX, 3), (7, 7)];
    let (mut mark, mut end) = (0, 0);
    for (n, secs) in values {
        (mark, end) = (mark.max(n), end.max(secs));
        let one = withdrawal("grows", n, later(bed, secs));
        bed.first().record(&realm(), &[one]).await.unwrap();
        let stands = bed.node(1).withdrawn(&realm(), "grows").await.unwrap();
        assert_eq!(stands, Some(withdrawal("grows", mark, later(bed, end))));
    }
    // Several in one record, the same key among them more than once.
    let many = [
        withdrawal("many", 3, later(bed, 5)),
        withdrawal("single", 1, later(bed, 5)),
        withdrawal("many", 2, later(bed, 9)),
    ];
    bed.first().record(&realm(), &many).await.unwrap();
    let stands = bed.first().withdrawn(&realm(), "many").await.unwrap();
    assert_eq!(stands, Some(withdrawal("many", 3, later(bed, 9))));
    assert!(bed.first().withdrawn(&realm(), "single").await.unwrap().is_some());
    bed.first().record(&realm(), &[]).await.unwrap();
}

pub(crate) async fn a_withdrawal_ends_and_not_before(bed: &Bed<dyn Backstop>) {
    let records = [withdrawal("short", 1, later(bed, 10)), withdrawal("long", 1, later(bed, 1000))];
    bed.first().record(&realm(), &records).await.unwrap();
    bed.clock.advance(Duration::from_millis(9_999));
    assert!(bed.first().withdrawn(&realm(), "short").await.unwrap().is_some());
    bed.clock.advance(Duration::from_millis(2));
    assert_eq!(bed.first().withdrawn(&realm(), "short").await.unwrap(), None);
    assert!(bed.first().withdrawn(&realm(), "long").await.unwrap().is_some());
}

/// A clock that jumps ahead and comes back must not have cost a withdrawal.
pub(crate) async fn a_jump_of_the_clock_forgets_nothing(bed: &Bed<dyn Backstop>) {
    let now = bed.clock.now();
    let one = withdrawal("jumped", 1, later(bed, 60));
    bed.first().record(&realm(), std::slice::from_ref(&one)).await.unwrap();
    bed.clock.jump(now + Duration::from_secs(300));
    for n in 0..100 {
        let other = withdrawal(&format!("other-{n}"), 1, later(bed, 60));
        bed.first().record(&realm(), &[other]).await.unwrap();
    }
    bed.clock.jump(now);
    assert_eq!(bed.first().withdrawn(&realm(), "jumped").await.unwrap(), Some(one));
}

pub(crate) async fn realms_are_apart(bed: &Bed<dyn Backstop>) {
    let one = withdrawal("same", 4, later(bed, 10));
    bed.first().record(&other_realm(), &[one]).await.unwrap();
    assert_eq!(bed.first().withdrawn(&realm(), "same").await.unwrap(), None);
}

pub(crate) async fn keys_are_bounded(bed: &Bed<dyn Backstop>) {
    for bad in [String::new(), "x".repeat(256), "a\0b".to_owned()] {
        let many = [withdrawal("first", 1, later(bed, 10)), withdrawal(&bad, 1, later(bed, 10))];
        let recorded = bed.first().record(&realm(), &many).await;
        assert!(matches!(recorded, Err(StoreError::Misused { .. })), "{recorded:?}");
        let asked = bed.first().withdrawn(&realm(), &bad).await;
        assert!(matches!(asked, Err(StoreError::Misused { .. })), "{asked:?}");
    }
    assert_eq!(bed.first().withdrawn(&realm(), "first").await.unwrap(), None);
    let longest = "x".repeat(255);
    let one = withdrawal(&longest, 1, later(bed, 10));
    bed.first().record(&realm(), std::slice::from_ref(&one)).await.unwrap();
    assert_eq!(bed.first().withdrawn(&realm(), &longest).await.unwrap(), Some(one));
}

/// One test for each clause of the contract of `Backstop`.
macro_rules! backstop_contract {
    ($adapter:ident, $bed:expr) => {
        mod $adapter {
            use crate::contract::backstop as clauses;

            clauses! { $bed,
                marks_and_ends_grow_whoever_records_at_once
                marks_and_ends_grow_in_any_order
                a_withdrawal_ends_and_not_before
                a_jump_of_the_clock_forgets_nothing
                realms_are_apart
                keys_are_bounded
            }
        }
    };
}
