use std::sync::atomic::Ordering;

use super::*;
use crate::{
    FirstFactor, Proof, To, TotpSecret, Username,
    testing::{Bed, address, secret},
};

const PASSWORD: &str = "correct horse battery";
const HOME: &str = "192.0.2.1";
const AGENT: &str = "192.0.2.0/24|Firefox";

/// Somebody at a browser, between the two steps.
struct Between {
    bed: Bed,
    app: TotpSecret,
    token: String,
}

async fn first(bed: &Bed, name: &str) -> FirstFactor {
    let home = address(HOME);
    match bed.sign_in().by_password(&bed.realm, name, secret(PASSWORD), home).await.unwrap() {
        Proof::First(first) => first,
        other => panic!("{other:?} needed no second factor"),
    }
}

async fn challenged(bed: &Bed, name: &str) -> String {
    let first = first(bed, name).await;
    let counts_from = first.began.secs();
    let sign_in = bed.sign_in();
    let asked = sign_in.challenge(&bed.realm, &first, counts_from, AGENT, To::Show);
    asked.await.unwrap().expose().clone()
}

impl Between {
    async fn new() -> Self {
        let bed = Bed::new();
        let alice = bed.user("alice", Some(PASSWORD)).await;
        let app = bed.app(&alice).await;
        let token = challenged(&bed, "alice").await;
        Self { bed, app, token }
    }

    fn shown(&self) -> String {
        self.app.code_at(self.bed.node.now())
    }

    /// A code that is none of the person's.
    fn wrong(&self) -> String {
        let shown: u32 = self.shown().parse().unwrap();
        format!("{:06}", (shown + 500_000) % 1_000_000)
    }

    async fn show(&self, code: &str) -> Result<Proven, Refused> {
        self.show_as(&self.token, AGENT, code).await
    }

    async fn show_as(&self, token: &str, browser: &str, code: &str) -> Result<Proven, Refused> {
        let address = address(HOME);
        let step = Step { token, browser, address };
        let attempt = CodeAttempt { step, authenticator: None, code };
        self.bed.sign_in().by_code(&self.bed.realm, &attempt).await
    }
}

#[tokio::test]
async fn two_factors_give_an_assurance_of_two() {
    let between = Between::new().await;
    let proven = between.show(&between.shown()).await.unwrap();
    let amr: Vec<_> = proven.assurance.amr.iter().map(|method| method.as_str()).collect();
    assert_eq!((amr, proven.assurance.acr), (vec!["pwd", "otp", "mfa"], Acr::Aal2));
    assert_eq!(proven.assurance.user.username.as_str(), "alice");
    // The token went with the sign-in, whatever the next code.
    between.bed.clock.advance(Duration::from_secs(60));
    assert_eq!(between.show(&between.shown()).await, Err(Refused::Over));
}

#[tokio::test]
async fn a_challenge_is_of_its_browser_and_its_five_minutes() {
    let between = Between::new().await;
    for (token, browser) in [
        (between.token.as_str(), "198.51.100.0/24|Firefox"),
        (between.token.as_str(), ""),
        ("", AGENT),
        ("x", AGENT),
    ] {
        let refused = between.show_as(token, browser, &between.shown()).await;
        assert_eq!(refused, Err(Refused::Over), "{browser}");
    }
    between.bed.clock.advance(Duration::from_secs(299));
    assert_eq!(between.show(&between.wrong()).await, Err(Refused::WrongCode));
    // An attempt does not put the end off.
    between.bed.clock.advance(Duration::from_secs(1));
    assert_eq!(between.show(&between.shown()).await, Err(Refused::Over));
}

#[tokio::test]
async fn five_codes_may_be_tried_and_new_challenges_give_no_more() {
    let between = Between::new().await;
    let wrong = between.wrong();
    for _ in 0..5 {
        assert_eq!(between.show(&wrong).await, Err(Refused::WrongCode));
    }
    assert_eq!(between.show(&between.shown()).await, Err(Refused::Over));
    let token = challenged(&between.bed, "alice").await;
    let throttled = between.show_as(&token, AGENT, &between.shown()).await;
    assert!(matches!(throttled, Err(Refused::Throttled { .. })), "{throttled:?}");
    // The wait is over, and so is the trouble: nobody is locked out.
    between.bed.clock.advance(Duration::from_secs(60));
    assert!(between.show_as(&token, AGENT, &between.shown()).await.is_ok());
}

/// CVE-2026-35597: what is counted must not go away with the change that failed.
#[tokio::test]
async fn an_attempt_stays_counted_though_the_store_fails_right_after() {
    let between = Between::new().await;
    for _ in 0..5 {
        between.bed.records.down.store(true, Ordering::SeqCst);
        let failed = between.show(&between.wrong()).await;
        assert!(matches!(failed, Err(Refused::Store(_))), "{failed:?}");
        between.bed.records.down.store(false, Ordering::SeqCst);
    }
    assert_eq!(between.show(&between.shown()).await, Err(Refused::Over));
}

/// A code whose use was committed and not heard of is used.
#[tokio::test]
async fn a_code_whose_answer_was_lost_does_not_count_again() {
    let between = Between::new().await;
    between.bed.records.lose_answers.store(true, Ordering::SeqCst);
    assert!(matches!(between.show(&between.shown()).await, Err(Refused::Store(_))));
    between.bed.records.lose_answers.store(false, Ordering::SeqCst);
    assert_eq!(between.show(&between.shown()).await, Err(Refused::WrongCode));
}

#[tokio::test]
async fn of_many_attempts_at_once_no_more_than_five_are_looked_at() {
    let between = Between::new().await;
    let wrong = between.wrong();
    let all = futures_util::future::join_all((0..50).map(|_| between.show(&wrong))).await;
    let looked_at = all.iter().filter(|it| matches!(it, Err(Refused::WrongCode))).count();
    assert!((1..=5).contains(&looked_at), "{looked_at}");
}

#[tokio::test]
async fn what_was_changed_between_the_steps_counts() {
    let between = Between::new().await;
    let Between { bed, .. } = &between;
    let alice =
        bed.users.by_username(&bed.realm, &Username::new("alice").unwrap()).await.unwrap().unwrap();
    let phc = bed.hasher.hash(&crate::testing::typed("another one"), bed.node.entropy()).unwrap();
    bed.passwords.set(&bed.realm, &alice.id, &phc, "alice").await.unwrap();
    assert_eq!(between.show(&between.shown()).await, Err(Refused::Over));

    let between = Between::new().await;
    let Between { bed, .. } = &between;
    let alice =
        bed.users.by_username(&bed.realm, &Username::new("alice").unwrap()).await.unwrap().unwrap();
    bed.users.disable(&bed.realm, &alice.id, "root").await.unwrap();
    assert_eq!(between.show(&between.shown()).await, Err(Refused::Over));
}

#[tokio::test]
async fn a_code_is_what_it_is_said_to_be() {
    let between = Between::new().await;
    let code = between.shown();
    let step = Step { token: &between.token, browser: AGENT, address: address(HOME) };
    let attempt =
        CodeAttempt { step, authenticator: Some(Authenticator::RecoveryCode), code: &code };
    let refused = between.bed.sign_in().by_code(&between.bed.realm, &attempt).await;
    assert_eq!(refused, Err(Refused::WrongCode));
    let attempt = CodeAttempt { authenticator: Some(Authenticator::Totp), ..attempt };
    assert!(between.bed.sign_in().by_code(&between.bed.realm, &attempt).await.is_ok());
    let printed = format!("{attempt:?}");
    assert!(!printed.contains(&code) && !printed.contains(&between.token), "{printed}");
}

/// Nothing of a person with a second factor is told before the right password.
#[tokio::test]
async fn a_wrong_password_says_nothing_of_a_second_factor() {
    let bed = Bed::new();
    let alice = bed.user("alice", Some(PASSWORD)).await;
    bed.user("bob", Some(PASSWORD)).await;
    bed.app(&alice).await;
    let mut answers = Vec::new();
    for name in ["alice", "bob", "nobody"] {
        bed.records.loads();
        let home = address(HOME);
        let refused = bed.sign_in().by_password(&bed.realm, name, secret("wrong"), home).await;
        answers.push((refused.unwrap_err(), bed.records.loads()));
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
}

/// Somebody who knows the password and tries codes from elsewhere does not shut the person out.
#[tokio::test]
async fn attempts_from_elsewhere_lock_nobody_out() {
    let between = Between::new().await;
    between.show(&between.shown()).await.unwrap();
    let wrong = between.wrong();
    let alice = "alice";
    for host in 0..60_u32 {
        let from: IpAddr = [203, 0, u8::try_from(host).unwrap(), 1].into();
        let sign_in = between.bed.sign_in();
        let Ok(Proof::First(first)) =
            sign_in.by_password(&between.bed.realm, alice, secret(PASSWORD), from).await
        else {
            panic!("the attacker knows the password");
        };
        let token =
            sign_in.challenge(&between.bed.realm, &first, 0, "them", To::Show).await.unwrap();
        for _ in 0..5 {
            let step = Step { token: token.expose(), browser: "them", address: from };
            let attempt = CodeAttempt { step, authenticator: None, code: &wrong };
            assert!(sign_in.by_code(&between.bed.realm, &attempt).await.is_err());
        }
    }
    between.bed.clock.advance(Duration::from_secs(60));
    let token = challenged(&between.bed, alice).await;
    assert!(between.show_as(&token, AGENT, &between.shown()).await.is_ok());
}

/// Who knows only the password is not taken for the person at the networks they show it from.
#[tokio::test]
async fn a_network_is_remembered_after_the_code_and_not_before() {
    use tegata_core::Ephemeral as _;

    let between = Between::new().await;
    let bed = &between.bed;
    let key = format!("alice|{}", tegata_core::Network::home(address(HOME)));
    let remembered =
        async || bed.ephemeral.get(&bed.realm, &crate::throttle::REMEMBERED, &key).await.unwrap();
    assert!(remembered().await.is_none());
    between.show(&between.shown()).await.unwrap();
    assert!(remembered().await.is_some());
}
