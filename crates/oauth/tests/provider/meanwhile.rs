//! What changes between one step and the next: clients, sessions, keys, who sits before the browser.

use serde_json::json;
use tegata_core::UserId;
use tegata_oauth::{
    AuthorizationRequest, Client, ClientMetadata, GrantType, Next, NotAuthorized, Refused, Said,
    SignedIn,
};
use tegata_token::{Algorithm, Scope};

use super::world::{CALLBACK, SECRET, World, after, claims, error, params};

/// Whoever registers a client under a name that another had is not agreed to because that was.
#[tokio::test]
async fn a_consent_ends_with_its_client() {
    let world = World::new().await;
    let web = world.web().await;
    let who = world.signed_in();
    let request = world.request(&[]).await;
    world.provider.remember_consent(&who.user, &web, &request.scope).await.unwrap();
    after(&world.clock, 1);
    let (realm, clients) = (world.provider.realm(), world.provider.clients());
    clients.remove(realm, &web.id).await.unwrap();
    let other = world.web().await;
    let has = async |scope: &str| {
        let scope = Scope::new(scope).unwrap();
        world.provider.has_consent(&who.user, &other, &scope).await.unwrap()
    };
    assert!(!has("openid").await);
    // Nor does what was said then come back with what is said now.
    let less = Scope::new("openid").unwrap();
    world.provider.remember_consent(&who.user, &other, &less).await.unwrap();
    assert!(has("openid").await && !has("openid orders.read").await);
}

#[tokio::test]
async fn an_answer_is_about_whom_the_hint_names_and_nobody_else() {
    let world = World::new().await;
    let web = world.web().await;
    let who = world.signed_in();
    let tokens = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap();
    let own = tokens.id_token.unwrap();
    let other = SignedIn { user: UserId::new("usr_other").unwrap(), ..who.clone() };
    let next = async |request: &AuthorizationRequest, who| {
        world.provider.next(request, &web, Some(who), Said { consented: true }).await.unwrap()
    };
    let login_required =
        |next| matches!(next, Next::Refuse(error) if error.code.name() == "login_required");
    after(&world.clock, 1);
    let hinted = world.request(&[("id_token_hint", &own)]).await;
    assert_eq!(next(&hinted, &who).await, Next::Answer);
    assert_eq!(next(&hinted, &other).await, Next::SignIn);
    let silent = world.request(&[("id_token_hint", &own), ("prompt", "none")]).await;
    assert_eq!(next(&silent, &who).await, Next::Answer);
    assert!(login_required(next(&silent, &other).await));
    // Who was asked, and is somebody else again, is not asked for ever.
    let anew = SignedIn { auth_time: world.node.now(), ..other.clone() };
    assert!(login_required(next(&hinted, &anew).await));
    for bad in ["x", tokens.access_token.as_str()] {
        let pairs = [("client_id", "web"), ("redirect_uri", CALLBACK), ("id_token_hint", bad)];
        let pairs: Vec<_> = pairs.into_iter().chain([("response_type", "code")]).collect();
        let refused = world.provider.authorization_request(&params(&pairs)).await.unwrap_err();
        let NotAuthorized::Redirect(back) = refused else { panic!("{refused:?}") };
        assert!(back.address().contains("error=invalid_request"), "{}", back.address());
    }
}

/// What waits for a person is looked at again when the person has come.
#[tokio::test]
async fn a_request_that_waited_is_held_to_what_its_client_may_ask_for_now() {
    let changes: [fn(&mut ClientMetadata); 4] = [
        |client| client.redirect_uris = vec!["https://app.example/new".into()],
        |client| client.scope = "openid".into(),
        |client| client.grant_types = Some([GrantType::ClientCredentials].into()),
        |client| client.audiences = vec!["https://elsewhere.example".into()],
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let world = World::new().await;
        let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
        let audience = |client: &mut ClientMetadata| client.audiences = vec!["reports".into()];
        world.client("web", &grants, audience).await;
        let handle = world.provider.hold(&world.request(&[]).await).await.unwrap();
        assert!(world.provider.held(&handle).await.unwrap().is_some());
        world.client("web", &grants, change).await;
        assert!(world.provider.held(&handle).await.unwrap().is_none(), "{number}");
    }
}

/// A client that may ask for less from now on gets less from now on.
#[tokio::test]
async fn a_refresh_gives_no_more_than_the_client_may_still_ask_for() {
    let world = World::new().await;
    let web = world.web().await;
    let first = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap();
    assert_eq!(first.scope, "openid orders.read");
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    let web = world.client("web", &grants, |client| client.scope = "openid".into()).await;
    let next = world.refresh(&web, &first.refresh_token.unwrap()).await.unwrap();
    assert_eq!(
        (next.scope.as_str(), &claims(&next.access_token)["scope"]),
        ("openid", &json!("openid"))
    );
}

/// The session may have gone unused for too long, which no log says.
#[tokio::test]
async fn a_family_ends_with_its_session_by_whatever_it_ends() {
    let world = World::new().await;
    let web = world.web().await;
    let who = world.signed_in();
    let code = world.code_for(&who, &[]).await;
    let first = world.redeem(&web, &code, &[]).await.unwrap();
    let refresh_token = first.refresh_token.unwrap();
    assert!(world.is_active(&refresh_token).await);
    world.sessions.0.lock().unwrap().insert(who.session.clone());
    assert!(!world.is_active(&refresh_token).await);
    let late = world.refresh(&web, &refresh_token).await.unwrap_err();
    assert_eq!(error(late), "invalid_grant");
}

/// A client whose key is away is told so, and its token is not spent.
#[tokio::test]
async fn a_token_is_not_spent_for_an_answer_that_cannot_be_signed() {
    let world = World::new().await;
    let web = world.web().await;
    let first = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap();
    let refresh_token = first.refresh_token.unwrap();
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    let rsa =
        |it: &mut ClientMetadata| it.access_token_signed_response_alg = Some(Algorithm::Rs256);
    world.client("web", &grants, rsa).await;
    for _ in 0..2 {
        let refused = world.refresh(&web, &refresh_token).await.unwrap_err();
        assert!(matches!(refused, Refused::Store(_)));
        // Beyond the window in which a lost answer is given again.
        after(&world.clock, 60);
    }
    world.web().await;
    assert!(world.refresh(&web, &refresh_token).await.is_ok());
}

/// A secret that is declared once more counts, also where the client had none in between.
#[tokio::test]
async fn a_secret_that_is_declared_again_counts_again() {
    let world = World::new().await;
    let grants = [GrantType::ClientCredentials];
    let knows = |client: &Client| {
        world.provider.clients().knows_secret(world.provider.realm(), client, SECRET)
    };
    assert!(knows(&world.client("machine", &grants, |_| {}).await));
    let public = world.client("machine", &grants, |client| {
        client.public = true;
        client.grant_types = Some([GrantType::AuthorizationCode].into());
    });
    assert!(!knows(&public.await));
    assert!(knows(&world.client("machine", &grants, |_| {}).await));
}
