use std::{sync::atomic::Ordering, time::Duration};

use tegata_core::Secret;

use super::*;
use crate::{
    Demand, FirstFactor, Password, Proof, Role, To,
    testing::{Bed, PAGE, address, secret, soft::Soft},
};

const PASSWORD: &str = "correct horse battery";
const AGENT: &str = "192.0.2.0/24|Firefox";

fn step(token: &str) -> Step<'_> {
    Step { token, browser: AGENT, address: address("192.0.2.1") }
}

fn sign_in(bed: &Bed, demand: Demand) -> SignIn {
    let second = bed.second().demanding(demand);
    SignIn::new(second, bed.throttle(), bed.hasher.clone(), bed.workers.clone())
}

async fn prove(bed: &Bed, sign_in: &SignIn, name: &str) -> Proof {
    let from = address("192.0.2.1");
    sign_in.by_password(&bed.realm, name, secret(PASSWORD), from).await.unwrap()
}

/// Somebody who has shown their password, and must set up a second factor.
struct Bare {
    bed: Bed,
    sign_in: SignIn,
    user: User,
    first: FirstFactor,
    token: Secret<String>,
}

impl Bare {
    async fn new() -> Self {
        let bed = Bed::new();
        let user = bed.user("alice", Some(PASSWORD)).await;
        let sign_in = sign_in(&bed, Demand::Everybody);
        let proof = prove(&bed, &sign_in, "alice").await;
        let Proof::Unenrolled(first) = proof else { panic!("{proof:?}") };
        let began = first.began.secs();
        let asked = sign_in.challenge(&bed.realm, &first, began, AGENT, To::Enrol);
        let token = asked.await.unwrap();
        Self { bed, sign_in, user, first, token }
    }

    async fn offer(&self) -> Result<Offered, Refused> {
        self.sign_in.offer(&self.bed.realm, &step(self.token.expose())).await
    }

    async fn show(&self, code: &str) -> Result<SetUp, Refused> {
        let step = step(self.token.expose());
        let attempt = CodeAttempt { step, authenticator: None, code };
        self.sign_in.enrol_by_code(&self.bed.realm, &attempt, &|_| 0).await
    }

    fn code(&self, offered: &Offered) -> String {
        offered.app.secret.code_at(self.bed.node.now())
    }

    async fn has_some(&self) -> bool {
        self.bed.second().of(&self.bed.realm, &self.user.id).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn it_is_demanded_of_whom_it_says() {
    let bed = Bed::new();
    bed.user("alice", Some(PASSWORD)).await;
    let roles = |name: &str| Demand::Roles([Role::new(name).unwrap()].into());
    for (demand, demanded) in [
        (Demand::Nobody, false),
        (roles("admin"), false),
        (Demand::Roles([].into()), false),
        (roles("customer"), true),
        (Demand::Everybody, true),
    ] {
        let proof = prove(&bed, &sign_in(&bed, demand.clone()), "alice").await;
        assert_eq!(matches!(proof, Proof::Unenrolled(_)), demanded, "{demand:?}");
        assert_eq!(matches!(proof, Proof::Whole(_)), !demanded, "{demand:?}");
    }
}

#[tokio::test]
async fn an_app_that_is_set_up_is_the_second_factor_of_that_sign_in() {
    let bare = Bare::new().await;
    let offered = bare.offer().await.unwrap();
    assert!(offered.passkey.is_some());
    // A page that is shown again shows the same app.
    assert_eq!(bare.code(&bare.offer().await.unwrap()), bare.code(&offered));
    assert!(matches!(bare.show("000000").await, Err(Refused::WrongCode)));
    assert!(!bare.has_some().await);
    let set_up = bare.show(&bare.code(&offered)).await.unwrap();
    let assurance = &set_up.proven.assurance;
    let amr: Vec<_> = assurance.amr.iter().map(|method| method.as_str()).collect();
    assert_eq!((amr, assurance.acr), (vec!["pwd", "otp", "mfa"], Acr::Aal2));
    assert!(matches!(assurance.factors.as_slice(), [app] if app.starts_with("otp:app:")));
    assert_eq!(set_up.proven.counts_from, bare.first.began.secs());
    assert_eq!(set_up.codes.shown().count(), 10);
    // The sign-in is over, and from then on it is asked for.
    bare.bed.clock.advance(Duration::from_secs(60));
    assert!(matches!(bare.show(&bare.code(&offered)).await, Err(Refused::Over)));
    assert!(matches!(prove(&bare.bed, &bare.sign_in, "alice").await, Proof::First(_)));
}

#[tokio::test]
async fn a_passkey_that_is_made_is_the_second_factor_of_that_sign_in() {
    let bare = Bare::new().await;
    let offered = bare.offer().await.unwrap();
    let step = step(bare.token.expose());
    let made = Soft::at(PAGE).create(&offered.passkey.unwrap());
    let keep = async |made: &str| {
        let name = PasskeyName::new("a key");
        bare.sign_in.enrol_by_passkey(&bare.bed.realm, &step, made, name, &|_| 0).await
    };
    assert!(matches!(keep("{}").await, Err(Refused::WrongPasskey)));
    // What was asked for once is not answered after something else was.
    assert!(matches!(keep(&made).await, Err(Refused::Over)));
    let offered = bare.offer().await.unwrap();
    let set_up = keep(&Soft::at(PAGE).create(&offered.passkey.unwrap())).await.unwrap();
    let assurance = &set_up.proven.assurance;
    let amr: Vec<_> = assurance.amr.iter().map(|method| method.as_str()).collect();
    assert_eq!((amr, assurance.acr), (vec!["pwd", "pop", "user", "mfa"], Acr::Aal2));
    assert!(matches!(assurance.factors.as_slice(), [key] if key.starts_with("pop:")));
}

/// Whoever has the password of somebody with a second factor puts none beside it.
#[tokio::test]
async fn whoever_is_asked_for_a_second_factor_sets_none_up() {
    let bed = Bed::new();
    let alice = bed.user("alice", Some(PASSWORD)).await;
    let app = bed.app(&alice).await;
    let sign_in = sign_in(&bed, Demand::Everybody);
    let proof = prove(&bed, &sign_in, "alice").await;
    let Proof::First(first) = proof else { panic!("{proof:?}") };
    let challenge = async |to: To| {
        let began = first.began.secs();
        sign_in.challenge(&bed.realm, &first, began, AGENT, to).await.unwrap()
    };
    for to in [To::Show, To::Enrol] {
        let token = challenge(to).await;
        let step = step(token.expose());
        assert!(matches!(sign_in.offer(&bed.realm, &step).await, Err(Refused::Over)), "{to:?}");
        let code = app.code_at(bed.node.now());
        let attempt = CodeAttempt { step, authenticator: None, code: &code };
        let refused = sign_in.enrol_by_code(&bed.realm, &attempt, &|_| 0).await;
        assert!(matches!(refused, Err(Refused::Over)), "{to:?}");
    }
    // And what waits for one to be set up is not answered by one that is there.
    let token = challenge(To::Enrol).await;
    let code = app.code_at(bed.node.now());
    let attempt = CodeAttempt { step: step(token.expose()), authenticator: None, code: &code };
    assert_eq!(sign_in.by_code(&bed.realm, &attempt).await, Err(Refused::Over));
}

#[tokio::test]
async fn it_ends_with_its_browser_its_time_and_its_attempts() {
    let bare = Bare::new().await;
    let offered = bare.offer().await.unwrap();
    let code = bare.code(&offered);
    let elsewhere = Step { browser: "198.51.100.0/24|Firefox", ..step(bare.token.expose()) };
    assert!(matches!(bare.sign_in.offer(&bare.bed.realm, &elsewhere).await, Err(Refused::Over)));
    let attempt = CodeAttempt { step: elsewhere, authenticator: None, code: &code };
    let refused = bare.sign_in.enrol_by_code(&bare.bed.realm, &attempt, &|_| 0).await;
    assert!(matches!(refused, Err(Refused::Over)));
    for _ in 0..5 {
        assert!(matches!(bare.show("000000").await, Err(Refused::WrongCode)));
    }
    assert!(matches!(bare.show(&code).await, Err(Refused::Over)));

    let late = Bare::new().await;
    let offered = late.offer().await.unwrap();
    late.bed.clock.advance(Duration::from_secs(900));
    assert!(matches!(late.show(&late.code(&offered)).await, Err(Refused::Over)));
    assert!(!late.has_some().await && !bare.has_some().await);
}

/// Whoever had the old password sets nothing up after it was changed.
#[tokio::test]
async fn a_new_password_ends_what_the_old_one_began() {
    let bare = Bare::new().await;
    let offered = bare.offer().await.unwrap();
    let (realm, passwords) = (&bare.bed.realm, &bare.bed.passwords);
    let new = Password::new("another horse battery".to_owned()).unwrap();
    let phc = passwords.prepare(new, &["alice"], false).await.unwrap();
    passwords.set(realm, &bare.user.id, &phc, "alice").await.unwrap();
    assert!(matches!(bare.show(&bare.code(&offered)).await, Err(Refused::Over)));
    assert!(!bare.has_some().await);
}

#[tokio::test]
async fn of_two_who_set_one_up_at_once_one_does() {
    let bare = Bare::new().await;
    let (realm, began) = (&bare.bed.realm, bare.first.began.secs());
    let thief = bare.sign_in.challenge(realm, &bare.first, began, AGENT, To::Enrol).await.unwrap();
    let theirs = bare.sign_in.offer(realm, &step(thief.expose())).await.unwrap();
    let offered = bare.offer().await.unwrap();
    assert!(bare.show(&bare.code(&offered)).await.is_ok());
    let code = bare.code(&theirs);
    let attempt = CodeAttempt { step: step(thief.expose()), authenticator: None, code: &code };
    let refused = bare.sign_in.enrol_by_code(realm, &attempt, &|_| 0).await;
    assert!(matches!(refused, Err(Refused::Over)));
    // The app is that of whoever was first.
    bare.bed.clock.advance(Duration::from_secs(60));
    let typed =
        |offered: &Offered| crate::credential::typed::TypedCode::read(&bare.code(offered)).unwrap();
    let second = bare.bed.second();
    assert!(second.spend(realm, &bare.user.id, &typed(&theirs)).await.is_err());
    assert!(second.spend(realm, &bare.user.id, &typed(&offered)).await.is_ok());
}

#[tokio::test]
async fn a_store_that_does_not_answer_sets_nothing_up() {
    let bare = Bare::new().await;
    let offered = bare.offer().await.unwrap();
    bare.bed.records.down.store(true, Ordering::SeqCst);
    assert!(matches!(bare.show(&bare.code(&offered)).await, Err(Refused::Store(_))));
    bare.bed.records.down.store(false, Ordering::SeqCst);
    assert!(bare.show(&bare.code(&offered)).await.is_ok());
}

#[tokio::test]
async fn the_last_one_is_not_taken_away_by_its_person() {
    let bed = Bed::new();
    let alice = bed.user("alice", Some(PASSWORD)).await;
    bed.app(&alice).await;
    bed.passkey(&alice).await;
    let second = bed.second().demanding(Demand::Everybody);
    let (realm, id) = (&bed.realm, &alice.id);
    let passkey = second.of(realm, id).await.unwrap().unwrap().passkeys.remove(0).id;
    assert!(second.remove_totp(realm, id, "alice").await.unwrap());
    let refused = second.remove_passkey(realm, id, &passkey, "alice").await;
    assert_eq!(refused, Err(FactorRefused::Last(id.clone())));
    // An operator takes them all: whoever has lost them sets up others.
    assert!(second.remove_all(realm, id, "root").await.unwrap());
    bed.app(&alice).await;
    assert_eq!(second.remove_totp(realm, id, "alice").await, Err(FactorRefused::Last(id.clone())));
    assert!(bed.second().remove_totp(realm, id, "alice").await.unwrap());
}
