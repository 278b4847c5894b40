//! What a person takes back: nothing that was promised before is handed over after.

use std::sync::Arc;

use tegata_core::ManualClock;
use tegata_oauth::{
    Client, Code, Decision, GrantType, Next, Proven, ProvenClient, Provider, Refused, Said,
    TokenAnswer, UserCode,
};
use tegata_store::MemoryEphemeral;
use tokio::task::JoinSet;

use super::world::{CALLBACK, VERIFIER, World, error, params, place};

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn take_back(provider: &Provider, world: &World, client: &Client) -> Option<u64> {
    let user = &world.user.id;
    provider.take_back_consent(user, &client.id, user.as_str()).await.unwrap()
}

async fn tv(world: &World) -> Client {
    let grants = [GrantType::DeviceCode, GrantType::RefreshToken];
    world.client("tv", &grants, |it| it.public = true).await
}

/// The code of a device that the person has allowed what it asks for.
async fn allowed(world: &World, tv: &Client) -> String {
    let asked = params(&[("scope", "openid orders.read offline_access")]);
    let asked = world.provider.authorize_device(tv, &asked, None).await.unwrap();
    let shown = UserCode::read(&asked.user_code).unwrap();
    let (waiting, _) = world.provider.waiting_device(&shown).await.unwrap().unwrap();
    let who = world.signed_in();
    assert!(world.provider.answer_device(&waiting, &who, Decision::Allow).await.unwrap());
    asked.device_code
}

async fn fetch(provider: &Provider, tv: &ProvenClient, code: &str) -> Result<TokenAnswer, Refused> {
    let all = [("grant_type", DEVICE), ("device_code", code)];
    provider.token(tv, &params(&all), &place(), Proven::default()).await
}

async fn redeem(
    provider: &Provider,
    web: &ProvenClient,
    code: &str,
) -> Result<TokenAnswer, Refused> {
    let all = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    provider.token(web, &params(&all), &place(), Proven::default()).await
}

#[tokio::test]
async fn a_code_from_before_gives_nothing_after() {
    let world = World::new().await;
    let web = world.web().await;
    let other = world.client("other", &[GrantType::AuthorizationCode], |_| {}).await;
    let (first, second) = (world.code(&[]).await, world.code(&[]).await);
    let theirs = world.code(&[("client_id", "other")]).await;
    assert_eq!(take_back(&world.provider, &world, &web).await, Some(0));
    assert_eq!(error(world.redeem(&web, &first, &[]).await.unwrap_err()), "invalid_grant");
    // Agreeing anew is no word for what was said before.
    let anew = world.code(&[]).await;
    assert_eq!(error(world.redeem(&web, &second, &[]).await.unwrap_err()), "invalid_grant");
    assert!(world.redeem(&web, &anew, &[]).await.is_ok());
    assert!(world.redeem(&other, &theirs, &[]).await.is_ok());
}

/// Also where nobody is asked, and so nothing was agreed to.
#[tokio::test]
async fn a_code_of_a_client_that_asks_nobody_gives_nothing_after() {
    let world = World::new().await;
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    let own = world.client("web", &grants, |it| it.asks_consent = Some(false)).await;
    let request = world.request(&[]).await;
    let granted = world.provider.grant_code(&request, &own, &world.signed_in()).await.unwrap();
    let code = super::world::query(granted.address(), "code");
    assert_eq!(take_back(&world.provider, &world, &own).await, None);
    assert_eq!(error(world.redeem(&own, &code, &[]).await.unwrap_err()), "invalid_grant");
}

#[tokio::test]
async fn a_device_that_was_allowed_before_gets_nothing_after() {
    let world = World::new().await;
    let tv = tv(&world).await;
    let code = allowed(&world, &tv).await;
    take_back(&world.provider, &world, &tv).await;
    let proven = world.proven(&tv).await;
    let refused = fetch(&world.provider, &proven, &code).await.unwrap_err();
    assert_eq!(error(refused), "invalid_grant");
    let anew = allowed(&world, &tv).await;
    assert!(fetch(&world.provider, &proven, &anew).await.is_ok());
}

/// Between looking whether a person has to be asked and giving the code, the person takes it back.
#[tokio::test]
async fn no_code_is_given_on_a_consent_that_has_gone() {
    let world = World::new().await;
    let web = world.web().await;
    let (who, request) = (world.signed_in(), world.request(&[]).await);
    world.provider.remember_consent(&who.user, &web, &request.scope).await.unwrap();
    let next = world.provider.next(&request, &web, Some(&who), Said::default()).await.unwrap();
    assert_eq!(next, Next::Answer);
    take_back(&world.provider, &world, &web).await;
    let answer = world.provider.grant_code(&request, &web, &who).await.unwrap();
    assert!(answer.address().contains(Code::AccessDenied.name()), "{}", answer.address());
    assert!(!answer.address().contains("code="));
}

/// Whoever names clients that there are not writes nothing down.
#[tokio::test]
async fn nothing_is_kept_of_clients_that_there_are_not() {
    let world = World::new().await;
    let kind = &tegata_oauth::consent::withdrawn::WITHDRAWALS;
    let page = tegata_core::port::Page { after: None, limit: 10 };
    for name in ["nobody", "web"] {
        let client = Client { id: name.parse().unwrap(), ..tv(&world).await };
        assert_eq!(take_back(&world.provider, &world, &client).await, None);
    }
    let realm = world.provider.realm();
    assert!(world.records.scan(realm, kind, page).await.unwrap().is_empty());
}

/// Codes and devices, fetched on two nodes while the person takes back what they allowed: either what
/// was fetched before falls, or it is not fetched.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn taking_back_while_it_is_fetched_leaves_nothing_that_lives() {
    let clock = Arc::new(ManualClock::default());
    let ephemeral = Arc::new(MemoryEphemeral::new(clock.clone()));
    let world = Arc::new(World::on(clock, ephemeral.clone()).await);
    let elsewhere = world.elsewhere(ephemeral);
    let (web, tv) = (world.web().await, tv(&world).await);
    let proven = (world.proven(&web).await, world.proven(&tv).await);
    let (mut served, mut refused) = (0, 0);
    for round in 0..20 {
        let (mut codes, mut fetching) = (Vec::new(), JoinSet::new());
        for _ in 0..20 {
            codes.push((world.code(&[]).await, allowed(&world, &tv).await));
        }
        for (number, (code, device)) in codes.into_iter().enumerate() {
            let provider = if number % 2 == 0 { &world.provider } else { &elsewhere };
            let (here, there) = (provider.clone(), provider.clone());
            let (web, tv) = proven.clone();
            fetching.spawn(async move { redeem(&here, &web, &code).await });
            fetching.spawn(async move { fetch(&there, &tv, &device).await });
        }
        let taker = if round % 2 == 0 { &elsewhere } else { &world.provider };
        take_back(taker, &world, &web).await;
        take_back(taker, &world, &tv).await;
        for answer in fetching.join_all().await {
            match answer {
                Ok(answer) => {
                    served += 1;
                    assert!(!world.is_active(&answer.access_token).await);
                    assert!(!world.is_active(&answer.refresh_token.unwrap()).await);
                }
                Err(answer) => {
                    refused += 1;
                    assert_eq!(error(answer), "invalid_grant");
                }
            }
        }
    }
    // Both happened, or this has tried nothing.
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
}
