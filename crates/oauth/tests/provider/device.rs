//! The device authorization grant: what a device is told, and what nobody else gets.

use std::{sync::Arc, time::Duration};

use tegata_core::ManualClock;
use tegata_oauth::{
    Client, Decision, DeviceAuthorization, GrantType, Proven, Refused, TokenAnswer, UserCode,
};
use tegata_store::MemoryEphemeral;
use tegata_token::{Algorithm, SigningKey};
use tokio::task::JoinSet;

use super::{
    dpop::proven,
    world::{World, after, claims, error, params, place},
};

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const GRANTS: [GrantType; 2] = [GrantType::DeviceCode, GrantType::RefreshToken];

async fn tv(world: &World) -> Client {
    world.client("tv", &GRANTS, |it| it.public = true).await
}

async fn ask(world: &World, client: &Client) -> DeviceAuthorization {
    let asked = params(&[("scope", "openid orders.read offline_access")]);
    world.provider.authorize_device(client, &asked, None).await.unwrap()
}

async fn poll(
    world: &World,
    client: &Client,
    asked: &DeviceAuthorization,
) -> Result<TokenAnswer, Refused> {
    let all = [("grant_type", DEVICE), ("device_code", asked.device_code.as_str())];
    world
        .provider
        .token(&world.proven(client).await, &params(&all), &place(), Proven::default())
        .await
}

async fn told(world: &World, client: &Client, asked: &DeviceAuthorization) -> &'static str {
    error(poll(world, client, asked).await.unwrap_err())
}

async fn say(world: &World, asked: &DeviceAuthorization, decision: Decision) -> bool {
    let code = UserCode::read(&asked.user_code).unwrap();
    let Some((waiting, _)) = world.provider.waiting_device(&code).await.unwrap() else {
        return false;
    };
    world.provider.answer_device(&waiting, &world.signed_in(), decision).await.unwrap()
}

#[tokio::test]
async fn a_device_waits_and_gets_what_was_allowed_once() {
    let world = World::new().await;
    let tv = tv(&world).await;
    let asked = ask(&world, &tv).await;
    assert_eq!((asked.expires_in, asked.interval), (600, 5));
    assert_eq!(asked.verification_uri, "https://issuer.example/login/device");
    assert!(asked.device_code.starts_with("dc_1.") && asked.device_code.len() > 43);
    assert!(!format!("{asked:?}").contains(&asked.user_code));
    assert_eq!(told(&world, &tv, &asked).await, "authorization_pending");
    assert!(say(&world, &asked, Decision::Allow).await);
    after(&world.clock, 5);
    let answer = poll(&world, &tv, &asked).await.unwrap();
    let access = claims(&answer.access_token);
    assert_eq!(access["sub"], world.user.id.as_str());
    assert_eq!(access["client_id"], "tv");
    assert_eq!(access["scope"], "openid orders.read offline_access");
    assert!(answer.id_token.is_some());
    let refresh = answer.refresh_token.clone().unwrap();
    let next = world.refresh(&tv, &refresh).await.unwrap();
    // Whoever brings the code again is a thief, or the device is: nobody keeps anything.
    after(&world.clock, 5);
    assert_eq!(told(&world, &tv, &asked).await, "invalid_grant");
    assert!(!world.is_active(&answer.access_token).await);
    assert!(!world.is_active(&next.access_token).await);
    assert!(world.refresh(&tv, &next.refresh_token.unwrap()).await.is_err());
}

#[tokio::test]
async fn a_device_that_asks_too_often_is_slowed_down_on_every_node() {
    let clock = Arc::new(ManualClock::default());
    let ephemeral = Arc::new(MemoryEphemeral::new(clock.clone()));
    let world = World::on(clock, ephemeral.clone()).await;
    let tv = tv(&world).await;
    let asked = ask(&world, &tv).await;
    let elsewhere = world.elsewhere(ephemeral);
    assert_eq!(told(&world, &tv, &asked).await, "authorization_pending");
    after(&world.clock, 4);
    let all = params(&[("grant_type", DEVICE), ("device_code", &asked.device_code)]);
    let tv = world.proven(&tv).await;
    let refused = elsewhere.token(&tv, &all, &place(), Proven::default()).await.unwrap_err();
    assert_eq!(error(refused), "slow_down");
    // Five seconds are no longer enough, and what was allowed meanwhile waits as long.
    assert!(say(&world, &asked, Decision::Allow).await);
    after(&world.clock, 5);
    assert_eq!(told(&world, &tv, &asked).await, "slow_down");
    after(&world.clock, 14);
    assert_eq!(told(&world, &tv, &asked).await, "slow_down");
    after(&world.clock, 20);
    assert!(poll(&world, &tv, &asked).await.is_ok());
}

#[tokio::test]
async fn a_second_more_or_less_on_the_way_costs_nothing() {
    let world = World::new().await;
    let tv = tv(&world).await;
    let asked = ask(&world, &tv).await;
    for _ in 0..20 {
        assert_eq!(told(&world, &tv, &asked).await, "authorization_pending");
        world.clock.advance(Duration::from_millis(4600));
    }
}

#[tokio::test]
async fn another_client_gets_nothing_and_slows_nobody_down() {
    let world = World::new().await;
    let tv = tv(&world).await;
    let other = world.client("other", &GRANTS, |_| {}).await;
    let asked = ask(&world, &tv).await;
    assert_eq!(told(&world, &other, &asked).await, "invalid_grant");
    assert_eq!(told(&world, &tv, &asked).await, "authorization_pending");
    assert!(say(&world, &asked, Decision::Allow).await);
    after(&world.clock, 5);
    assert_eq!(told(&world, &other, &asked).await, "invalid_grant");
    let answer = poll(&world, &tv, &asked).await.unwrap();
    // A thief of another name takes nothing back.
    after(&world.clock, 5);
    assert_eq!(told(&world, &other, &asked).await, "invalid_grant");
    assert!(world.is_active(&answer.access_token).await);
}

#[tokio::test]
async fn a_client_that_is_not_registered_for_devices_is_refused_at_both_endpoints() {
    let world = World::new().await;
    let (web, tv) = (world.web().await, tv(&world).await);
    let refused = world.provider.authorize_device(&web, &params(&[]), None).await.unwrap_err();
    assert_eq!(error(refused), "unauthorized_client");
    let asked = ask(&world, &tv).await;
    assert_eq!(told(&world, &web, &asked).await, "unauthorized_client");
    for (name, value, expected) in [
        ("scope", "openid admin", "invalid_scope"),
        ("resource", "https://elsewhere.example", "invalid_target"),
        ("authorization_details", "[{\"type\":\"payment\"}]", "invalid_authorization_details"),
    ] {
        let asked = params(&[(name, value)]);
        let refused = world.provider.authorize_device(&tv, &asked, None).await.unwrap_err();
        assert_eq!(error(refused), expected, "{name}");
    }
}

#[tokio::test]
async fn what_a_person_denied_stays_denied() {
    let world = World::new().await;
    let tv = tv(&world).await;
    let asked = ask(&world, &tv).await;
    assert!(say(&world, &asked, Decision::Deny).await);
    assert!(!say(&world, &asked, Decision::Allow).await);
    assert_eq!(told(&world, &tv, &asked).await, "access_denied");
    after(&world.clock, 5);
    assert_eq!(told(&world, &tv, &asked).await, "access_denied");
}

#[tokio::test]
async fn codes_live_ten_minutes() {
    let world = World::new().await;
    let tv = tv(&world).await;
    let (late, unanswered) = (ask(&world, &tv).await, ask(&world, &tv).await);
    after(&world.clock, 599);
    assert!(say(&world, &late, Decision::Allow).await);
    after(&world.clock, 1);
    assert!(!say(&world, &unanswered, Decision::Allow).await);
    assert_eq!(told(&world, &tv, &late).await, "expired_token");
    assert_eq!(told(&world, &tv, &unanswered).await, "expired_token");
    after(&world.clock, 600);
    assert_eq!(told(&world, &tv, &unanswered).await, "invalid_grant");
    assert_eq!(told(&world, &tv, &late).await, "expired_token");
}

#[tokio::test]
async fn a_person_who_has_signed_out_or_is_gone_gives_nothing() {
    let world = World::new().await;
    let tv = tv(&world).await;
    let asked = ask(&world, &tv).await;
    assert!(say(&world, &asked, Decision::Allow).await);
    world.users.disable(world.provider.realm(), &world.user.id, "test").await.unwrap();
    assert_eq!(told(&world, &tv, &asked).await, "invalid_grant");
}

#[tokio::test]
async fn a_client_that_lost_its_scope_is_not_allowed_it() {
    let world = World::new().await;
    let tv = tv(&world).await;
    let asked = ask(&world, &tv).await;
    let narrower = |it: &mut tegata_oauth::ClientMetadata| {
        it.public = true;
        it.scope = "openid".into();
    };
    world.client("tv", &GRANTS, narrower).await;
    assert!(!say(&world, &asked, Decision::Allow).await);
}

#[tokio::test]
async fn a_device_code_that_is_bound_to_a_key_is_of_no_use_without_it() {
    let world = World::new().await;
    let tv = tv(&world).await;
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let shown = proven(&world, &key, "1").await;
    let scope = params(&[("scope", "openid")]);
    let asked = world.provider.authorize_device(&tv, &scope, Some(&shown)).await.unwrap();
    assert!(say(&world, &asked, Decision::Allow).await);
    assert_eq!(told(&world, &tv, &asked).await, "invalid_grant");
    after(&world.clock, 5);
    let all = params(&[("grant_type", DEVICE), ("device_code", &asked.device_code)]);
    let other = SigningKey::generate(Algorithm::Es256).unwrap();
    let other = proven(&world, &other, "2").await;
    let refused = world
        .provider
        .token(&world.proven(&tv).await, &all, &place(), Proven::by(Some(&other)))
        .await
        .unwrap_err();
    assert_eq!(error(refused), "invalid_grant");
    after(&world.clock, 5);
    let shown = proven(&world, &key, "3").await;
    let answer = world
        .provider
        .token(&world.proven(&tv).await, &all, &place(), Proven::by(Some(&shown)))
        .await
        .unwrap();
    assert_eq!(answer.token_type, "DPoP");
    assert_eq!(claims(&answer.access_token)["cnf"]["jkt"], key.jwk().thumbprint());
}

#[tokio::test]
async fn odd_codes_are_refused_as_unknown_ones() {
    let world = World::new().await;
    let tv = tv(&world).await;
    let asked = ask(&world, &tv).await;
    let other = format!("dc_1.99999.{}", "A".repeat(43));
    let last = if asked.device_code.ends_with('A') { "B" } else { "A" };
    let near = format!("{}{last}", &asked.device_code[..asked.device_code.len() - 1]);
    for odd in ["x", other.as_str(), near.as_str(), asked.user_code.as_str()] {
        let all = params(&[("grant_type", DEVICE), ("device_code", odd)]);
        let refused = world
            .provider
            .token(&world.proven(&tv).await, &all, &place(), Proven::default())
            .await
            .unwrap_err();
        assert_eq!(error(refused), "invalid_grant", "{odd}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_that_ask_at_once_one_is_served_and_keeps_it() {
    let world = Arc::new(World::new().await);
    let tv = tv(&world).await;
    let asked = ask(&world, &tv).await;
    assert!(say(&world, &asked, Decision::Allow).await);
    let mut tasks = JoinSet::new();
    for _ in 0..10_000 {
        let (world, tv, asked) = (world.clone(), tv.clone(), asked.clone());
        tasks.spawn(async move { poll(&world, &tv, &asked).await });
    }
    let answers = tasks.join_all().await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(served.len(), 1);
    assert!(refused.into_iter().all(|it| error(it.unwrap_err()) == "slow_down"));
    let answer = served.into_iter().next().unwrap().unwrap();
    assert!(world.is_active(&answer.access_token).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_answers_one_counts() {
    let world = Arc::new(World::new().await);
    let tv = tv(&world).await;
    let asked = ask(&world, &tv).await;
    let code = UserCode::read(&asked.user_code).unwrap();
    let (waiting, _) = world.provider.waiting_device(&code).await.unwrap().unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..100 {
        let (world, waiting) = (world.clone(), waiting.clone());
        let decision = if n % 2 == 0 { Decision::Allow } else { Decision::Deny };
        tasks.spawn(async move {
            let who = world.signed_in();
            world.provider.answer_device(&waiting, &who, decision).await.unwrap()
        });
    }
    let counted = tasks.join_all().await.into_iter().filter(|counts| *counts).count();
    assert_eq!(counted, 1);
}
