//! What happens to keys in a token that sign. Each of these runs in a process of its own.

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use tegata_core::port::{KeyInVault, PublicHalf, Scheme, Vault, VaultRefused};

use crate::*;

const ALL: [Scheme; 4] = [Scheme::RsaPkcs1, Scheme::RsaPss, Scheme::P256, Scheme::Ed25519];

/// A token with a root key, and the keys in it that sign.
async fn opened(sessions: usize) -> (Pkcs11Custody, Arc<Pkcs11Vault>) {
    opened_with(sessions, Duration::from_secs(30)).await
}

async fn opened_with(sessions: usize, timeout: Duration) -> (Pkcs11Custody, Arc<Pkcs11Vault>) {
    let config = Pkcs11Config { timeout, ..made("token").await };
    let custody = open(&config).await.unwrap();
    let vault = Pkcs11Vault::open(&config, sessions, &custody, &Node::start()).unwrap();
    (custody, Arc::new(vault))
}

fn verifies(key: &KeyInVault, scheme: Scheme, message: &[u8], given: &[u8]) -> bool {
    match (&key.public, scheme) {
        (PublicHalf::Rsa { modulus, exponent }, scheme) => {
            let with = if scheme == Scheme::RsaPss {
                &signature::RSA_PSS_2048_8192_SHA256
            } else {
                &signature::RSA_PKCS1_2048_8192_SHA256
            };
            let key = RsaPublicKeyComponents { n: modulus, e: exponent };
            key.verify(with, message, given).is_ok()
        }
        (PublicHalf::P256 { x, y }, Scheme::P256) => {
            let point = [&[4][..], x, y].concat();
            let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
            key.verify(message, given).is_ok()
        }
        (PublicHalf::Ed25519(key), Scheme::Ed25519) => {
            UnparsedPublicKey::new(&signature::ED25519, key).verify(message, given).is_ok()
        }
        (public, scheme) => panic!("{scheme:?} made {public:?}"),
    }
}

fn objects(class: ObjectClass) -> usize {
    let library = library();
    let session = logged_in(&library, "token");
    session.find_objects(&[Attribute::Class(class), Attribute::Token(true)]).unwrap().len()
}

pub(crate) async fn signs_with_each_scheme_and_never_shows_a_key() {
    let (_custody, vault) = opened(2).await;
    for scheme in ALL {
        let key = vault.make(scheme).await.unwrap();
        for message in [&b""[..], b"message", &[7; 8192]] {
            let signed = vault.sign(&key.handle, scheme, message).await.unwrap();
            assert!(verifies(&key, scheme, message, &signed), "{scheme:?}");
            assert!(!verifies(&key, scheme, b"another", &signed), "{scheme:?}");
        }
        let waited = tokio::task::spawn_blocking({
            let (vault, handle) = (Arc::clone(&vault), key.handle.clone());
            move || vault.sign_waiting(&handle, scheme, b"message")
        });
        assert!(verifies(&key, scheme, b"message", &waited.await.unwrap().unwrap()));
        let library = library();
        let session = logged_in(&library, "token");
        let private =
            [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(key.handle.clone())];
        let found = session.find_objects(&private).unwrap();
        assert_eq!(found.len(), 1);
        let wanted = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
            Attribute::Local(true),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
        ];
        let kinds: Vec<_> = wanted.iter().map(Attribute::attribute_type).collect();
        let told = session.get_attributes(found[0], &kinds).unwrap();
        for attribute in &wanted {
            assert!(told.contains(attribute), "{scheme:?}: {attribute:?} of {told:?}");
        }
        let secret = [AttributeType::PrivateExponent, AttributeType::Value];
        for info in session.get_attribute_info(found[0], &secret).unwrap() {
            assert!(!matches!(info, AttributeInfo::Available(_)), "{scheme:?} can be read");
        }
    }
    assert!(vault.trouble(b"any").is_none() && vault.signed_within(Duration::from_secs(60)));
}

pub(crate) async fn signatures_are_made_side_by_side() {
    let (custody, vault) = opened(4).await;
    let key = vault.make(Scheme::RsaPkcs1).await.unwrap();
    let custody = Arc::new(custody);
    let signing = (0..64_u8).map(|number| {
        let (vault, key, custody) = (Arc::clone(&vault), key.clone(), Arc::clone(&custody));
        tokio::spawn(async move {
            if number % 8 == 0 {
                works(custody.as_ref()).await.unwrap();
            }
            let signed = vault.sign(&key.handle, Scheme::RsaPkcs1, &[number]).await.unwrap();
            assert!(verifies(&key, Scheme::RsaPkcs1, &[number], &signed), "{number}");
        })
    });
    for signed in signing.collect::<Vec<_>>() {
        signed.await.unwrap();
    }
}

pub(crate) async fn a_pin_that_became_wrong_is_not_tried_by_every_session() {
    let (custody, vault) = opened(8).await;
    let key = vault.make(Scheme::P256).await.unwrap();
    let library = library();
    let other = AuthPin::new("1414213562".into());
    logged_in(&library, "token").set_pin(&AuthPin::new(PIN.into()), &other).unwrap();
    let library = lose_all_sessions(library);
    let slot = slot(&library, "token");
    let refused = vault.sign(&key.handle, Scheme::P256, b"m").await.unwrap_err().to_string();
    assert!(refused.contains("did not take the PIN"), "{refused}");
    let low = || library.get_token_info(slot).unwrap().user_pin_count_low();
    assert!(low());
    // The PIN is what it was, and the token counts anew, but nobody else tries: not another session, and
    // not the root key.
    let session = library.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&other)).unwrap();
    session.set_pin(&other, &AuthPin::new("5772156649".into())).unwrap();
    session.logout().unwrap();
    drop(session);
    assert!(!low());
    let asking = (0..16).map(|_| {
        let (vault, key) = (Arc::clone(&vault), key.clone());
        tokio::spawn(async move { vault.sign(&key.handle, Scheme::P256, b"m").await })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap().unwrap_err().to_string(), refused);
    }
    assert!(works(&custody).await.unwrap_err().to_string().contains("did not take the PIN"));
    assert!(!low(), "a wrong PIN was tried again");
}

pub(crate) async fn a_signing_key_that_was_deleted_is_told_and_others_sign() {
    let (custody, vault) = opened_with(2, Duration::from_secs(5)).await;
    let lost = vault.make(Scheme::P256).await.unwrap();
    let other = vault.make(Scheme::P256).await.unwrap();
    for key in [&lost, &other] {
        vault.sign(&key.handle, Scheme::P256, b"m").await.unwrap();
    }
    {
        let library = library();
        let session = logged_in(&library, "token");
        let id = Attribute::Id(lost.handle.clone());
        for found in session.find_objects(&[id]).unwrap() {
            session.destroy_object(found).unwrap();
        }
    }
    for _ in 0..4 {
        let refused = vault.sign(&lost.handle, Scheme::P256, b"m").await.unwrap_err();
        assert!(matches!(refused, VaultRefused::NoKey { .. }), "{refused}");
        assert!(refused.to_string().contains("tegata key rotate --force"), "{refused}");
        assert!(vault.trouble(&lost.handle).is_some());
        assert!(vault.trouble(&other.handle).is_none(), "nothing is wrong with it");
        let signed = vault.sign(&other.handle, Scheme::P256, b"m").await.unwrap();
        assert!(verifies(&other, Scheme::P256, b"m", &signed));
        assert!(vault.trouble(&lost.handle).is_some(), "another one's signature mends nothing");
    }
    works(&custody).await.unwrap();
}

pub(crate) async fn a_signing_key_that_can_be_taken_out_does_not_sign() {
    let (_custody, vault) = opened(1).await;
    let library = library();
    let session = logged_in(&library, "token");
    let named = |class| {
        [Attribute::Class(class), Attribute::Token(true), Attribute::Id(b"exposed".to_vec())]
    };
    let p256 = vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let mut public = named(ObjectClass::PUBLIC_KEY).to_vec();
    public.push(Attribute::EcParams(p256));
    let mut private = named(ObjectClass::PRIVATE_KEY).to_vec();
    private.extend([
        Attribute::Sign(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(true),
    ]);
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
    let refused = vault.sign(b"exposed", Scheme::P256, b"m").await.unwrap_err().to_string();
    assert!(refused.contains("can be taken out"), "{refused}");
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
    let refused = vault.sign(b"exposed", Scheme::P256, b"m").await.unwrap_err().to_string();
    assert!(refused.contains("two keys"), "{refused}");
}

pub(crate) async fn a_token_that_is_away_signs_nothing_and_signs_again_when_it_is_back() {
    let (_custody, vault) = opened_with(3, Duration::from_secs(1)).await;
    let key = vault.make(Scheme::RsaPss).await.unwrap();
    let sign = async || vault.sign(&key.handle, Scheme::RsaPss, b"m").await;
    sign().await.unwrap();
    let tokens = place().parent().unwrap().join("tokens");
    let there = fs::read_dir(&tokens).unwrap().next().unwrap().unwrap().path();
    let away = tokens.with_file_name("away");
    fs::rename(&there, &away).unwrap();
    let node = Node::start();
    let patience = Duration::from_secs(60);
    let began = node.since_boot();
    // What a session holds already, SoftHSM may sign with until it looks at its files again.
    while sign().await.is_ok() {
        assert!(node.elapsed(began) < patience, "it signs without its token");
    }
    assert!(vault.trouble(&key.handle).is_some());
    let made = vault.make(Scheme::P256).await;
    assert!(matches!(made, Err(VaultRefused::Unavailable { .. })), "{made:?}");
    fs::rename(&away, &there).unwrap();
    let began = node.since_boot();
    let signed = loop {
        match sign().await {
            Ok(signed) => break signed,
            Err(refused) => assert!(node.elapsed(began) < patience, "{refused}"),
        }
    };
    assert!(verifies(&key, Scheme::RsaPss, b"m", &signed));
    assert!(vault.trouble(&key.handle).is_none());
}

pub(crate) async fn a_destroyed_key_is_gone_and_nothing_else() {
    let (custody, vault) = opened(2).await;
    let one = vault.make(Scheme::P256).await.unwrap();
    let other = vault.make(Scheme::P256).await.unwrap();
    vault.sign(&one.handle, Scheme::P256, b"m").await.unwrap();
    for _ in 0..2 {
        vault.destroy(&one.handle).await.unwrap();
    }
    vault.destroy(b"nobody").await.unwrap();
    let refused = vault.sign(&one.handle, Scheme::P256, b"m").await.unwrap_err();
    assert!(matches!(refused, VaultRefused::NoKey { .. }), "{refused}");
    vault.sign(&other.handle, Scheme::P256, b"m").await.unwrap();
    let classes = [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY, ObjectClass::SECRET_KEY];
    assert_eq!(classes.map(objects), [1, 1, 1]);
    works(&custody).await.unwrap();
}
