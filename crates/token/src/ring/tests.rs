use std::time::Duration;

use super::*;

const RULES: RotationRules = RotationRules {
    published_for: Duration::from_secs(300),
    verifies_for: Duration::from_secs(960),
    signs_for: None,
};

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_767_225_600 + secs)
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap()
}

fn ring() -> Ring {
    Ring::new(&key(), &key(), at(0)).unwrap()
}

fn states(ring: &Ring) -> Vec<&'static str> {
    ring.keys().iter().map(|key| key.state.name()).collect()
}

#[test]
fn a_key_signs_only_after_it_was_published_and_verifies_until_its_tokens_have_died() {
    let ring = ring();
    let (first, second) = (ring.keys()[0].kid.clone(), ring.keys()[1].kid.clone());
    let early = ring.clone().rotate(&key(), at(299), RULES, false).unwrap_err();
    assert_eq!(early, RingRefused::TooSoon { algorithm: "ES256".to_owned(), until: at(300) });

    let ring = ring.rotate(&key(), at(300), RULES, false).unwrap();
    assert_eq!(states(&ring), ["previous", "current", "next"]);
    assert_eq!(ring.signer(None).unwrap().unwrap().kid(), &second);

    assert!(ring.clone().tidy(at(300 + 959)).is_none());
    let refused = ring.clone().retire(&first, at(300 + 959)).unwrap_err();
    assert!(refused.to_string().contains(&at(300 + 960).to_string()), "{refused}");
    assert_eq!(states(&ring.clone().retire(&first, at(300 + 960)).unwrap())[0], "retired");
    assert_eq!(states(&ring.tidy(at(300 + 960)).unwrap())[0], "retired");
}

#[test]
fn a_renewed_ring_has_nothing_of_before_that_signs_or_verifies() {
    let ring = ring().rotate(&key(), at(300), RULES, false).unwrap();
    let (current, next) = (key(), key());
    let ring = ring.renewed(&current, &next, at(301)).unwrap();
    assert_eq!(states(&ring), ["retired", "retired", "retired", "current", "next"]);
    assert_eq!(ring.signer(None).unwrap().unwrap().kid(), current.kid());
    assert!(ring.keys()[..3].iter().all(|key| key.private.as_ref().is_none_or(Vec::is_empty)));
}

#[test]
fn what_still_has_something_to_do_is_not_retired() {
    let ring = ring();
    for index in [0, 1] {
        let kid = ring.keys()[index].kid.clone();
        assert!(matches!(ring.clone().retire(&kid, at(1_000_000)), Err(RingRefused::InUse { .. })));
    }
    let stranger = key().kid().clone();
    assert_eq!(ring.retire(&stranger, at(0)).unwrap_err(), RingRefused::Unknown(stranger));
}

#[test]
fn an_imported_key_signs_at_once_and_what_was_signed_before_still_verifies() {
    let foreign = key();
    let ring = ring().import(&foreign, at(1), RULES).unwrap();
    assert_eq!(states(&ring), ["previous", "next", "current"]);
    assert_eq!(ring.signer(None).unwrap().unwrap().kid(), foreign.kid());
    let again = ring.import(&foreign, at(2), RULES).unwrap_err();
    assert_eq!(again, RingRefused::Exists(foreign.kid().clone()));
}

#[test]
fn refuses_a_key_of_another_algorithm() {
    let rsa = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let refused = ring().import(&rsa, at(1), RULES).unwrap_err();
    assert_eq!(refused, RingRefused::Key(KeyRefused::WrongAlgorithm(Algorithm::EdDsa)));
}

#[test]
fn a_leaked_key_goes_at_once_whatever_its_state() {
    for (index, expected) in
        [(0, ["retired", "current", "next"]), (1, ["current", "retired", "next"])]
    {
        let ring = ring();
        let kid = ring.keys()[index].kid.clone();
        let ring = ring.expel(&kid, Some(&key()), at(1), RULES).unwrap();
        assert_eq!(states(&ring), expected);
        assert!(ring.signer(None).unwrap().is_some());
    }
}

#[test]
fn a_private_key_is_kept_only_while_it_signs_or_is_about_to() {
    let ring = ring().rotate(&key(), at(300), RULES, false).unwrap();
    let private: Vec<_> = ring.keys().iter().map(|key| key.private.is_some()).collect();
    assert_eq!(private, [false, true, true]);
    assert!(!format!("{ring:?}").contains("private"));
}

#[test]
fn always_has_exactly_one_key_that_signs_and_one_that_is_next() {
    let mut ring = ring();
    for step in 0..6_u64 {
        let now = at(1000 * (step + 1));
        ring = match step % 3 {
            0 => ring.rotate(&key(), now, RULES, false).unwrap(),
            1 => ring.import(&key(), now, RULES).unwrap(),
            _ => {
                let kid = ring.signer(None).unwrap().unwrap().kid().clone();
                ring.expel(&kid, Some(&key()), now, RULES).unwrap()
            }
        };
        let count = |name| states(&ring).into_iter().filter(|state| *state == name).count();
        assert_eq!((count("current"), count("next")), (1, 1), "{ring:?}");
    }
}

#[test]
fn remembers_only_so_many_retired_keys_and_the_newest_of_them() {
    let mut ring = ring();
    for step in 1..40_u64 {
        ring = ring.rotate(&key(), at(1000 * step), RULES, false).unwrap();
        ring = ring.clone().tidy(at(1000 * step + 960)).unwrap_or(ring);
    }
    let retired: Vec<_> = ring
        .keys()
        .iter()
        .filter(|key| key.state.name() == "retired")
        .map(|key| key.state)
        .collect();
    assert_eq!(retired.len(), RETIRED_KEPT);
    assert_eq!(retired.last().unwrap().at(), at(39_960));
}

/// What an earlier version wrote says nothing of why a key was retired: it is not remembered.
#[test]
fn reads_rings_of_before_and_remembers_no_retired_key_of_theirs() {
    let ring = ring().rotate(&key(), at(300), RULES, false).unwrap();
    let mut written = serde_json::to_value(ring.tidy(at(300 + 960)).unwrap()).unwrap();
    for key in written["keys"].as_array_mut().unwrap() {
        key.as_object_mut().unwrap().remove("outlived").unwrap();
    }
    let read: Ring = serde_json::from_value(written).unwrap();
    assert_eq!(states(&read), ["retired", "current", "next"]);
    let remembered: Vec<_> = read.keys().iter().map(RingKey::is_remembered).collect();
    assert_eq!(remembered, [false, true, true]);
}
