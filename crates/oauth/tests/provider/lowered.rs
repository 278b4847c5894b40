//! Second factors that are gone: what was granted by them says so no more.

use serde_json::{Value, json};
use tegata_core::Acr;
use tegata_identity::{Demand, Role, RoleChange, SecondFactors, TotpSecret};
use tegata_oauth::{
    Client, Config, Decision, GrantType, Proven, Provider, SignedIn, TokenAnswer, UserCode,
};

use super::world::{World, after, claims, error, params, place};

/// A person with an authenticator app, and who keeps it.
struct Bed {
    world: World,
    second: SecondFactors,
    web: Client,
}

impl Bed {
    async fn new() -> Self {
        let world = World::new().await;
        let second = SecondFactors::new(
            world.node.clone(),
            world.records.clone(),
            world.parts.ephemeral.clone(),
        );
        let web = world.web().await;
        let bed = Self { world, second, web };
        bed.gives_app().await;
        bed
    }

    async fn gives_app(&self) {
        let app = TotpSecret::generate(self.world.node.entropy());
        let (realm, user) = (self.world.provider.realm(), &self.world.user.id);
        assert!(self.second.provide_totp(realm, user, &app, "test").await.unwrap());
    }

    async fn loses_all(&self) {
        let (realm, user) = (self.world.provider.realm(), &self.world.user.id);
        assert!(self.second.remove_all(realm, user, "root").await.unwrap());
    }

    /// Somebody who has shown a password and a code of the app.
    async fn strong(&self) -> SignedIn {
        let (realm, user) = (self.world.provider.realm(), &self.world.user.id);
        let names = self.second.of(realm, user).await.unwrap().unwrap().names();
        let app = names.into_iter().filter(|name| name.starts_with("otp:app:")).collect();
        SignedIn {
            acr: Acr::Aal2.as_str().to_owned(),
            amr: ["pwd", "otp", "mfa"].map(str::to_owned).into(),
            factors: app,
            ..self.world.signed_in()
        }
    }

    async fn granted(&self, who: &SignedIn) -> TokenAnswer {
        let code = self.world.code_for(who, &[("scope", "openid orders.read")]).await;
        self.world.redeem(&self.web, &code, &[]).await.unwrap()
    }

    async fn refreshed(&self, answer: &TokenAnswer) -> TokenAnswer {
        let token = answer.refresh_token.as_ref().unwrap();
        self.world.refresh(&self.web, token).await.unwrap()
    }
}

fn said(answer: &TokenAnswer) -> (Value, Value) {
    let said = claims(&answer.access_token);
    (said["acr"].clone(), said["amr"].clone())
}

fn strong() -> (Value, Value) {
    (json!("aal2"), json!(["pwd", "otp", "mfa"]))
}

fn lowered() -> (Value, Value) {
    (json!("aal1"), json!(["pwd"]))
}

#[tokio::test]
async fn a_refresh_says_no_more_of_a_factor_that_is_gone() {
    let bed = Bed::new().await;
    let first = bed.granted(&bed.strong().await).await;
    assert_eq!(said(&first), strong());
    let second = bed.refreshed(&first).await;
    assert_eq!(said(&second), strong());
    bed.loses_all().await;
    let third = bed.refreshed(&second).await;
    assert_eq!(said(&third), lowered());
    // Nor when there is another: it was not shown.
    after(&bed.world.clock, 1);
    bed.gives_app().await;
    assert_eq!(said(&bed.refreshed(&third).await), lowered());
}

/// Whoever missed an answer is not given what it said.
#[tokio::test]
async fn what_was_given_before_is_not_given_again() {
    let bed = Bed::new().await;
    let first = bed.granted(&bed.strong().await).await;
    let second = bed.refreshed(&first).await;
    // Once more, the same.
    assert_eq!(said(&bed.refreshed(&first).await), strong());
    bed.loses_all().await;
    let again = bed.world.refresh(&bed.web, first.refresh_token.as_ref().unwrap()).await;
    assert_eq!(error(again.unwrap_err()), "invalid_grant");
    assert_eq!(said(&bed.refreshed(&second).await), lowered());
}

#[tokio::test]
async fn what_stems_from_what_is_there_stays_whatever_else_changes() {
    let bed = Bed::new().await;
    let first = bed.granted(&bed.strong().await).await;
    let (realm, user) = (bed.world.provider.realm(), &bed.world.user.id);
    // The codes on paper were not shown.
    bed.second.renew_recovery(realm, user, "test").await.unwrap();
    let second = bed.refreshed(&first).await;
    assert_eq!(said(&second), strong());
    let weak = bed.granted(&bed.world.signed_in()).await;
    bed.loses_all().await;
    assert_eq!(said(&bed.refreshed(&weak).await), lowered());
    assert_eq!(said(&bed.refreshed(&second).await), lowered());
}

/// Of which factor is not known of what a version before this one granted.
#[tokio::test]
async fn what_does_not_say_of_which_it_is_is_lowered_when_any_goes() {
    let bed = Bed::new().await;
    let who = SignedIn { factors: vec![], ..bed.strong().await };
    let first = bed.granted(&who).await;
    let second = bed.refreshed(&first).await;
    assert_eq!(said(&second), strong());
    bed.loses_all().await;
    assert_eq!(said(&bed.refreshed(&second).await), lowered());
}

/// Roles and recovery codes are no factors that could have been shown for it.
#[tokio::test]
async fn what_does_not_say_of_which_it_is_stays_while_none_goes() {
    let bed = Bed::new().await;
    let who = SignedIn { factors: vec![], ..bed.strong().await };
    let (realm, user) = (bed.world.provider.realm().clone(), bed.world.user.id.clone());
    let first = bed.granted(&who).await;
    let roles = RoleChange::Grant([Role::new("auditor").unwrap()].into());
    bed.world.users.change_roles(&realm, &user, &roles, "test").await.unwrap();
    let second = bed.refreshed(&first).await;
    assert_eq!(said(&second), strong());
    for _ in 0..2 {
        bed.second.renew_recovery(&realm, &user, "test").await.unwrap();
    }
    let third = bed.refreshed(&second).await;
    assert_eq!(said(&third), strong());
    bed.loses_all().await;
    let roles = RoleChange::Withdraw([Role::new("auditor").unwrap()].into());
    bed.world.users.change_roles(&realm, &user, &roles, "test").await.unwrap();
    assert_eq!(said(&bed.refreshed(&third).await), lowered());
}

#[tokio::test]
async fn a_code_that_was_given_for_a_factor_that_is_gone_gives_nothing() {
    let bed = Bed::new().await;
    let code = bed.world.code_for(&bed.strong().await, &[]).await;
    bed.loses_all().await;
    let refused = bed.world.redeem(&bed.web, &code, &[]).await.unwrap_err();
    assert_eq!(error(refused), "invalid_grant");
}

#[tokio::test]
async fn a_family_that_must_be_strong_ends_with_what_made_it_so() {
    let bed = Bed::new().await;
    let config = Config { second_factor: Demand::Everybody, ..bed.world.provider.config().clone() };
    let provider = Provider::new(config, bed.world.parts.clone());
    let bed = Bed { world: World { provider, ..bed.world }, ..bed };
    let first = bed.granted(&bed.strong().await).await;
    let second = bed.refreshed(&first).await;
    bed.loses_all().await;
    let refused = bed.world.refresh(&bed.web, second.refresh_token.as_ref().unwrap()).await;
    assert_eq!(error(refused.unwrap_err()), "invalid_grant");
}

/// However refreshing, redeeming and taking away meet, nothing that is refreshed afterwards says it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_left_of_a_factor_that_goes_while_it_is_used() {
    let bed = std::sync::Arc::new(Bed::new().await);
    for round in 0..25 {
        if round > 0 {
            after(&bed.world.clock, 1);
            bed.gives_app().await;
        }
        let who = bed.strong().await;
        let held = bed.granted(&who).await;
        let code = bed.world.code_for(&who, &[]).await;
        let refreshing = tokio::spawn({
            let bed = bed.clone();
            async move { bed.refreshed(&held).await }
        });
        let redeeming = tokio::spawn({
            let bed = bed.clone();
            async move { bed.world.redeem(&bed.web, &code, &[]).await.ok() }
        });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        bed.loses_all().await;
        let (refreshed, redeemed) = (refreshing.await.unwrap(), redeeming.await.unwrap());
        for answer in redeemed.iter().chain([&refreshed]) {
            assert_eq!(said(&bed.refreshed(answer).await), lowered(), "{round}");
        }
    }
}

#[tokio::test]
async fn a_device_that_was_allowed_by_it_gets_nothing() {
    let bed = Bed::new().await;
    let world = &bed.world;
    let tv = world.client("tv", &[GrantType::DeviceCode], |it| it.redirect_uris = vec![]).await;
    let fields = params(&[("scope", "orders.read")]);
    let asks = world.provider.authorize_device(&tv, &fields, None).await.unwrap();
    let shown = UserCode::read(&asks.user_code).unwrap();
    let (waiting, _) = world.provider.waiting_device(&shown).await.unwrap().unwrap();
    let who = bed.strong().await;
    assert!(world.provider.answer_device(&waiting, &who, Decision::Allow).await.unwrap());
    bed.loses_all().await;
    let all = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", asks.device_code.as_str()),
    ];
    let (tv, fields) = (world.proven(&tv).await, params(&all));
    let refused = world.provider.token(&tv, &fields, &place(), Proven::default()).await;
    assert_eq!(error(refused.unwrap_err()), "invalid_grant");
}
