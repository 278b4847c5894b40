use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tegata_core::{Ephemeral as _, Network};

use super::*;
use crate::{
    Proof, To,
    testing::{
        Bed, PAGE, address, secret,
        soft::{PRESENT, Soft},
    },
    throttle::REMEMBERED,
};

const PASSWORD: &str = "correct horse battery";
const HOME: &str = "192.0.2.1";
const AGENT: &str = "192.0.2.0/24|Firefox";

/// Alice, who has a passkey.
struct World {
    bed: Bed,
    alice: User,
    soft: Soft,
}

impl World {
    async fn new() -> Self {
        let bed = Bed::new();
        let alice = bed.user("alice", Some(PASSWORD)).await;
        let soft = bed.passkey(&alice).await;
        Self { bed, alice, soft }
    }

    /// What the passkey shows to whoever asks for it alone.
    fn shown(&mut self) -> String {
        let options = self.bed.sign_in().ask_passkey(&self.bed.realm, AGENT).unwrap();
        self.soft.get(&options)
    }

    async fn show(&self, shown: &str) -> Result<Assurance, Refused> {
        self.show_from(shown, AGENT, HOME).await
    }

    async fn show_from(
        &self,
        shown: &str,
        browser: &str,
        from: &str,
    ) -> Result<Assurance, Refused> {
        self.bed.sign_in().by_passkey(&self.bed.realm, shown, browser, address(from)).await
    }

    /// The token of a sign-in of which the password was shown.
    async fn after_password(&self, name: &str) -> String {
        let (sign_in, realm) = (self.bed.sign_in(), &self.bed.realm);
        let proof = sign_in.by_password(realm, name, secret(PASSWORD), address(HOME)).await;
        let Ok(Proof::First(first)) = proof else { panic!("{proof:?}") };
        let asked = sign_in.challenge(realm, &first, first.began.secs(), AGENT, To::Show);
        asked.await.unwrap().expose().clone()
    }

    async fn ask_after(&self, token: &str) -> Value {
        let asked = self.bed.sign_in().ask_passkey_after(&self.bed.realm, &step(token)).await;
        asked.unwrap().unwrap()
    }

    async fn show_after(&self, token: &str, shown: &str) -> Result<Proven, Refused> {
        self.bed.sign_in().by_passkey_after(&self.bed.realm, &step(token), shown).await
    }

    async fn told(&self) -> Vec<String> {
        let of = |data: &Value| format!("{} {}", data["credential"], data["change"]);
        let events = self.bed.events().await;
        let changed = events.iter().filter(|(kind, _)| kind == "CREDENTIAL_CHANGED");
        changed.map(|(_, data)| of(data).replace('"', "")).collect()
    }
}

fn step(token: &str) -> Step<'_> {
    Step { token, browser: AGENT, address: address(HOME) }
}

fn names(assurance: &Assurance) -> Vec<&'static str> {
    assurance.amr.iter().map(|method| method.as_str()).collect()
}

#[tokio::test]
async fn a_passkey_alone_gives_an_assurance_of_two_factors() {
    let mut world = World::new().await;
    let options = world.bed.sign_in().ask_passkey(&world.bed.realm, AGENT).unwrap();
    assert_eq!(options["userVerification"], "required");
    assert_eq!(options["allowCredentials"], serde_json::json!([]), "it says nothing of anybody");
    let shown = world.shown();
    let assurance = world.show(&shown).await.unwrap();
    assert_eq!(assurance.user, world.alice);
    assert_eq!((names(&assurance), assurance.acr), (vec!["pop", "user", "mfa"], Acr::Aal2));
    assert_eq!(assurance.auth_time, world.bed.node.now());
    let key = format!("alice|{}", Network::home(address(HOME)));
    let remembered = world.bed.ephemeral.get(&world.bed.realm, &REMEMBERED, &key).await;
    assert!(remembered.unwrap().is_some());
}

#[tokio::test]
async fn an_assertion_counts_once() {
    let mut world = World::new().await;
    let shown = world.shown();
    assert!(world.show(&shown).await.is_ok());
    for _ in 0..3 {
        assert_eq!(world.show(&shown).await, Err(Refused::WrongPasskey));
        world.bed.clock.advance(Duration::from_secs(90));
    }
    // Its authenticator does not count; one that does says more.
    world.soft.counter = 1;
    let shown = world.shown();
    assert!(world.show(&shown).await.is_ok());
    assert_eq!(world.show(&shown).await, Err(Refused::WrongPasskey));
    // What was shown twice is no copy of the passkey.
    assert!(!world.told().await.contains(&"passkey cloned".to_owned()));
}

#[tokio::test]
async fn of_many_copies_at_once_one_signs_in() {
    let mut world = World::new().await;
    let shown = world.shown();
    let taken = AtomicUsize::new(0);
    let all = (0..100).map(|_| async {
        match world.show(&shown).await {
            Ok(_) => taken.fetch_add(1, Ordering::SeqCst),
            Err(refused) => {
                assert!(matches!(refused, Refused::WrongPasskey | Refused::Throttled { .. }));
                0
            }
        }
    });
    futures_util::future::join_all(all).await;
    assert_eq!(taken.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_assertion_is_of_the_browser_that_asked_for_it() {
    let mut world = World::new().await;
    let shown = world.shown();
    for browser in ["198.51.100.0/24|Firefox", "192.0.2.0/24|Chrome", ""] {
        let refused = world.show_from(&shown, browser, HOME).await;
        assert_eq!(refused, Err(Refused::WrongPasskey), "{browser}");
    }
    assert!(world.show(&shown).await.is_ok(), "nothing was used up");
}

#[tokio::test]
async fn a_counter_that_goes_back_is_refused_and_told_of() {
    let mut world = World::new().await;
    world.soft.counter = 7;
    let shown = world.shown();
    assert!(world.show(&shown).await.is_ok());
    for counter in [7, 6, 0] {
        world.soft.counter = counter;
        let shown = world.shown();
        assert_eq!(world.show(&shown).await, Err(Refused::WrongPasskey), "{counter}");
    }
    let told = world.told().await;
    assert_eq!(told.iter().filter(|told| *told == "passkey cloned").count(), 3, "{told:?}");
    let (_, event) = world.bed.events().await.pop().unwrap();
    assert_eq!((&event["actor"], &event["recovery_codes"]), (&"system".into(), &10.into()));
    assert_eq!(event["passkey"].as_str().unwrap().len(), 43);
    // The one that counts on is the person's still.
    world.soft.counter = 8;
    let shown = world.shown();
    assert!(world.show(&shown).await.is_ok());
}

#[tokio::test]
async fn of_two_that_count_alike_one_signs_in() {
    let mut world = World::new().await;
    world.soft.counter = 3;
    let shown = [world.shown(), world.shown()];
    let both = futures_util::future::join_all(shown.iter().map(|it| world.show(it))).await;
    assert_eq!(both.iter().filter(|it| it.is_ok()).count(), 1, "{both:?}");
    assert!(world.told().await.contains(&"passkey cloned".to_owned()));
}

#[tokio::test]
async fn alone_it_must_be_known_who_was_there() {
    let mut world = World::new().await;
    world.soft.flags = PRESENT;
    let shown = world.shown();
    assert_eq!(world.show(&shown).await, Err(Refused::WrongPasskey));
}

#[tokio::test]
async fn what_is_nobodys_is_refused_as_what_is_somebodys() {
    let mut world = World::new().await;
    let shown = world.shown();
    let mut stranger = Soft { handle: vec![1; 32], ..Soft::at(PAGE) };
    let options = world.bed.sign_in().ask_passkey(&world.bed.realm, AGENT).unwrap();
    let mut thief = Soft { id: world.soft.id.clone(), ..Soft::at(PAGE) };
    thief.handle.clone_from(&world.soft.handle);
    let (unknown, forged) = (stranger.get(&options), thief.get(&options));
    world.bed.users.disable(&world.bed.realm, &world.alice.id, "root").await.unwrap();
    for shown in [&unknown, &forged, &shown, "", "{}", "null"] {
        assert_eq!(world.show(shown).await, Err(Refused::WrongPasskey), "{shown}");
    }
    world.bed.users.enable(&world.bed.realm, &world.alice.id, "root").await.unwrap();
    assert!(world.show(&shown).await.is_ok());
}

#[tokio::test]
async fn one_that_was_removed_counts_no_more() {
    let mut world = World::new().await;
    let World { bed, alice, .. } = &world;
    let second = bed.second();
    let id = second.of(&bed.realm, &alice.id).await.unwrap().unwrap().passkeys[0].id.clone();
    assert!(second.remove_passkey(&bed.realm, &alice.id, &id, "alice").await.unwrap());
    assert_eq!(second.of(&bed.realm, &alice.id).await, Ok(None), "and nothing is left");
    let shown = world.shown();
    assert_eq!(world.show(&shown).await, Err(Refused::WrongPasskey));
    let token = {
        let again = Bed::new();
        again.sign_in().ask_passkey(&again.realm, AGENT)
    };
    assert!(token.is_some(), "whoever asks is told nothing of it");
}

/// Failures cost the networks that they come from, and nobody's account.
#[tokio::test]
async fn failures_are_counted_and_lock_nobody_out() {
    let mut world = World::new().await;
    let shown = world.shown();
    assert!(world.show(&shown).await.is_ok());
    let mut thief = Soft { id: world.soft.id.clone(), ..Soft::at(PAGE) };
    thief.handle.clone_from(&world.soft.handle);
    let options = world.bed.sign_in().ask_passkey(&world.bed.realm, AGENT).unwrap();
    let forged = thief.get(&options);
    let stopped = async |from| {
        let mut stopped = 0;
        for _ in 0..200 {
            match world.show_from(&forged, AGENT, from).await {
                Err(Refused::Throttled { .. }) => stopped += 1,
                refused => assert_eq!(refused, Err(Refused::WrongPasskey)),
            }
        }
        stopped
    };
    assert_eq!(stopped("203.0.113.9").await, 140, "sixty at once from one network");
    assert_eq!(stopped(HOME).await, 140, "as many where the person has signed in");
    // Nobody else there waits, nor the person for their password, nor elsewhere; and they not for long.
    let bob = world.bed.user("bob", Some(PASSWORD)).await;
    let mut bobs = world.bed.passkey(&bob).await;
    let options = world.bed.sign_in().ask_passkey(&world.bed.realm, AGENT).unwrap();
    assert!(world.show(&bobs.get(&options)).await.is_ok());
    world.after_password("alice").await;
    let shown = world.shown();
    assert!(world.show_from(&shown, AGENT, "198.51.100.7").await.is_ok());
    world.bed.clock.advance(Duration::from_secs(1));
    let shown = world.shown();
    assert!(world.show(&shown).await.is_ok());
}

#[tokio::test]
async fn a_store_that_is_away_signs_nobody_in() {
    let mut world = World::new().await;
    let shown = world.shown();
    world.bed.records.down.store(true, Ordering::SeqCst);
    assert!(matches!(world.show(&shown).await, Err(Refused::Store(_))));
    world.bed.records.down.store(false, Ordering::SeqCst);
    world.bed.records.lose_answers.store(true, Ordering::SeqCst);
    assert!(matches!(world.show(&shown).await, Err(Refused::Store(_))));
    world.bed.records.lose_answers.store(false, Ordering::SeqCst);
    // It may have been used, so it is.
    assert_eq!(world.show(&shown).await, Err(Refused::WrongPasskey));
}

#[tokio::test]
async fn after_a_password_it_is_the_second_factor() {
    let mut world = World::new().await;
    let token = world.after_password("alice").await;
    let options = world.ask_after(&token).await;
    assert_eq!(options["userVerification"], "preferred");
    assert_eq!(options["allowCredentials"].as_array().unwrap().len(), 1);
    world.soft.flags = PRESENT;
    let shown = world.soft.get(&options);
    // It was asked for as a second factor: it is none by itself.
    assert_eq!(world.show(&shown).await, Err(Refused::WrongPasskey));
    let proven = world.show_after(&token, &shown).await.unwrap();
    assert_eq!(names(&proven.assurance), ["pwd", "pop", "user", "mfa"]);
    assert_eq!((proven.assurance.acr, proven.assurance.user), (Acr::Aal2, world.alice.clone()));
    assert_eq!(world.show_after(&token, &shown).await, Err(Refused::Over));
}

#[tokio::test]
async fn a_second_step_takes_its_own_persons_passkey_for_its_own_sign_in() {
    let mut world = World::new().await;
    let bob = world.bed.user("bob", Some(PASSWORD)).await;
    let mut bobs = world.bed.passkey(&bob).await;
    let (first, other) = (world.after_password("alice").await, world.after_password("alice").await);
    let options = world.ask_after(&first).await;
    // Bob's passkey, which is good for bob.
    let refused = world.show_after(&first, &bobs.get(&options)).await;
    assert_eq!(refused, Err(Refused::WrongPasskey));
    // What was signed for one sign-in, in another; and for none.
    let shown = world.soft.get(&options);
    assert_eq!(world.show_after(&other, &shown).await, Err(Refused::WrongPasskey));
    let alone = world.shown();
    assert_eq!(world.show_after(&other, &alone).await, Err(Refused::WrongPasskey));
    for token in ["", "x"] {
        assert_eq!(world.show_after(token, &shown).await, Err(Refused::Over), "{token}");
        let asked = world.bed.sign_in().ask_passkey_after(&world.bed.realm, &step(token)).await;
        assert_eq!(asked, Err(Refused::Over), "{token}");
    }
    assert!(world.show_after(&first, &shown).await.is_ok());
}

#[tokio::test]
async fn five_may_be_shown_at_a_second_step() {
    let mut world = World::new().await;
    let token = world.after_password("alice").await;
    let options = world.ask_after(&token).await;
    let good = world.soft.get(&options);
    world.soft.origin = "https://evil.example".to_owned();
    let bad = world.soft.get(&options);
    for _ in 0..5 {
        assert_eq!(world.show_after(&token, &bad).await, Err(Refused::WrongPasskey));
    }
    assert_eq!(world.show_after(&token, &good).await, Err(Refused::Over));
    // A new sign-in is another matter: nobody waits for weeks.
    world.soft.origin = PAGE.to_owned();
    let token = world.after_password("alice").await;
    let shown = world.soft.get(&world.ask_after(&token).await);
    assert!(world.show_after(&token, &shown).await.is_ok());
}

#[tokio::test]
async fn once_more_is_in_one_session() {
    let mut world = World::new().await;
    let (one, two) = (world.bed.session(1), world.bed.session(2));
    let sign_in = world.bed.sign_in();
    let (realm, alice) = (world.bed.realm.clone(), world.alice.id.clone());
    let home = address(HOME);
    let options = sign_in.ask_passkey_again(&realm, &alice, &one).await.unwrap().unwrap();
    let shown = world.soft.get(&options);
    let other = sign_in.again_by_passkey(&realm, &alice, &two, &shown, home).await;
    assert_eq!(other, Err(Refused::WrongPasskey));
    let assurance = sign_in.again_by_passkey(&realm, &alice, &one, &shown, home).await.unwrap();
    assert_eq!((names(&assurance), assurance.acr), (vec!["pop", "user", "mfa"], Acr::Aal2));
    world.soft.flags = PRESENT;
    let options = sign_in.ask_passkey_again(&realm, &alice, &one).await.unwrap().unwrap();
    let shown = world.soft.get(&options);
    let assurance = sign_in.again_by_passkey(&realm, &alice, &one, &shown, home).await.unwrap();
    assert_eq!((names(&assurance), assurance.acr), (vec!["pop", "user"], Acr::Aal1));
    let bob = world.bed.user("bob", None).await;
    assert_eq!(sign_in.ask_passkey_again(&realm, &bob.id, &two).await, Ok(None));
}

/// Nothing is written for whoever asks, and nothing for what was made up.
#[tokio::test]
async fn only_who_has_the_passkey_uses_a_challenge_up() {
    let mut world = World::new().await;
    let shown = world.shown();
    let options = world.bed.sign_in().ask_passkey(&world.bed.realm, AGENT).unwrap();
    let assertion = Assertion::parse(&shown).unwrap();
    let mut thief = Soft { id: world.soft.id.clone(), ..Soft::at(PAGE) };
    thief.handle.clone_from(&world.soft.handle);
    let forged = thief.get(&options);
    assert_eq!(world.show(&forged).await, Err(Refused::WrongPasskey));
    let kept = async |key: String| {
        let ephemeral = Arc::clone(&world.bed.ephemeral);
        ephemeral.get(&world.bed.realm, &USED, &key).await.unwrap()
    };
    assert!(kept(Assertion::parse(&forged).unwrap().used()).await.is_none());
    assert!(world.show(&shown).await.is_ok());
    assert!(kept(assertion.used()).await.is_some());
    // It is kept for as long as any node would take the challenge.
    world.bed.clock.advance(LIFETIME + CLOCKS_APART - Duration::from_millis(1));
    assert!(kept(assertion.used()).await.is_some());
}
