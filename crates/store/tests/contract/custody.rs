//! The contract of `Custody`: what was wrapped is opened by the same root key, for the same
//! purpose, unaltered, and by nothing else.

use tegata_core::{Custody, CustodyRefused, Secret};

use super::bed::Bed;

fn data_key(n: u8) -> Secret<[u8; 32]> {
    Secret::new([n; 32])
}

pub(crate) async fn opens_what_it_wrapped(bed: &Bed<dyn Custody>) {
    for context in [&b""[..], b"purpose", &[0; 500]] {
        let wrapped = bed.first().wrap(&data_key(7), context).await.unwrap();
        let opened = bed.node(1).unwrap(&wrapped, context).await.unwrap();
        assert!(opened.matches(&[7; 32]));
    }
}

pub(crate) async fn shows_nothing_of_what_it_wraps(bed: &Bed<dyn Custody>) {
    let one = bed.first().wrap(&data_key(7), b"purpose").await.unwrap();
    let two = bed.first().wrap(&data_key(7), b"purpose").await.unwrap();
    assert_ne!(one, two, "equal keys can be told by their wrapped forms");
    assert!(!one.windows(4).any(|bytes| bytes == [7; 4]));
}

pub(crate) async fn refuses_another_purpose(bed: &Bed<dyn Custody>) {
    let wrapped = bed.first().wrap(&data_key(7), b"purpose").await.unwrap();
    for context in [&b"purposes"[..], b"purpos", b"", b"Purpose", b"purpose\0"] {
        let refused = bed.first().unwrap(&wrapped, context).await.err();
        assert_eq!(refused, Some(CustodyRefused::NotOurs), "{context:?}");
    }
}

pub(crate) async fn refuses_altered_bytes(bed: &Bed<dyn Custody>) {
    let wrapped = bed.first().wrap(&data_key(7), b"purpose").await.unwrap();
    for at in 0..wrapped.len() {
        for bit in [1, 0x80] {
            let mut altered = wrapped.clone();
            altered[at] ^= bit;
            let refused = bed.first().unwrap(&altered, b"purpose").await.err();
            assert_eq!(refused, Some(CustodyRefused::NotOurs), "byte {at} was altered");
        }
        let refused = bed.first().unwrap(&wrapped[..at], b"purpose").await.err();
        assert_eq!(refused, Some(CustodyRefused::NotOurs), "cut to {at} bytes");
    }
    let longer = [wrapped.as_slice(), &[0]].concat();
    assert_eq!(bed.first().unwrap(&longer, b"purpose").await.err(), Some(CustodyRefused::NotOurs));
}

/// Two beds have two root keys.
pub(crate) async fn refuses_what_another_root_key_wrapped(
    bed: &Bed<dyn Custody>,
    other: &Bed<dyn Custody>,
) {
    let wrapped = other.first().wrap(&data_key(7), b"purpose").await.unwrap();
    let refused = bed.first().unwrap(&wrapped, b"purpose").await.err();
    assert_eq!(refused, Some(CustodyRefused::NotOurs));
}

/// One test for each clause of the contract of `Custody`. Each bed has a root key of its own.
macro_rules! custody_contract {
    ($adapter:ident, $bed:expr) => {
        mod $adapter {
            use crate::contract::custody as clauses;

            clauses! { $bed,
                opens_what_it_wrapped
                shows_nothing_of_what_it_wraps
                refuses_another_purpose
                refuses_altered_bytes
            }

            #[tokio::test]
            async fn refuses_what_another_root_key_wrapped() {
                clauses::refuses_what_another_root_key_wrapped(&$bed.await, &$bed.await).await;
            }
        }
    };
}
