use std::sync::atomic::Ordering;

use tegata_core::{Epoch, port::Page, repository::scan};

use super::*;
use crate::{
    EmailAddress, NewUser, PasskeyName,
    credential::typed::TypedCode,
    testing::{Bed, PAGE, new_user, soft::Soft},
};

async fn person(bed: &Bed, name: &str, locale: Option<&str>) -> User {
    let email = EmailAddress::new(&format!("{name}@people.example")).unwrap();
    let locale = locale.map(|tag| Locale::new(tag).unwrap());
    let new = NewUser { email: Some(email), locale, ..new_user(name) };
    bed.users.register(&bed.realm, new, "test").await.unwrap()
}

/// What people were told since the last call: to whom, in which language, and what.
async fn told(bed: &Bed) -> Vec<(String, String, FactorChange)> {
    let page = Page { after: None, limit: 100 };
    let letters = scan::<Letter>(bed.records.as_ref(), &bed.realm, page).await.unwrap();
    let mut told = Vec::new();
    for found in letters {
        let letter = &found.value;
        assert!(!letter.content.has_link() && letter.due().is_some());
        let Content::FactorChanged { change, .. } = &letter.content else { panic!("{letter:?}") };
        let to = letter.to.as_str().to_owned();
        told.push((to, letter.lang.as_str().to_owned(), *change));
        let batch = tegata_core::Batch::new(bed.realm.clone()).with(found.remove());
        tegata_core::Records::commit(bed.records.as_ref(), batch).await.unwrap();
    }
    told
}

#[tokio::test]
async fn every_change_is_told_and_no_use_but_of_a_recovery_code() {
    let bed = Bed::new();
    let alice = person(&bed, "alice", None).await;
    let second = bed.second().telling(Epoch::FIRST);
    let (realm, id, sid) = (&bed.realm, &alice.id, bed.session(1));
    let expect = async |change| {
        let expected = ("alice@people.example".to_owned(), "en".to_owned(), change);
        assert_eq!(told(&bed).await, [expected]);
    };
    let begun = second.begin_totp(realm, id, &sid).await.unwrap();
    assert!(told(&bed).await.is_empty(), "nothing has changed yet");
    let code = begun.secret.code_at(bed.node.now());
    let codes = second.confirm_totp(realm, id, &sid, &code).await.unwrap().unwrap();
    expect(FactorChange::AppSetUp).await;

    bed.clock.advance(std::time::Duration::from_secs(60));
    let app = TypedCode::read(&begun.secret.code_at(bed.node.now())).unwrap();
    second.spend(realm, id, &app).await.unwrap();
    assert!(told(&bed).await.is_empty(), "apps are used as often as people sign in");
    let paper = TypedCode::read(codes.shown().next().unwrap()).unwrap();
    second.spend(realm, id, &paper).await.unwrap();
    expect(FactorChange::CodeUsed).await;
    assert!(second.spend(realm, id, &paper).await.is_err());
    assert!(told(&bed).await.is_empty(), "nothing was used");

    second.renew_recovery(realm, id, "alice").await.unwrap();
    expect(FactorChange::CodesRenewed).await;
    let options = second.begin_passkey(realm, &alice, &sid).await.unwrap();
    let (made, name) = (Soft::at(PAGE).create(&options), PasskeyName::new("a key"));
    second.confirm_passkey(realm, id, &sid, &made, name).await.unwrap();
    expect(FactorChange::PasskeyAdded).await;
    let key = second.of(realm, id).await.unwrap().unwrap().passkeys.remove(0).id;
    let again = second.begin_totp(realm, id, &sid).await.unwrap();
    let code = again.secret.code_at(bed.node.now());
    second.confirm_totp(realm, id, &sid, &code).await.unwrap();
    expect(FactorChange::AppReplaced).await;
    second.remove_passkey(realm, id, &key, "alice").await.unwrap();
    expect(FactorChange::PasskeyRemoved).await;
    second.remove_totp(realm, id, "alice").await.unwrap();
    expect(FactorChange::AppRemoved).await;
    bed.app(&alice).await;
    bed.passkey(&alice).await;
    assert!(told(&bed).await.is_empty(), "there is no mail");
    second.remove_all(realm, id, "root").await.unwrap();
    expect(FactorChange::AllRemoved).await;
}

#[tokio::test]
async fn it_is_told_in_the_language_of_the_page_or_of_the_person() {
    let bed = Bed::new();
    let (hana, bob) = (person(&bed, "hana", Some("ja")).await, person(&bed, "bob", None).await);
    let nobody = bed.user("nobody", None).await;
    let second = bed.second().telling(Epoch::FIRST);
    let page = second.in_language(Locale::new("ja-JP").unwrap());
    let renew = async |second: &SecondFactors, user: &User| {
        bed.app(user).await;
        second.renew_recovery(&bed.realm, &user.id, "test").await.unwrap();
        told(&bed).await.into_iter().map(|(_, lang, _)| lang).collect::<Vec<_>>()
    };
    assert_eq!(renew(&second, &hana).await, ["ja"]);
    assert_eq!(renew(&second, &bob).await, ["en"]);
    assert_eq!(renew(&page, &bob).await, ["ja-JP"]);
    assert!(renew(&second, &nobody).await.is_empty(), "mail does not reach them");
}

/// Neither is without the other.
#[tokio::test]
async fn nothing_is_told_that_did_not_happen() {
    let bed = Bed::new();
    let alice = person(&bed, "alice", None).await;
    let second = bed.second().telling(Epoch::FIRST);
    bed.app(&alice).await;
    bed.records.down.store(true, Ordering::SeqCst);
    assert!(second.remove_all(&bed.realm, &alice.id, "root").await.is_err());
    bed.records.down.store(false, Ordering::SeqCst);
    assert!(told(&bed).await.is_empty());
    assert!(second.of(&bed.realm, &alice.id).await.unwrap().is_some());
    let wrong = TypedCode::read("0123-4567-89ab-cdef").unwrap();
    assert!(second.spend(&bed.realm, &alice.id, &wrong).await.is_err());
    assert!(!second.remove_passkey(&bed.realm, &alice.id, "x", "alice").await.unwrap());
    assert!(told(&bed).await.is_empty());
    // Nor is a secret in what is told.
    let codes = second.renew_recovery(&bed.realm, &alice.id, "alice").await.unwrap();
    let page = Page { after: None, limit: 100 };
    let letters = scan::<Letter>(bed.records.as_ref(), &bed.realm, page).await.unwrap();
    let kept = tegata_core::repository::encode(1, &letters[0].value);
    for code in codes.shown() {
        let found = kept.windows(code.len()).any(|it| it == code.as_bytes());
        assert!(!found, "a recovery code is in a letter");
    }
}
