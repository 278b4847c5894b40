//! What happens to a root key in a token. Each of these runs in a process of its own.

use crate::*;
use crate::{
    bed::Bed,
    custody::{
        opens_what_it_wrapped, refuses_altered_bytes, refuses_another_purpose,
        refuses_what_another_root_key_wrapped, shows_nothing_of_what_it_wraps,
    },
};

pub(crate) async fn keeps_the_contract() {
    // SoftHSM looks for tokens when it is started.
    make_token(&place(), "one");
    make_token(&place(), "other");
    let bed = async |token: &str| {
        let config = config(token);
        Pkcs11Custody::create(config.clone(), &Node::start()).await.unwrap();
        let handle = async || Arc::new(open(&config).await.unwrap()) as Arc<dyn Custody>;
        Bed::new(Arc::default(), vec![handle().await, handle().await])
    };
    let (one, other) = (bed("one").await, bed("other").await);
    opens_what_it_wrapped(&one).await;
    shows_nothing_of_what_it_wraps(&one).await;
    refuses_another_purpose(&one).await;
    refuses_altered_bytes(&one).await;
    refuses_what_another_root_key_wrapped(&one, &other).await;
    // All that was refused has not cost it anything.
    opens_what_it_wrapped(&one).await;
}

pub(crate) async fn a_key_is_made_on_demand_alone_and_never_twice() {
    make_token(&place(), "token");
    let config = config("token");
    let missing = open(&config).await.unwrap_err();
    assert!(matches!(&missing, Pkcs11Refused::NoKey { key, .. } if key == "root"), "{missing}");
    assert!(missing.to_string().contains("tegata key make-root"), "{missing}");
    // Looking for it did not make it.
    assert!(matches!(open(&config).await, Err(Pkcs11Refused::NoKey { .. })));
    let make = async || Pkcs11Custody::create(config.clone(), &Node::start()).await;
    make().await.unwrap();
    let custody = open(&config).await.unwrap();
    let wrapped = custody.wrap(&data_key(), b"purpose").await.unwrap();
    assert!(matches!(make().await, Err(Pkcs11Refused::Exists { .. })));
    let again = open(&config).await.unwrap();
    assert!(again.unwrap(&wrapped, b"purpose").await.unwrap().matches(&[7; 32]));
    assert!(!format!("{again:?} {config:?}").contains(PIN));
}

pub(crate) async fn a_key_is_made_that_does_nothing_else_and_is_never_shown() {
    made("token").await;
    let library = library();
    let session = logged_in(&library, "token");
    let found = session.find_objects(&[Attribute::Label(b"root".to_vec())]).unwrap();
    assert_eq!(found.len(), 1);
    let wanted = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::AlwaysSensitive(true),
        Attribute::Extractable(false),
        Attribute::NeverExtractable(true),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::ValueLen(32.into()),
    ];
    let types: Vec<_> = wanted.iter().map(Attribute::attribute_type).collect();
    assert_eq!(session.get_attributes(found[0], &types).unwrap(), wanted);
    let value = session.get_attribute_info(found[0], &[AttributeType::Value]).unwrap();
    assert!(matches!(value[0], AttributeInfo::Sensitive), "the token shows the key");
}

pub(crate) async fn a_missing_library_or_token_is_named() {
    let config = config("token");
    let missing = Pkcs11Config { module: "/nowhere/library.so".into(), ..config.clone() };
    let refused = open(&missing).await.unwrap_err().to_string();
    assert!(refused.contains("`/nowhere/library.so`"), "{refused}");
    let refused = open(&config).await.unwrap_err().to_string();
    assert_eq!(refused, "no token is called `token`; there are none in any slot");
}

pub(crate) async fn a_missing_token_is_told_from_those_that_are_there() {
    make_token(&place(), "another");
    make_token(&place(), "a third");
    let refused = open(&config("token")).await.unwrap_err();
    let Pkcs11Refused::NoToken { token, mut present } = refused else { panic!("{refused}") };
    present.sort();
    assert_eq!((token.as_str(), present), ("token", vec!["a third".into(), "another".into()]));
}

pub(crate) async fn a_wrong_pin_is_tried_once() {
    let right = made("token").await;
    let library = library();
    let is_low = || library.get_token_info(slot(&library, "token")).unwrap().user_pin_count_low();
    assert!(!is_low());
    for wrong in ["1618033988", "", "1"] {
        let wrong = Pkcs11Config { pin: Secret::new(wrong.to_owned()), ..right.clone() };
        let refused = open(&wrong).await.unwrap_err();
        assert!(matches!(refused, Pkcs11Refused::Pin { .. }), "{refused}");
        assert!(!refused.to_string().contains("1618033988"), "{refused}");
    }
    assert!(is_low(), "the token has seen no wrong PIN");
    works(&open(&right).await.unwrap()).await.unwrap();
    assert!(!is_low());
}

pub(crate) async fn a_pin_that_became_wrong_is_tried_once() {
    let config = made("token").await;
    let custody = open(&config).await.unwrap();
    let library = library();
    logged_in(&library, "token").set_pin(&AuthPin::new(PIN.into()), &other_pin()).unwrap();
    works(&custody).await.expect("what is logged in stays so");
    let library = lose_all_sessions(library);
    let slot = slot(&library, "token");
    let refused = works(&custody).await.unwrap_err().to_string();
    assert!(refused.contains("did not take the PIN"), "{refused}");
    let low = || library.get_token_info(slot).unwrap().user_pin_count_low();
    assert!(low());
    // The PIN is right again, and the token counts anew. Whoever tried once more would notice.
    let session = library.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&other_pin())).unwrap();
    session.set_pin(&other_pin(), &AuthPin::new(PIN.into())).unwrap();
    drop(session);
    assert!(!low());
    let still = works(&custody).await.unwrap_err().to_string();
    assert_eq!(still, refused, "it was tried again");
    works(&open(&config).await.unwrap()).await.unwrap();
}

fn other_pin() -> AuthPin {
    AuthPin::new("1414213562".into())
}

pub(crate) async fn a_key_that_is_no_root_key_is_refused() {
    let config = made("token").await;
    let library = library();
    let session = logged_in(&library, "token");
    let generate = |label: &str, mechanism: Mechanism<'_>, different: &[Attribute]| {
        let mut template = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        let usual = [
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen(32.into()),
        ];
        let is_set = |usual: &&Attribute| {
            !different.iter().any(|it| it.attribute_type() == usual.attribute_type())
        };
        template.extend(usual.iter().filter(is_set).cloned());
        template.extend_from_slice(different);
        session.generate_key(&mechanism, &template).unwrap();
    };
    generate("plain", Mechanism::AesKeyGen, &[Attribute::Sensitive(false)]);
    generate("movable", Mechanism::AesKeyGen, &[Attribute::Extractable(true)]);
    generate("short", Mechanism::AesKeyGen, &[Attribute::ValueLen(16.into())]);
    generate("mute", Mechanism::AesKeyGen, &[Attribute::Decrypt(false)]);
    let generic = [Attribute::KeyType(KeyType::GENERIC_SECRET)];
    generate("generic", Mechanism::GenericSecretKeyGen, &generic);
    for (label, why) in [
        ("plain", "taken out of the token"),
        ("movable", "taken out of the token"),
        ("short", "256 bits"),
        ("mute", "encrypt and decrypt"),
        ("generic", "not an AES key"),
    ] {
        let refused = open(&Pkcs11Config { key: label.to_owned(), ..config.clone() }).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Pkcs11Refused::Unfit { .. }), "{label}: {refused}");
        assert!(refused.to_string().contains(why), "{label}: {refused}");
    }
    works(&open(&config).await.unwrap()).await.unwrap();
}

pub(crate) async fn two_of_one_name_are_refused() {
    make_token(&place(), "twin");
    make_token(&place(), "twin");
    let config = made("token").await;
    let twins = open(&Pkcs11Config { token: "twin".to_owned(), ..config.clone() }).await;
    assert_eq!(twins.unwrap_err(), Pkcs11Refused::TwoTokens("twin".to_owned()));
    let library = library();
    let session = logged_in(&library, "token");
    let root = session.find_objects(&[Attribute::Label(b"root".to_vec())]).unwrap()[0];
    session.copy_object(root, &[Attribute::Token(true)]).unwrap();
    let refused = open(&config).await.unwrap_err();
    assert!(matches!(refused, Pkcs11Refused::TwoKeys { .. }), "{refused}");
}

pub(crate) async fn a_lost_session_is_opened_anew() {
    let config = made("token").await;
    let (custody, beside) = (open(&config).await.unwrap(), open(&config).await.unwrap());
    let mut library = library();
    let wrapped = custody.wrap(&data_key(), b"purpose").await.unwrap();
    let opens = async |custody: &Pkcs11Custody| {
        custody.unwrap(&wrapped, b"purpose").await.unwrap().matches(&[7; 32])
    };
    for _ in 0..3 {
        library = lose_all_sessions(library);
        assert!(opens(&custody).await, "after the sessions were closed");
        works(&beside).await.unwrap();
        logged_in(&library, "token").logout().unwrap();
        assert!(opens(&custody).await, "after everybody was logged out");
        works(&beside).await.unwrap();
    }
    // In a session that was lost, what is not ours is still told from what cannot be opened now.
    let mut altered = wrapped.clone();
    altered[20] ^= 1;
    lose_all_sessions(library);
    assert_eq!(custody.unwrap(&altered, b"purpose").await.err(), Some(CustodyRefused::NotOurs));
}

pub(crate) async fn a_token_that_is_taken_away_and_put_back() {
    let patient = made("token").await;
    let config = Pkcs11Config { timeout: Duration::from_secs(1), ..patient };
    let custody = open(&config).await.unwrap();
    let wrapped = custody.wrap(&data_key(), b"purpose").await.unwrap();
    let tokens = place().parent().unwrap().join("tokens");
    let there = fs::read_dir(&tokens).unwrap().next().unwrap().unwrap().path();
    let away = tokens.with_file_name("away");
    fs::rename(&there, &away).unwrap();
    for _ in 0..3 {
        let refused = custody.unwrap(&wrapped, b"purpose").await.unwrap_err();
        assert!(matches!(refused, CustodyRefused::Unavailable { .. }), "{refused}");
    }
    fs::rename(&away, &there).unwrap();
    // SoftHSM sees it when it is started anew, which is not done at every question.
    let (node, patience) = (Node::start(), Duration::from_secs(60));
    let began = node.since_boot();
    let opened = loop {
        match custody.unwrap(&wrapped, b"purpose").await {
            Ok(opened) => break opened,
            Err(refused) => assert!(node.elapsed(began) < patience, "{refused}"),
        }
    };
    assert!(opened.matches(&[7; 32]));
    works(&custody).await.unwrap();
}

pub(crate) async fn what_a_file_wrapped_is_refused_by_name_and_moved_by_a_rewrap() {
    let token: Arc<dyn Custody> = Arc::new(open(&made("token").await).await.unwrap());
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| -> Arc<dyn Custody> {
        let path = directory.path().join(name);
        Arc::new(FileCustody::create(&path, &Node::start()).unwrap())
    };
    let (file, other) = (file("root.key"), file("other.key"));
    let kinds = [&DATA_KEYS];
    let inner = Arc::new(MemoryRecords::new(&kinds, Arc::new(tegata_core::SystemClock)).unwrap());
    let opened = async |custody: &Arc<dyn Custody>| {
        Sealed::open(inner.clone(), custody.clone(), &Node::start()).await
    };
    let running = opened(&file).await.unwrap();
    assert_eq!((running.rotate().await.unwrap(), running.rotate().await.unwrap()), (2, 3));

    let refused = opened(&token).await.err().unwrap().to_string();
    assert!(refused.contains("in a file") && refused.contains("tegata key rewrap"), "{refused}");
    let moved = async |from: &Arc<dyn Custody>, to: &Arc<dyn Custody>| {
        rewrap(inner.as_ref(), from.as_ref(), to.as_ref()).await
    };
    let refused = moved(&other, &token).await.unwrap_err();
    assert!(matches!(refused, SealRefused::OtherRoot { .. }), "{refused}");
    opened(&file).await.expect("what was refused has changed nothing");

    assert_eq!(moved(&file, &token).await.unwrap(), 3);
    assert_eq!(moved(&file, &token).await.unwrap(), 0, "it was done already");
    let refused = opened(&file).await.err().unwrap().to_string();
    assert!(refused.contains("in a PKCS#11 token"), "{refused}");
    assert_eq!(opened(&token).await.unwrap().rotate().await.unwrap(), 4);
    // One that the first root key never had is moved as well.
    assert_eq!(moved(&token, &other).await.unwrap(), 4);
    assert!(opened(&token).await.is_err());
    opened(&other).await.unwrap();
}

pub(crate) async fn many_at_once_are_all_answered() {
    let config = made("token").await;
    let custody = Arc::new(open(&config).await.unwrap());
    let asking = (0..48).map(|_| {
        let custody = Arc::clone(&custody);
        tokio::spawn(async move { works(custody.as_ref()).await })
    });
    for answered in asking.collect::<Vec<_>>() {
        answered.await.unwrap().unwrap();
    }
}
