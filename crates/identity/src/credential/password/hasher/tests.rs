use argon2::{AssociatedData, ParamsBuilder};
use tegata_core::SeededEntropy;

use super::*;
use crate::testing::{cheap, typed};

fn hasher() -> PasswordHasher {
    PasswordHasher::new(cheap(), &SeededEntropy::new(1)).unwrap()
}

fn verify(phc: &str, password: &str) -> Result<Verdict, Unusable> {
    hasher().verify(&typed(password), &Phc::parse(phc, &Caps::default())?)
}

/// RFC 9106 §5.3, the test vector for Argon2id, on the implementation that is used here.
#[test]
fn the_implementation_gives_the_vector_of_the_rfc() {
    let params = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(AssociatedData::new(&[4; 12]).unwrap())
        .output_len(32)
        .build()
        .unwrap();
    let argon2 =
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
    let mut tag = [0; 32];
    argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag).unwrap();
    let expected = [
        0x0d, 0x64, 0x0d, 0xf5, 0x8d, 0x78, 0x76, 0x6c, 0x08, 0xc0, 0x37, 0xa3, 0x4a, 0x8b, 0x53,
        0xc9, 0xd0, 0x1e, 0xf0, 0x45, 0x2d, 0x75, 0xb6, 0x5e, 0xb5, 0x25, 0x20, 0xe9, 0x6b, 0x01,
        0xe6, 0x59,
    ];
    assert_eq!(tag, expected);
}

/// Hashes of the reference implementation (`test.c` of phc-winner-argon2).
#[test]
fn checks_hashes_of_other_systems_and_asks_to_hash_them_anew() {
    for phc in [
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
        "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
    ] {
        assert_eq!(verify(phc, "password"), Ok(Verdict::Matches { rehash: true }), "{phc}");
        assert_eq!(verify(phc, "Password"), Ok(Verdict::Differs), "{phc}");
    }
}

#[test]
fn a_hash_of_its_own_needs_no_other() {
    let (hasher, entropy) = (hasher(), SeededEntropy::new(2));
    let one = hasher.hash(&typed("correct horse"), &entropy).unwrap();
    let two = hasher.hash(&typed("correct horse"), &entropy).unwrap();
    assert_ne!(one, two);
    assert!(one.as_str().starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
    for phc in [&one, &two] {
        let fresh = Ok(Verdict::Matches { rehash: false });
        assert_eq!(hasher.verify(&typed("correct horse"), phc), fresh);
        assert_eq!(hasher.verify(&typed("correct horse "), phc), Ok(Verdict::Differs));
        assert_eq!(hasher.verify(&typed(""), phc), Ok(Verdict::Differs));
    }
}

#[test]
fn other_parameters_ask_for_a_rehash() {
    let phc = hasher().hash(&typed("correct horse"), &SeededEntropy::new(2)).unwrap();
    for config in [
        Config { memory_kib: 16, ..cheap() },
        Config { passes: 2, ..cheap() },
        Config { memory_kib: 16, lanes: 2, ..cheap() },
    ] {
        let hasher = PasswordHasher::new(config, &SeededEntropy::new(1)).unwrap();
        let verdict = hasher.verify(&typed("correct horse"), &phc);
        assert_eq!(verdict, Ok(Verdict::Matches { rehash: true }));
    }
}

#[test]
fn spellings_of_one_accent_are_one_password() {
    let phc = hasher().hash(&typed("caf\u{e9}"), &SeededEntropy::new(2)).unwrap();
    assert_eq!(
        hasher().verify(&typed("cafe\u{301}"), &phc),
        Ok(Verdict::Matches { rehash: false })
    );
}

#[test]
fn the_decoy_costs_the_same_and_is_nobodys() {
    let hasher = hasher();
    let phc = hasher.hash(&typed("correct horse"), &SeededEntropy::new(2)).unwrap();
    let head = |phc: &Phc| phc.as_str().split('$').take(4).collect::<Vec<_>>().join("$");
    assert_eq!(head(hasher.decoy()), head(&phc));
    for text in ["", "password", "correct horse"] {
        assert_eq!(hasher.verify(&typed(text), hasher.decoy()), Ok(Verdict::Differs));
    }
}

/// Whoever can write a hash must not be able to choose what checking it costs, or to make anything
/// but an error of it. None of these is hashed.
#[test]
fn refuses_hostile_hashes_without_hashing() {
    const SALT: &str = "c29tZXNhbHQ";
    const HASH: &str = "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let with = |params: &str| format!("$argon2id$v=19${params}${SALT}${HASH}");
    let costly = |text: &str| matches!(text, "costly");
    let corpus: Vec<(String, &str)> = vec![
        (with("m=4294967295,t=1,p=1"), "costly"),
        (with("m=1048576,t=1,p=1"), "costly"),
        (with("m=131073,t=1,p=1"), "costly"),
        (with("m=256,t=4294967295,p=1"), "costly"),
        (with("m=131072,t=5,p=1"), "costly"),
        (with("m=8,t=65537,p=1"), "costly"),
        (with("m=256,t=2,p=16777216"), "bad"),
        (with("m=256,t=2,p=64"), "bad"),
        (with("m=256,t=0,p=1"), "bad"),
        (with("m=0,t=2,p=1"), "bad"),
        (with("m=7,t=2,p=1"), "bad"),
        (with("m=256,t=2,p=0"), "bad"),
        (with("m=-1,t=2,p=1"), "bad"),
        (with("m=4294967296,t=2,p=1"), "bad"),
        (with("m=256,t=2"), "bad"),
        (with("t=2,p=1"), "bad"),
        (with("m=256,t=2,p=1,data=AAAA"), "bad"),
        (with("m=256,t=2,p=1,keyid=AAAA"), "bad"),
        (with("m=256,t=2,p=1,x=1"), "bad"),
        (with("m=256,m=256,t=2,p=1"), "bad"),
        (with(""), "bad"),
        (format!("$argon2id$v=18$m=256,t=2,p=1${SALT}${HASH}"), "bad"),
        (format!("$argon2id$v=x$m=256,t=2,p=1${SALT}${HASH}"), "bad"),
        (format!("$argon2x$v=19$m=256,t=2,p=1${SALT}${HASH}"), "bad"),
        (format!("$2b$10${SALT}${HASH}"), "bad"),
        (format!("$pbkdf2-sha256$i=999${SALT}${HASH}"), "bad"),
        (format!("argon2id$v=19$m=256,t=2,p=1${SALT}${HASH}"), "bad"),
        (format!("$argon2id$v=19$m=256,t=2,p=1${SALT}"), "bad"),
        (format!("$argon2id$v=19$m=256,t=2,p=1${SALT}$"), "bad"),
        (format!("$argon2id$v=19$m=256,t=2,p=1$$${HASH}"), "bad"),
        (format!("$argon2id$v=19$m=256,t=2,p=1${SALT}$AAAA"), "bad"),
        (format!("$argon2id$v=19$m=256,t=2,p=1${SALT}$nf65EOgLrQMR/uIPnA"), "bad"),
        (format!("$argon2id$v=19$m=256,t=2,p=1$c29t${HASH}"), "bad"),
        (format!("$argon2id$v=19$m=256,t=2,p=1${SALT}${HASH}="), "bad"),
        (format!("$argon2id$v=19$m=256,t=2,p=1${SALT}${HASH}$"), "bad"),
        (format!("$argon2id$v=19$m=256,t=2,p=1${SALT}${}", "A".repeat(600)), "bad"),
        (format!("$argon2id$v=19$m=256,t=2,p=1${}${HASH}", "A".repeat(200)), "bad"),
        (String::new(), "bad"),
        ("$".to_owned(), "bad"),
        ("$$$$$".to_owned(), "bad"),
        ("$argon2id".to_owned(), "bad"),
        ("*".to_owned(), "bad"),
        ("hunter2".to_owned(), "bad"),
        ("\0".to_owned(), "bad"),
    ];
    for (phc, expected) in corpus {
        let refused = Phc::parse(&phc, &Caps::default()).unwrap_err();
        let too_costly = matches!(refused, Unusable::TooCostly { .. });
        assert_eq!(too_costly, costly(expected), "{phc}: {refused}");
        let hasher = hasher();
        assert!(hasher.verify(&typed("password"), &Phc::trusted(phc)).is_err());
        assert_eq!(hasher.performed(), 0);
    }
}

#[test]
fn refuses_a_configuration_that_could_check_nothing() {
    let entropy = SeededEntropy::new(1);
    for config in [
        Config { memory_kib: 7, ..cheap() },
        Config { passes: 0, ..cheap() },
        Config { lanes: 0, ..cheap() },
        Config { lanes: 2, ..cheap() },
        Config { memory_kib: 1 << 20, ..Config::default() },
    ] {
        assert!(PasswordHasher::new(config, &entropy).is_err(), "{config:?}");
    }
    assert!(PasswordHasher::new(Config::default(), &entropy).is_ok());
}

#[test]
fn shows_neither_password_nor_hash() {
    let phc = hasher().hash(&typed("hunter2"), &SeededEntropy::new(2)).unwrap();
    let shown = format!("{phc:?} {:?}", typed("hunter2"));
    let secret = phc.as_str().rsplit('$').next().unwrap();
    assert!(!shown.contains("hunter2") && !shown.contains(secret), "{shown}");
}

/// Whole passes of the larger memory would be more than is missing, and by how much would tell whose hash
/// it was that was looked at.
#[test]
fn what_is_missing_is_done_and_hardly_more() {
    let of = |way, memory_kib, work| Effort { way, memory_kib, work };
    for (effort, within) in [
        // A hundredth of what is missing to a hash of Django beside one of ours.
        (of(Way::Argon2id, 1024, 1659), 8),
        (of(Way::Argon2id, 655, 1576), 12),
        (of(Way::Argon2i, 1024, 100), 4),
        (of(Way::Argon2d, 64, 65), 8),
        (of(Way::Argon2id, 8, 1), 8),
        (of(Way::Argon2id, 0, 64), 32),
        (of(Way::Scrypt, 1024, 1536), 1),
        (of(Way::Scrypt, 1536, 1536), 1),
        (of(Way::Scrypt, 1024, 1025), 1),
        (of(Way::Scrypt, 4, 5000), 1),
        (of(Way::Scrypt, 0, 7), 1),
        (of(Way::Bcrypt, 0, 16 + 64), 0),
        (of(Way::Pbkdf2Sha256, 0, 1234), 0),
    ] {
        let hasher = hasher();
        hasher.spend(effort).unwrap();
        let done: u64 = hasher.worked().iter().map(|(_, work)| work).sum();
        assert!(done.abs_diff(effort.work) <= within, "{effort:?}: {done}");
    }
}
